"""The ``kpv`` command: parse, call, print. No logic. A module a group of commands."""

# Importing a module registers its commands; ``kpv --help`` lists them in this order.
from pipeline.cli import runs, hook, kernels, look, history, mutate, repeat, fuzz, upkeep  # noqa: F401, I001
from pipeline.cli.app import main
from pipeline.cli.options import cache_folder

__all__ = ["cache_folder", "main"]
