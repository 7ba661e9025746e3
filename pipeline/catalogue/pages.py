"""One thing of a study shown whole: a study, kernel, machine, scenario, claim or invariant."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pipeline import near, resources
from pipeline.guest import machine as machines
from pipeline.kernel import series
from pipeline.stages import as_seen
from pipeline.study import BUILT_IN, Claim, Invariant, Study, matches
from pipeline.suite import Scenario

Entry = TypeVar("Entry")

#: Guest tests whose names a macro makes are not found by their TEST_F.
_TEST = r"^TEST_F(?:_TIMEOUT|_SIGNAL)?\({fixture}, {id}\b"
_NEED = re.compile(r'NEED\w*\(\s*"(\w+)"')


@dataclass(frozen=True)
class Section:
    """Rows under a heading: a name and a text each, or with ``columns`` a table."""

    title: str
    rows: tuple[tuple[str, ...], ...]
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """``data``: the same for a program, JSON-ready."""

    title: str
    sections: tuple[Section, ...]
    data: object = field(default=None, compare=False)


def study_page(study: Study) -> Page:
    facts = [
        ("file", as_seen(study.path)),
        ("source", study.source.tree),
        ("fragments", " ".join(study.fragments)),
        ("machines", " ".join(study.machines)),
        ("programs", " ".join(study.programs)),
        ("cells", str(sum(len(study.runs(s, variant)) for s in study.scenario for variant in s.variants))
         + f" a kernel, of {len(study.scenario)} scenarios"),
        ("claims", str(len(study.claim))),
        ("invariants", f"{len(study.invariant)} and {len(BUILT_IN)} of every kernel"),
        *(("link", link) for link in study.links),
    ]  # fmt: skip
    kernels = tuple((k.id, k.role, k.expect.verdict, k.title) for k in study.kernel)
    known = tuple((k.id, k.of, " ".join(k.explanation.split())) for k in study.known)
    return Page(
        f"{study.id}: {study.title}",
        (
            Section("", tuple(facts)),
            Section("kernels", kernels, ("name", "role", "expected", "title")),
            Section("known findings", known, ("name", "of", "explanation")),
            Section("what the emulator cannot show", tuple(("-", limit) for limit in study.limits)),
        ),
        study.model_dump(mode="json", by_alias=True),
    )


def kernel_page(study: Study, name: str) -> Page:
    kernel = _named("kernel", name, {kernel.id: kernel for kernel in study.kernel}, study)
    patches = series.load(kernel.series, study.folder).patches if kernel.series else ()
    facts = [
        ("role", kernel.role),
        ("source", study.source.tree),
        ("fragments", " ".join((*study.fragments, *kernel.fragments))),
        ("expected", kernel.expect.verdict),
        *(("to fail", failing) for failing in kernel.expect.failing),
    ]
    shown = tuple((patch.name, patch.subject, patch.author, " ".join(patch.files)) for patch in patches)
    return Page(
        f"{kernel.id}: {kernel.title}" if kernel.title else kernel.id,
        (Section("", tuple(facts)), Section("patches", shown, ("file", "subject", "author", "touches"))),
        {
            **kernel.model_dump(mode="json"),
            "patches": [
                {"file": p.name, "subject": p.subject, "author": p.author, "sha256": p.sha256} for p in patches
            ],
        },
    )


def machine_page(study: Study, name: str) -> Page:
    machine = machines.load(resources.folder("qemu"), name)
    facts = tuple((key, _plain(value)) for key, value in machine.model_dump(mode="json").items() if key != "title")
    used = ("in the study", "yes" if name in study.machines else "no")
    return Page(f"{machine.id}: {machine.title}", (Section("", (*facts, used)),), machine.model_dump(mode="json"))


def scenario_page(study: Study, name: str) -> Page:
    """A scenario with the properties and checks it decides, what it needs, and the claims on it.

    ``name`` may end with a variant; claims are then those on that variant.
    """
    wanted, _, variant = name.partition(".")
    entries = [scenario for scenario in study.scenario if scenario.id == wanted]
    if variant:
        entries = [scenario for scenario in entries if variant in scenario.variants]
    if not entries:
        have = [f"{s.id}.{v}" for s in study.scenario for v in s.variants] if variant else _ids(study.scenario)
        raise near.unknown("scenario", name, have, where=study.id)
    sections = []
    for scenario in entries:
        names = [f"{scenario.id}.{v}" for v in scenario.variants if v == variant or not variant]
        sections += list(_scenario(study, scenario, names))
    return Page(
        f"{entries[0].id}: {entries[0].title}",
        tuple(sections),
        {
            "scenario": [scenario.model_dump(mode="json") for scenario in entries],
            "claims": [claim.model_dump(mode="json") for claim in _claims_on(study, _names(entries, variant))],
        },
    )


def _names(entries: Iterable[Scenario], variant: str) -> list[str]:
    """``<scenario>.<variant>`` of scenarios, all variants or one."""
    return [f"{s.id}.{v}" for s in entries for v in s.variants if v == variant or not variant]


def _scenario(study: Study, scenario: Scenario, names: list[str]) -> Iterable[Section]:
    place, comment, needs = _source(scenario)
    titles = {invariant.id: invariant.title for invariant in study.invariant}
    needed = [f"cpus_online >= {scenario.cpus}", *needs]
    yield Section(
        f"{scenario.fixture}, {' '.join(name.partition('.')[2] for name in names)}",
        (
            ("test", f"{scenario.program} -r {scenario.fixture}.{names[0].partition('.')[2]}.{scenario.id}"),
            ("source", place),
            *((("what it tries", comment),) if comment else ()),
            ("machines", " ".join(scenario.machines or study.machines)),
            ("properties", " ".join(scenario.properties) or "none"),
            ("needs", f"{', '.join(needed)}, and what every test of {scenario.program} needs"),
            ("timeout", f"{scenario.timeout} s a cell"),
        ),
    )
    yield Section("checks", tuple((name, titles[name]) for name in scenario.checks), ("invariant", "holds"))
    claims = tuple((c.id, c.kind, c.step, c.candidate, c.baseline or "-") for c in _claims_on(study, names))
    yield Section("claims", claims, ("claim", "kind", "step", "candidate", "baseline"))
    known = tuple(
        (k.id, k.of, " ".join(k.kernels), " ".join(k.explanation.split()))
        for k in study.known
        if any(matches(name, glob) for name in names for glob in k.scenarios)
        and (k.of in scenario.checks or k.of in {claim[0] for claim in claims})
    )
    yield Section("known findings", known, ("name", "of", "kernels", "explanation"))


def _source(scenario: Scenario) -> tuple[str, str, list[str]]:
    """Where a test stands, the comment above it, and the needs that its own text names."""
    file = resources.folder("guest-tests") / f"{scenario.program}.c"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    pattern = _TEST.format(fixture=re.escape(scenario.fixture), id=re.escape(scenario.id))
    found = re.search(pattern, text, re.M)
    if found is None:
        return as_seen(file), "", []
    body = text[found.start() : text.find("\n}", found.start())]
    above = re.search(r"/\*((?:(?!\*/).)*)\*/\n\Z", text[: found.start()], re.S)
    comment = " ".join(line.strip(" *\t") for line in above[1].splitlines()).strip() if above else ""
    line = text.count("\n", 0, found.start()) + 1
    return f"{as_seen(file)}:{line}", comment, list(dict.fromkeys(_NEED.findall(body)))


def claim_page(study: Study, name: str) -> Page:
    claim = _named("claim", name, {claim.id: claim for claim in study.claim}, study)
    facts = (
        ("kind", "a cost: its failure is told as one" if claim.kind == "structure" else claim.kind),
        ("step", claim.step),
        ("candidate", claim.candidate),
        ("baseline", claim.baseline or "-"),
        ("machines", " ".join(claim.machines or study.machines)),
        (
            "cells",
            " ".join(n for n in _names(study.scenario, "") if any(matches(n, g) for g in claim.scenarios)),
        ),
    )
    known = tuple((k.id, " ".join(k.explanation.split())) for k in study.known if k.of == claim.id)
    return Page(
        f"{claim.id}: {claim.title}",
        (Section("", facts), Section("known findings", known)),
        claim.model_dump(mode="json"),
    )


def invariant_page(study: Study, name: str) -> Page:
    titles = {**BUILT_IN, **{invariant.id: invariant.title for invariant in study.invariant}}
    title = _named("invariant", name, titles, study)
    entry = next((invariant for invariant in study.invariant if invariant.id == name), None)
    scenarios = _stated_on(study, entry) if entry is not None and entry.holds else _checking(study, name)
    known = tuple((k.id, " ".join(k.explanation.split())) for k in study.known if k.of == name)
    checked = Section("checked by", scenarios, ("scenario", "variants", "title"))
    every = Section("", (("checked by", "every kernel, boot and cell"),))
    stated = () if entry is None or not entry.holds else (("holds", entry.holds), ("step", entry.step))
    return Page(
        f"{name}: {title}",
        (Section("", stated), every if name in BUILT_IN else checked, Section("known findings", known)),
        {"id": name, "title": title, "scenarios": [scenario[0] for scenario in scenarios]},
    )


def _checking(study: Study, invariant: str) -> tuple[tuple[str, str, str], ...]:
    """The scenarios that check an invariant."""
    return tuple((s.id, " ".join(s.variants), s.title) for s in study.scenario if invariant in s.checks)


def _stated_on(study: Study, invariant: Invariant) -> tuple[tuple[str, str, str], ...]:
    """The scenarios on which an expression decides an invariant, and the variants of each."""
    rows = []
    for scenario in study.scenario:
        names = [v for v in scenario.variants if any(matches(f"{scenario.id}.{v}", g) for g in invariant.scenarios)]
        if names:
            rows.append((scenario.id, " ".join(names), scenario.title))
    return tuple(rows)


#: Kinds that a study has, by their word on the command line; a study itself has no name to ask for.
OF_STUDY: dict[str, Callable[[Study, str], Page]] = {
    "kernel": kernel_page,
    "machine": machine_page,
    "scenario": scenario_page,
    "claim": claim_page,
    "invariant": invariant_page,
}


def _claims_on(study: Study, names: Iterable[str]) -> list[Claim]:
    wanted = list(names)
    return [c for c in study.claim if any(matches(name, glob) for name in wanted for glob in c.scenarios)]


def _ids(entries: Iterable[Scenario]) -> list[str]:
    return list(dict.fromkeys(entry.id for entry in entries))


def _named(kind: str, name: str, have: Mapping[str, Entry], study: Study) -> Entry:
    if name not in have:
        raise near.unknown(kind, name, list(have), where=study.id)
    return have[name]


def _plain(value: object) -> str:
    return " ".join(map(str, value)) or "-" if isinstance(value, list) else str(value)
