"""The ``kpv`` command: parse, call, print. No logic. A module a group of commands."""

# Importing a module registers its commands; ``kpv --help`` lists them in this order. One a line: git merges those.
# isort: off
from pipeline.cli import init  # noqa: F401
from pipeline.cli import runs  # noqa: F401
from pipeline.cli import cost  # noqa: F401
from pipeline.cli import kernels  # noqa: F401
from pipeline.cli import boot  # noqa: F401
from pipeline.cli import look  # noqa: F401
from pipeline.cli import history  # noqa: F401
from pipeline.cli import hook  # noqa: F401
from pipeline.cli import mutate  # noqa: F401
from pipeline.cli import repeat  # noqa: F401
from pipeline.cli import fuzz  # noqa: F401
from pipeline.cli import upkeep  # noqa: F401

# isort: on
from pipeline.cli.app import main
from pipeline.cli.options import cache_folder

__all__ = ["cache_folder", "main"]
