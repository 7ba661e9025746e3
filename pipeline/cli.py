"""The ``kpv`` command: parse, call, print. No logic."""

import dataclasses
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import platformdirs
import typer

import pipeline
from pipeline import doctor as doctor_room
from pipeline import housekeeping, plan, stages, study, ui
from pipeline.errors import Exit, KpvError
from pipeline.events import Emit, Event, StageStarted
from pipeline.fuzz import campaign as fuzz_campaign
from pipeline.mutate import campaign as mutate_campaign
from pipeline.mutate import mutant
from pipeline.mutate import report as mutate_report

app = typer.Typer(
    name="kpv",
    help="From a kernel patch series to a verdict on arm64 hardware semantics, with the evidence.",
    epilog="Exit codes: 0 pass, 1 a kernel is not judged as expected, 2 usage, 3 infrastructure, 4 inconclusive.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

StudyArg = Annotated[Path, typer.Argument(help="A study.toml, or the folder that holds one.", show_default=False)]
RunArg = Annotated[Path, typer.Argument(help="A run's folder under runs/, or its run.json.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Stream events as JSON lines to stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the verdict and errors.")]
KernelOpt = Annotated[list[str] | None, typer.Option("--kernel", "-k", help="Only this kernel and the baseline.")]
MachineOpt = Annotated[list[str] | None, typer.Option("--machine", "-m", help="Only this machine.")]
ScenarioOpt = Annotated[
    list[str] | None, typer.Option("--scenario", "-s", help="Only these scenarios, e.g. 'full_cover' or '*.64k'.")
]


def cache_folder() -> Path:
    """$KPV_CACHE, or the user's cache folder by the XDG rules."""
    return Path(os.environ.get("KPV_CACHE") or platformdirs.user_cache_path("kpv")).absolute()


@app.command(
    epilog="Examples:  kpv validate patches/madvise-free-mthp   |   "
    "kpv validate my/study.toml -k v2 -m max -s 'full_cover' --fresh"
)
def validate(
    study_file: StudyArg,
    kernel: KernelOpt = None,
    machine: MachineOpt = None,
    scenario: ScenarioOpt = None,
    runs: Annotated[Path, typer.Option(help="Where the run's folder is made.")] = Path("runs"),
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="VMs at once.")] = 2,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run every cell again, whatever the store holds.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say why each thing was made again.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Build the study's kernels, boot them, run its scenarios, judge and report."""
    with _events(json, quiet, explain=explain) as emit:
        loaded = plan.narrow(
            study.load(study_file),
            kernels=tuple(kernel or ()),
            machines=tuple(machine or ()),
            scenarios=tuple(scenario or ()),
        )
        result = stages.validate(loaded, _options(runs, jobs=jobs, fresh=fresh), emit)
    _verdict(result, json=json)


