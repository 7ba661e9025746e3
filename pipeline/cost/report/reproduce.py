"""reproduce.sh: repeats the counting, and says whether the counts are the same."""

from pipeline.cost.bounds import STEADY
from pipeline.cost.report.view import View
from pipeline.report import reproduce

#: Compares the counts of two cost.json. Arguments: this run's, the new one's, the share that instructions may differ.
_COMPARE = """\
import json, sys
def counts(path):
    samples = json.load(open(path, encoding="utf-8"))["samples"]
    key = ("kernel", "machine", "operation", "folio_bytes", "range_bytes", "repeat")
    return {tuple(s[k] for k in key): s["counts"] for s in samples}
old, new, share = counts(sys.argv[1]), counts(sys.argv[2]), float(sys.argv[3])
wrong = 0
for call, was in old.items():
    found = new.get(call, {})
    for name, value in was.items():
        got = found.get(name)
        allowed = share * value if name == "instructions" and value else 0
        if value is not None and (got is None or abs(got - value) > allowed):
            wrong += 1
            print(f"{' '.join(map(str, call))}: {name}: expected {value}, found {got}", file=sys.stderr)
print(f"{len(old)} calls compared, {wrong} counts differ")
sys.exit(1 if wrong else 0)
"""


def render(view: View) -> str:
    """The script as text. Exit code 1 also where a count differs by more than it may."""
    same = f"""python3 - "$here/cost.json" "$newest" {STEADY} <<'COUNTS'
{_COMPARE}COUNTS

"""
    return reproduce.script(view.run, record="cost.json", exit_code=view.judgement.exit_code, same=same)
