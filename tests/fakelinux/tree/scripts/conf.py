"""conf of the fake kernel: allnoconfig with KCONFIG_ALLCONFIG, and olddefconfig, over options without expressions."""

import os
import re
import sys
from pathlib import Path

#: Option -> (may be set by hand, options that must be y, options it selects). Kept in step with the Kconfig files.
OPTIONS = {
    "FOO": (True, [], []),
    "BAR": (True, ["FOO"], []),
    "HIDDEN": (False, [], []),
    "SELECTING": (True, [], ["HIDDEN"]),
    "OFF": (True, [], []),
    "ONE": (True, [], []),
    "TWO": (True, [], []),
    "NAME": (True, [], []),
    "INSIDE": (True, ["FOO", "OFF"], []),
}


def main(target: str, tree: str, config: str) -> None:
    defined = "".join(path.read_text() for path in Path(tree).rglob("Kconfig*"))
    if "syntax error" in defined:
        sys.exit("Kconfig:3: syntax error")
    if target == "olddefconfig":
        return
    asked = dict(re.findall(r"^CONFIG_(\w+)=(.*)$", Path(os.environ["KCONFIG_ALLCONFIG"]).read_text(), re.M))
    known = {name: rule for name, rule in OPTIONS.items() if f"config {name}\n" in defined}
    got = {}
    for name, (by_hand, depends, _) in known.items():
        if by_hand and name in asked and all(asked.get(each) == "y" for each in depends):
            got[name] = asked[name]
    if got.get("ONE") == "y":
        got.pop("TWO", None)
    for name in list(got):
        got |= dict.fromkeys(OPTIONS[name][2], "y")
    lines = [f"CONFIG_{name}={got[name]}" if name in got else f"# CONFIG_{name} is not set" for name in known]
    Path(config).write_text("\n".join(lines) + "\n")


main(*sys.argv[1:])
