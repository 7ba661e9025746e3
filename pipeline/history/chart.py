"""The history as a strip chart: a square a run, a row for each claim or invariant; SVG, or a page that holds it.

Verdicts are told by sign, colour and word. No script, nothing fetched; a screen reader gets a summary of
each row, and the page has the same as a table.
"""

from collections.abc import Sequence

from markupsafe import Markup, escape

from pipeline.history.timeline import Line, runs_of
from pipeline.judge.model import Verdict
from pipeline.report.words import MARK

_STEP, _BOX, _TOP = 20, 18, 76
#: Of a name: characters that are shown, and pixels of one at most.
_NAME, _CHARACTER = 44, 7.5
#: Fill and ink; each pair has a contrast of at least 7 to 1, on light and dark pages alike.
_COLOURS = {
    Verdict.PASS: ("#b8e6c1", "#0b3d17"),
    Verdict.FAIL: ("#8f1d1d", "#ffffff"),
    Verdict.INCONCLUSIVE: ("#ffe08a", "#3d2f00"),
    Verdict.KNOWN: ("#b9dcf5", "#08324f"),
}
_STYLE = "text{font:12px system-ui,sans-serif;fill:#1a1a1a}.kernel{font-weight:600}.mark{text-anchor:middle}"
_DARK = "@media (prefers-color-scheme:dark){text{fill:#e8e8e8}}"
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root{{color-scheme:light dark}}
body{{font:16px/1.4 system-ui,sans-serif;margin:1.5rem;max-width:80rem}}
.wide{{overflow-x:auto}}
table{{border-collapse:collapse}}
th,td{{border-bottom:1px solid #8888;padding:.25rem .75rem .25rem 0;text-align:left;vertical-align:top}}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{legend}</p>
<div class="wide" tabindex="0" role="region" aria-label="Chart of verdicts over runs">
{svg}
</div>
<h2>As a table</h2>
<div class="wide" tabindex="0" role="region" aria-label="Table of verdicts">
<table>
<thead><tr><th scope="col">study</th><th scope="col">kernel</th><th scope="col">claim or invariant</th>
<th scope="col">now</th><th scope="col">since</th><th scope="col">before</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>
</main>
</body>
</html>
"""


def svg(lines: Sequence[Line], *, title: str = "Verdicts over runs") -> str:
    """The chart as one SVG document."""
    runs = runs_of(lines)
    names = [_cut(line.of or line.kernel) for line in lines]
    label = 24 + round(_CHARACTER * max(map(len, names), default=0))
    at = {run.key: label + _STEP * index for index, run in enumerate(runs)}
    width, height = label + _STEP * len(runs) + 60, _TOP + _STEP * len(lines) + 10
    inks = "".join(f".{verdict}{{fill:{ink}}}" for verdict, (_, ink) in _COLOURS.items())
    parts = [
        Markup('<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {w} {h}" width="{w}" height="{h}"'
               ' aria-labelledby="title desc">').format(w=width, h=height),
        Markup('<title id="title">{}</title><desc id="desc">{}</desc>').format(title, summary(lines)),
        Markup("<style>{}{}{}</style>").format(Markup(_STYLE), Markup(_DARK), Markup(inks)),
    ]  # fmt: skip
    parts += [
        Markup('<text transform="translate({} {}) rotate(-55)">{}</text>').format(
            at[run.key] + 12, _TOP - 6, run.started[5:16].replace("T", " ")
        )
        for run in runs
    ]
    for row, line in enumerate(lines):
        top = _TOP + _STEP * row
        parts.append(
            Markup('<text x="{}" y="{}"{}>{}</text>').format(
                12 if line.of else 0, top + 13, Markup("") if line.of else Markup(' class="kernel"'), names[row]
            )
        )
        for point in line.points:
            x, (fill, _) = at[point.run.key], _COLOURS[point.verdict]
            told = f"{line.kernel} {line.of}: {point.verdict} in {point.run.id}. {point.reason}".strip()
            parts.append(
                Markup(
                    '<g><title>{}</title><rect x="{}" y="{}" width="{b}" height="{b}" rx="3" fill="{}"/>'
                    '<text class="mark {}" x="{}" y="{}">{}</text></g>'
                ).format(told, x, top, fill, point.verdict, x + _BOX / 2, top + 13, MARK[point.verdict], b=_BOX)
            )
    return "\n".join([*map(str, parts), "</svg>", ""])


def html(lines: Sequence[Line], *, title: str = "Verdicts over runs") -> str:
    """A page with the chart and the same as a table."""
    rows = [
        Markup("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>").format(
            line.study,
            line.kernel,
            line.of or "(the kernel)",
            f"{MARK[line.now.verdict]} {line.now.verdict}",
            f"{line.since.run.started} ({line.since.run.id})",
            line.before or "",
        )
        for line in lines
    ]
    legend = ", ".join(f"{MARK[verdict]} {verdict}" for verdict in Verdict)
    return _PAGE.format(
        title=escape(title), legend=escape(legend), svg=svg(lines, title=title), rows="\n".join(map(str, rows))
    )


def summary(lines: Sequence[Line]) -> str:
    """The chart in words: what each line is now, and since when."""
    told = [
        f"{line.kernel}{f' {line.of}' if line.of else ''}: {line.now.verdict}"
        + (f" since {line.since.run.id}, {line.before} before" if line.before else " in every run")
        for line in lines
    ]
    return f"{len(runs_of(lines))} runs. " + ". ".join(told) + "."


def _cut(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
