"""A mail as the candidate of a study, and the answer that ``b4 review`` reads.

b4 runs ``b4.review-series-check-cmd`` in the kernel tree with the cover letter on stdin, or the only patch, and
``b4.review-perpatch-check-cmd`` with each patch; it reads a JSON list of ``{tool, status, summary, details, url}`` from
stdout, all strings, where ``status`` is pass, warn or fail, and then ignores the exit code (b4 0.16,
b4/review/checks.py). The rest of the series is in the thread, which ``$B4_TRACKING_FILE`` names as a git blob.
"""

import json
import mailbox
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email import message_from_bytes, policy
from pathlib import Path

from pipeline.errors import InfraError, KpvError, UserError
from pipeline.judge.model import Decision, KernelJudgement, Verdict
from pipeline.kernel.series import SeriesError
from pipeline.mutate.campaign import under_test
from pipeline.report.words import counts, explained, judgement_of, line, numbers
from pipeline.run import Run
from pipeline.study import Expect, Kernel, Study

TOOL = "kpv"
_STATUS = {Verdict.PASS: "pass", Verdict.KNOWN: "pass", Verdict.FAIL: "fail", Verdict.INCONCLUSIVE: "warn"}
#: Of a list that somebody reads in a terminal.
_DETAILS, _CHARS = 60, 400


@dataclass(frozen=True)
class Subject:
    """What ``[PATCH v2 3/7] mm: ...`` says. ``at`` and ``total`` are 0 where there is no ``n/m``."""

    version: int
    at: int
    total: int
    title: str

    @classmethod
    def of(cls, mail: bytes) -> "Subject | None":
        """None for a reply, and for what is no patch."""
        text = line(str(message_from_bytes(mail, policy=policy.default)["subject"] or ""))
        match = re.match(r"\[([^\]]*\bPATCH\b[^\]]*)\]\s*(.*)", text, re.IGNORECASE)
        if match is None:
            return None
        version = re.search(r"\bv(\d+)\b", match[1], re.IGNORECASE)
        place = re.search(r"\b(\d+)/(\d+)\b", match[1])
        at, total = (int(place[1]), int(place[2])) if place else (0, 0)
        return cls(int(version[1]) if version else 1, at, total, match[2])


def series_of(data: bytes, environ: Mapping[str, str], folder: Path) -> bytes:
    """What was on stdin, as an mbox of all the patches to apply.

    An mbox stays as it is. A cover letter stands for its series, patch n of m for the patches up to it: both are looked
    up in the thread that b4 keeps in the repository ``folder``. Raises UserError where they are not to be had.
    """
    if not data.strip():
        raise UserError("expected a mail or an mbox on stdin, found nothing", hint="kpv check-hook STUDY < v1.mbox")
    if data.startswith(b"From ") and len(_split(data)) > 1:
        return data
    subject = Subject.of(data)
    if subject is None or (subject.total < 2 and subject.at == subject.total):
        return data  # one patch, or a bare diff: pipeline.kernel.series says what is wrong with it
    wanted = range(1, (subject.at or subject.total) + 1)
    found: dict[int, bytes] = {subject.at: data}
    for mail in _thread(environ, folder):
        other = Subject.of(mail)
        if other is not None and (other.version, other.total) == (subject.version, subject.total):
            found.setdefault(other.at, mail)
    missing = [str(number) for number in wanted if number not in found]
    if missing:
        raise UserError(
            f"of the series only {subject.at}/{subject.total} is at hand; patches {', '.join(missing)} are missing",
            hint="let b4 review track the series, or give all of it: b4 am -o - MSGID | kpv check-hook STUDY",
        )
    return b"".join(_with_from(found[number]) for number in wanted)


def candidate(study: Study, mbox: Path, title: str, *, like: str = "") -> Study:
    """The study with its baseline and one candidate: the mbox over the study's source, expected to pass.

    It takes id, and so the known findings, and fragments of the kernel ``like``, else of the last candidate that the
    study expects to pass. Raises UserError.
    """
    model = under_test(study, like)
    if model.role == "baseline":
        raise UserError(f"{model.id} is the study's baseline", hint="name a candidate with --like")
    kernel = Kernel(
        id=model.id, title=title, series=(str(mbox),), fragments=model.fragments, expect=Expect(verdict="PASS")
    )
    kernels = (study.baseline, kernel) if study.baseline else (kernel,)
    return study.model_copy(update={"kernel": kernels})


