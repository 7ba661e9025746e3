"""How a judged run ends on the terminal: a line a kernel, and where the report is."""

import shlex
from pathlib import Path
from typing import NoReturn

import typer

from pipeline import ui
from pipeline.cost.report import grids
from pipeline.cost.report.view import View
from pipeline.judge.model import Judgement


def kernels(title: str, judgement: Judgement, report: Path) -> None:
    """Print the verdicts."""
    ui.table(
        title,
        ["kernel", "verdict", "expected", "pass", "known", "fail", "inconclusive", "on"],
        [
            [
                k.kernel,
                k.verdict,
                f"{k.expected}{'' if k.as_expected else '  <- differs: ' + k.difference}",
                k.count(k.verdict.PASS),
                k.count(k.verdict.KNOWN),
                k.count(k.verdict.FAIL),
                k.count(k.verdict.INCONCLUSIVE),
                ", ".join(k.failing),
            ]
            for k in judgement.kernels
        ],
    )
    for problem in judgement.infra:
        print(f"infrastructure: {problem}")
    print(f"{judgement.verdict}; report: {shlex.quote(str(report))}")


def costs(view: View, folder: Path, *, json: bool, quiet: bool) -> NoReturn:
    """Print the instructions a page of each operation, old against new, then the verdicts; end with the exit code."""
    folder = folder if folder.is_dir() else folder.parent
    for table in () if json or quiet else view.tables:
        grid = grids.instructions(view, table)
        ui.table(f"{table.operation}: instructions a page, {view.place(table)}", grid.header, grid.rows)
    if not json:
        kernels(view.study.title, view.judgement, folder / "cost.html")
    raise typer.Exit(view.judgement.exit_code)
