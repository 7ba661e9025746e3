"""Reads one guest test's output: KTAP for the outcome, ``# kpv`` lines for the records.

Rules of KTAP as the kselftest harness prints it (tools/testing/selftests/
kselftest_harness.h, ``__run_test`` and ``__wait_for_test``): one ``ok`` or ``not
ok`` line a test, ``# SKIP reason`` as directive, the end of a test that did not
return as a diagnostic line.
"""

import json
import re
from dataclasses import dataclass, field

from pydantic import ValidationError

from pipeline.contpte.tables import Tables
from pipeline.observation import Check, Need, Outcome, Pages, Step
from pipeline.tlb.model import Observation as Modelled

PREFIX = "# kpv "
_RESULT = re.compile(r"^(?P<not>not )?ok (?P<number>\d+) (?P<name>\S+)(?: # (?P<directive>\w+)(?: (?P<why>.*))?)?\s*$")
_SIGNAL = re.compile(r"^# \S+: Test terminated unexpectedly by signal (\d+)$", re.MULTILINE)
_TIMED_OUT = re.compile(r"^# \S+: Test terminated by timeout$", re.MULTILINE)


@dataclass
class Reading:
    """What one test said of itself."""

    outcome: Outcome
    reason: str = ""
    params: dict[str, int] = field(default_factory=dict)
    needs: list[Need] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    pages: list[Pages] = field(default_factory=list)
    #: From outside the guest, see pipeline.observe.tables.
    tables: list[Tables] = field(default_factory=list)
    #: Likewise, see pipeline.observe.tlb.
    tlb: Modelled | None = None
    checks: list[Check] = field(default_factory=list)
    malformed: list[str] = field(default_factory=list)


def read(output: str, *, exit_status: int) -> Reading:
    """Parse one test's output; never raises: what cannot be read lands in ``malformed``.

    ``exit_status`` is the program's own: 128 + N where a signal N ended it, as
    the shell counts.
    """
    reading = Reading(Outcome.NOT_RUN)
    for line in output.splitlines():
        if line.startswith(PREFIX):
            _record(line, reading)
    reading.outcome, reading.reason = _outcome(output, exit_status)
    return reading


def _outcome(output: str, exit_status: int) -> tuple[Outcome, str]:
    results = [match for line in output.splitlines() if (match := _RESULT.match(line))]
    if signal := _SIGNAL.search(output):
        return Outcome.CRASHED, f"the test process died of signal {signal[1]}"
    if _TIMED_OUT.search(output):
        return Outcome.TIMEOUT, "the test did not end within the harness's limit"
    if len(results) > 1:
        return Outcome.CRASHED, f"{len(results)} results where one test was asked for"
    if not results:
        if re.search(r"^1\.\.0\b", output, re.MULTILINE):
            return Outcome.NOT_RUN, "the program has no test of this name and variant"
        if exit_status > 128:
            return Outcome.CRASHED, f"the program died of signal {exit_status - 128} before it printed a result"
        return Outcome.CRASHED, f"no KTAP result, exit status {exit_status}"
    result = results[0]
    if result["directive"] == "SKIP":
        return Outcome.SKIPPED, result["why"] or "no reason given"
    if result["directive"] in ("XFAIL", "XPASS"):
        return Outcome.CRASHED, f"unexpected KTAP directive {result['directive']}"
    if result["not"]:
        return Outcome.FAILED, _first_failure(output)
    return Outcome.PASSED, ""


def _first_failure(output: str) -> str:
    """The harness's own words on the first expectation that did not hold: ``# file:line:test:Expected ...``."""
    for line in output.splitlines():
        if re.match(r"^# \S+:\d+:\w+:", line):
            return line[2:].strip()
    return "not ok, without a failed expectation"


def _record(line: str, reading: Reading) -> None:
    try:
        data = json.loads(line[len(PREFIX) :])
        kind = data.pop("rec")
        match kind:
            case "param":
                reading.params.update({name: _integer(value) for name, value in data.items()})
            case "need":
                reading.needs.append(Need.model_validate(data))
            case "step":
                reading.steps.append(Step.model_validate(data))
            case "pages":
                reading.pages.append(Pages.model_validate(data))
            case "check":
                reading.checks.append(Check.model_validate(data))
            case _:
                raise ValueError(f"unknown record {kind!r}")
    except (ValueError, KeyError, AttributeError, TypeError, ValidationError) as err:
        reading.malformed.append(f"{line}: {str(err).splitlines()[0]}")


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"a param is an integer, found {value!r}")
    return value