def title_of(data: bytes) -> str:
    """What the first mail is about, in one line."""
    first = _split(data)[0] if data.startswith(b"From ") else data
    subject = Subject.of(first)
    return subject.title if subject else line(str(message_from_bytes(first, policy=policy.default)["subject"] or ""))


def answer(run: Run, report: Path) -> list[dict[str, str]]:
    """The list for b4, of one entry: how the run's candidate is judged, with what does not hold and each claim."""
    kernel = next(k for k in judgement_of(run).kernels if k.role == "candidate")
    status, told = _STATUS[kernel.verdict], counts(kernel)
    if kernel.verdict == Verdict.PASS and judgement_of(run).exit_code != 0:
        status, told = "warn", f"{told}; but {judgement_of(run).verdict}"
    failing = [d for d in kernel.decisions if d.verdict == kernel.verdict and d.verdict != Verdict.PASS]
    failing.sort(key=lambda d: d.kind == "built-in")
    if failing:
        more = f" and {len(failing) - 1} more" if len(failing) > 1 else ""
        told = f"{told}: {line(failing[0].title)}{more}"
    details = [_detail(run, kernel, decision) for decision in _worth_telling(kernel)][:_DETAILS]
    entry = {"tool": TOOL, "status": status, "summary": told, "details": json.dumps(details), "url": report.as_uri()}
    return [entry]


def refusal(err: KpvError) -> list[dict[str, str]]:
    """The list for b4 where there was no run: a series that does not apply fails, anything else is only a warning."""
    status = "fail" if isinstance(err, SeriesError) else "warn"
    details = "\n".join(filter(None, (err.detail, f"hint: {err.hint}" if err.hint else "")))
    return [{"tool": TOOL, "status": status, "summary": line(err.message), "details": details}]


def _worth_telling(kernel: KernelJudgement) -> Iterable[Decision]:
    order = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.KNOWN, Verdict.PASS)
    shown = [d for d in kernel.decisions if d.verdict != Verdict.PASS or d.kind in ("function", "structure")]
    return sorted(shown, key=lambda d: order.index(d.verdict))


def _detail(run: Run, kernel: KernelJudgement, decision: Decision) -> dict[str, str]:
    told = explained(run, decision) or next((numbers(row) for row in decision.rows if row.values), "")
    text = line(f"{decision.title}: {told}" if told else decision.title)
    return {
        "context": decision.id,
        "status": _STATUS[decision.verdict],
        "state": decision.verdict,
        "description": text.replace(f"{kernel.kernel}/", "")[:_CHARS],
    }


def _split(data: bytes) -> list[bytes]:
    with tempfile.NamedTemporaryFile(prefix="kpv-mbox-") as file:
        file.write(data)
        file.flush()
        return [mail.as_bytes() for mail in mailbox.mbox(file.name, create=False)]


def _with_from(mail: bytes) -> bytes:
    if not mail.startswith(b"From "):
        mail = b"From mboxrd@z Thu Jan  1 00:00:00 1970\n" + mail
    return mail.rstrip(b"\n") + b"\n\n"


def _thread(environ: Mapping[str, str], folder: Path) -> list[bytes]:
    """The mails of the thread that b4 tracks, none where it tracks none. Raises InfraError."""
    if not (name := environ.get("B4_TRACKING_FILE")):
        return []
    try:
        blob = json.loads(Path(name).read_bytes()).get("series", {}).get("thread-blob", "")
    except (OSError, ValueError, AttributeError) as err:
        raise InfraError(f"B4_TRACKING_FILE {name}: cannot be read: {err}", hint="run it from b4 review") from err
    if not re.fullmatch(r"[0-9a-f]{7,64}", str(blob)):
        return []
    command = ["git", "-C", os.fspath(folder), "cat-file", "blob", str(blob)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise InfraError(f"the thread that b4 tracks, blob {blob}, cannot be read: {said}", hint="b4 review: update")
    return _split(done.stdout)