@app.command(
    epilog="Examples:  kpv mutate patches/madvise-free-mthp --mutants tests/mutants   |   "
    "kpv mutate my/study.toml --mutants my/mutants --only 'madvise-*' -m max --json mutants.json   |   "
    "kpv mutate patches/madvise-free-mthp --mutants tests/mutants --matrix docs/mutants.md"
)
def mutate(
    study_file: StudyArg,
    mutants: Annotated[Path, typer.Option("--mutants", help="The folder of the patches, *.patch at any depth.")],
    only: Annotated[str, typer.Option("--only", help="Only mutants whose name matches, e.g. 'madvise-*'.")] = "",
    kernel: Annotated[
        str, typer.Option("--kernel", "-k", help="The kernel to mutate; else the last candidate expected to pass.")
    ] = "",
    machine: MachineOpt = None,
    scenario: ScenarioOpt = None,
    all_checks: Annotated[
        bool, typer.Option("--all-checks", help="Run every cell of every mutant, not only up to the first kill.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write a list with one object a mutant to this file.")
    ] = None,
    matrix: Annotated[
        Path | None,
        typer.Option(
            "--matrix", help="Write mutant x check as Markdown: all that fail with --all-checks, else the first."
        ),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Where the campaign's folder is made.")] = Path("runs"),
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="VMs at once.")] = 2,
    fresh: Annotated[bool, typer.Option("--fresh", help="Try every mutant again, whatever the store holds.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say why each thing was made again.")] = False,
    quiet: Quiet = False,
) -> None:
    """Measure how sharp a study is: seed bugs in a kernel that must be killed, and legal variants that must not.

    Each mutant is a patch whose header has a line "Mutant: bug" or "Mutant: legal". It is applied to the
    kernel under test, built, and run on every machine. It is killed by a check that fails with it and holds
    without it. A legal variant may change costs: claims of kind structure do not reject it.

    Exit codes: 0 every bug killed and every legal variant accepted, 1 a bug survived or a legal variant was
    rejected, 4 a mutant told nothing (it does not apply or build, or is inconclusive).
    """
    found = mutant.load_all(mutants, only=only)
    loaded = study.load(study_file)
    chosen = mutate_campaign.under_test(loaded, kernel)
    narrowed = plan.narrow(loaded, machines=tuple(machine or ()), scenarios=tuple(scenario or ()))
    with _events(False, quiet, explain=explain) as emit:
        result = mutate_campaign.run(
            narrowed,
            chosen,
            found,
            _options(runs, jobs=jobs, fresh=fresh),
            emit,
            all_checks=all_checks,
            save=lambda so_far: so_far.write(json_file=json_file, matrix_file=matrix),
        )
    ui.table(
        f"Mutants of {result.kernel.id}: {loaded.title}",
        mutate_report.COLUMNS,
        [mutate_report.row(each) for each in result.results],
    )
    for line in mutate_report.summary(result.results):
        print(line)
    raise typer.Exit(result.exit_code)


@app.command(epilog="Example:  kpv build patches/madvise-free-mthp -k v2")
def build(study_file: StudyArg, kernel: KernelOpt = None, json: Json = False, quiet: Quiet = False) -> None:
    """Build a study's kernels and say where their files are."""
    only = tuple(kernel or ())
    with _events(json, quiet) as emit:
        loaded = plan.narrow(study.load(study_file), kernels=only)
        built = stages.build_all(loaded, _options(Path("runs")), emit, only=only)
    if not json:
        for name, artifact in built.items():
            print(f"{name}: {artifact.path}")


@app.command(
    epilog="Examples:  kpv fuzz patches/madvise-free-mthp -k merged --seconds 600   |   "
    "kpv fuzz patches/madvise-free-mthp -k merged -m max -s random.64k --seed 7 --first 31 --sequences 1"
)
def fuzz(
    study_file: StudyArg,
    kernel: Annotated[list[str] | None, typer.Option("--kernel", "-k", help="Only this kernel.")] = None,
    machine: MachineOpt = None,
    scenario: Annotated[list[str] | None, typer.Option("--scenario", "-s", help="Only these, e.g. '*.64k'.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the first cell; a fresh one unless given.")] = None,
    first: Annotated[int, typer.Option(min=0, help="Number of the first sequence of each seed.")] = 0,
    sequences: Annotated[int, typer.Option("--sequences", "-n", min=0, help="For each kernel and machine.")] = 0,
    seconds: Annotated[float, typer.Option("--seconds", "-t", min=0, help="Go on for so long instead.")] = 0.0,
    ops: Annotated[str, typer.Option(help="Replay this sequence, as it was printed after KPV_OPS=.")] = "",
    known: Annotated[
        bool, typer.Option("--known", help="With operations that stock 6.12 is known to fail on.")
    ] = False,
    runs: Annotated[Path, typer.Option(help="Where the campaign's folder is made.")] = Path("runs"),
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="VMs at once.")] = 2,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run random sequences of operations against a study's kernels, and shrink those that fail."""
    wanted = fuzz_campaign.Plan(first=first, sequences=sequences, seconds=seconds, ops=ops, known=known)
    if seed is not None:
        wanted = dataclasses.replace(wanted, seed=seed)
    with _events(json, quiet) as emit:
        loaded = plan.only(study.load(study_file), kernels=tuple(kernel or ()), machines=tuple(machine or ()))
        result = fuzz_campaign.run(loaded, wanted, _options(runs, jobs=jobs), emit, scenarios=tuple(scenario or ()))
    if not json:
        ui.table(
            f"seed {wanted.seed}",
            ["kernel", "machine", "sequences", "failed", "seconds"],
            [list(row) for row in result.by_pair()],
        )
        for one in result.failures:
            print(one.told(result.folder))
        print(f"{result.exit_code.name}; {shlex.quote(str(result.folder / 'campaign.json'))}")
    raise typer.Exit(result.exit_code)


