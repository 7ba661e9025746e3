"""Commands about the kernels of a study."""

from pathlib import Path

from pipeline import plan, stages
from pipeline.cli.app import app
from pipeline.cli.options import Json, KernelOpt, Quiet, StudyArg, events, load_study, run_options


@app.command(epilog="Example:  kpv build patches/madvise-free-mthp -k v2")
def build(study_file: StudyArg, kernel: KernelOpt = None, json: Json = False, quiet: Quiet = False) -> None:
    """Build a study's kernels and say where their files are."""
    only = tuple(kernel or ())
    with events(json, quiet) as emit:
        loaded = plan.narrow(load_study(study_file), kernels=only)
        built = stages.build_all(loaded, run_options(Path("runs")), emit, only=only)
    if not json:
        for name, artifact in built.items():
            print(f"{name}: {artifact.path}")
