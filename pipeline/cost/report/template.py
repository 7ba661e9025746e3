"""The templates' surroundings."""

import shlex
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline import report
from pipeline.report.words import MARK, clean, counts, expectation, line, plural

TEMPLATES = Path(report.__file__).parent / "templates"


def environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters |= {"line": line, "shell": lambda words: clean(shlex.join(words))}
    found.globals |= {"plural": plural, "counts": counts, "expectation": expectation, "mark": MARK}
    return found