@app.command(epilog="Example:  kpv judge runs/20250101-120000-madvise-free-mthp")
def judge(run: RunArg, json: Json = False, quiet: Quiet = False) -> None:
    """Judge a run's recorded observations anew, with no VM, and write its reports again."""
    with _events(json, quiet) as emit:
        result = stages.rejudge(run, emit)
    _verdict(result, json=json)


@app.command(epilog="Example:  kpv doctor --json")
def doctor(json: Json = False) -> None:
    """List what this machine has, lacks or has too old, with the command that mends it."""
    findings = doctor_room.examine(cache=cache_folder())
    ui.doctor_report(findings, json=json)
    raise typer.Exit(doctor_room.exit_code(findings))


@app.command(epilog="Examples:  kpv clean   |   kpv clean --older-than 7 --really")
def clean(
    older_than: Annotated[float, typer.Option(min=0, help="Days since the last use.")] = 30.0,
    kernels: Annotated[bool, typer.Option("--work", help="Also the trees that kernels are built in.")] = False,
    really: Annotated[bool, typer.Option("--really", help="Remove; without it only say what would go.")] = False,
) -> None:
    """Remove what the cache has not used for a while. A dry run unless told --really."""
    removed = housekeeping.clean(cache_folder(), older_than=older_than, work=kernels, really=really)
    ui.table(
        "removed" if really else "would be removed (dry run; --really removes)",
        ["what", "MiB", "last used"],
        [[entry.what, f"{entry.bytes / 2**20:.1f}", f"{entry.days:.1f} days ago"] for entry in removed],
    )
    print(f"{sum(entry.bytes for entry in removed) / 2**20:.0f} MiB in {cache_folder()}")


@app.callback(invoke_without_command=True)
def _top(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        print(f"kpv {pipeline.__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point: every error of ours is one clear line and the right exit code."""
    try:
        app(standalone_mode=True)
    except KpvError as err:
        ui.error(err)
        sys.exit(err.exit_code)
    except KeyboardInterrupt:
        print("kpv: interrupted; what was finished is kept", file=sys.stderr)
        sys.exit(Exit.INTERRUPTED)


def _options(runs: Path, *, jobs: int = 2, fresh: bool = False) -> stages.Options:
    command = ("kpv", *sys.argv[1:])
    return stages.Options(cache=cache_folder(), runs=runs.absolute(), command=command, jobs=jobs, fresh=fresh)


@contextmanager
def _events(json: bool, quiet: bool, *, explain: bool = False) -> Iterator[Emit]:
    with ui.choose(json=json, quiet=quiet) as shown:

        def unexplained(event: Event) -> None:
            shown(dataclasses.replace(event, why="") if isinstance(event, StageStarted) else event)

        yield shown if explain else unexplained


def _verdict(result: stages.Result, *, json: bool) -> None:
    judgement = result.run.judgement
    assert judgement is not None
    if not json:
        ui.table(
            result.run.study.content.title,
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
        print(f"{judgement.verdict}; report: {shlex.quote(str(result.folder / 'report.html'))}")
    raise typer.Exit(result.exit_code)
