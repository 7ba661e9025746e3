"""From a study to its cells: what is to be run, and what each result depends on."""

from dataclasses import dataclass
from typing import TypeVar

from pipeline import near, observation
from pipeline.cost.wanted import without_absent
from pipeline.errors import UserError
from pipeline.study import BUILT_IN, Claim, Invariant, Kernel, Known, Selection, Study, matches

Entry = TypeVar("Entry", Selection, Claim, Known, Invariant)


@dataclass(frozen=True)
class CellSpec:
    """One kernel x machine x scenario x variant, before it ran. ``timeout``: seconds."""

    kernel: str
    machine: str
    scenario: str
    variant: str
    program: str
    fixture: str
    timeout: int
    cpus: int = 1

    @property
    def job(self) -> str:
        """The cell's name inside one boot: ``<scenario>.<variant>``."""
        return f"{self.scenario}.{self.variant}"

    @property
    def serves(self) -> bool:
        """Whether the guest's program runs this cell among others, see GuestJob."""
        return True

    @property
    def name(self) -> str:
        return f"{self.kernel}/{self.machine}/{self.job}"

    @property
    def argv(self) -> tuple[str, ...]:
        """The guest's command: one test of a kselftest-harness program.

        -f, -v and -t would each include more than asked for: the harness takes
        the first filter that matches (kselftest_harness.h, ``test_enabled``).
        """
        return (f"/kpv/bin/{self.program}", "-r", self.test)

    @property
    def test(self) -> str:
        """The harness's name of the test."""
        return f"{self.fixture}.{self.variant}.{self.scenario}"


def cells(study: Study, kernel: str, machine: str) -> tuple[CellSpec, ...]:
    """The cells of one kernel on one machine, in the study's order."""
    return tuple(
        CellSpec(
            kernel, machine, scenario.id, variant, scenario.program, scenario.fixture, scenario.timeout, scenario.cpus
        )
        for scenario in study.scenario
        for variant in scenario.variants
        if machine in study.runs(scenario, variant)
    )


def cell_inputs(
    spec: CellSpec,
    *,
    image_sha256: str,
    machine: dict[str, object],
    qemu: list[str],
    rootfs_sha256: str,
    program_sha256: str,
    study: Study,
) -> dict[str, object]:
    """Everything that can change a cell's observation.

    ``qemu``: its version line, then its command line without what differs from
    boot to boot. The guest's init and runner are part of the root file system.
    """
    return {
        "schema": observation.SCHEMA,
        "kernel": spec.kernel,
        "image": image_sha256,
        "machine": machine,
        "qemu": qemu,
        "rootfs": rootfs_sha256,
        "program": program_sha256,
        "argv": list(spec.argv),
        "timeout": spec.timeout,
        "cpus": spec.cpus,
        "probes": [[probe.id, probe.symbol] for probe in study.probe],
        "tracepoints": list(study.tracepoints),
    }


def narrow(
    study: Study, *, kernels: tuple[str, ...] = (), machines: tuple[str, ...] = (), scenarios: tuple[str, ...] = ()
) -> Study:
    """The study restricted to some kernels, machines and ``<scenario>.<variant>`` globs; empty means all.

    A glob after ``!`` takes away instead: ``!random*`` alone is all but those.
    Claims and invariants that lose all their scenarios are dropped. With some
    machines or scenarios left out, a run cannot show all that a kernel is expected
    to fail on, so each kernel is then expected to pass. Raises UserError for a name
    the study has not.
    """
    if not (kernels or machines or scenarios):
        return study
    _known("kernel", kernels, [kernel.id for kernel in study.kernel])
    _known("machine", machines, list(study.machines))
    kept = []
    wanted = [_whole(glob) for glob in scenarios if not glob.startswith("!")] or ["*"]
    unwanted = [_whole(glob[1:]) for glob in scenarios if glob.startswith("!")]
    for scenario in study.scenario:
        names = tuple(
            v
            for v in scenario.variants
            if any(matches(f"{scenario.id}.{v}", glob) for glob in wanted)
            and not any(matches(f"{scenario.id}.{v}", glob) for glob in unwanted)
            and any(not machines or machine in machines for machine in study.runs(scenario, v))
        )
        if names:
            only = tuple(m for m in scenario.machines if not machines or m in machines)
            kept.append(scenario.model_copy(update={"variants": names, "machines": only}))
    if not kept:
        raise UserError(
            f"{study.path}: no scenario matches {', '.join(scenarios)}",
            hint=near.hint(scenarios[0].partition(".")[0], [s.id for s in study.scenario], kind="scenario"),
        )
    left = [
        (f"{scenario.id}.{variant}", machine)
        for scenario in kept
        for variant in scenario.variants
        for machine in study.runs(scenario, variant)
        if not machines or machine in machines
    ]

    def remaining(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        found = []
        for entry in entries:
            on = (entry.id,) if isinstance(entry, Selection) else entry.machines or ("*",)
            names = {name for name, machine in left if any(matches(machine, glob) for glob in on)}
            globs = tuple(glob for glob in entry.scenarios if any(matches(name, glob) for name in names))
            if globs:
                found.append(entry.model_copy(update={"scenarios": globs}))
        return tuple(found)

    checked = {name for scenario in kept for name in scenario.checks}
    claims, stated = remaining(study.claim), {i.id: i for i in remaining(study.invariant)}
    invariants = tuple(stated.get(i.id, i) for i in study.invariant if i.id in checked or i.id in stated)
    judged = {entry.id for entry in (*claims, *invariants)} | set(BUILT_IN)
    update = {"expect": Kernel(id=study.kernel[0].id).expect} if machines or scenarios else {}
    chosen = tuple(
        kernel.model_copy(update=update)
        for kernel in study.kernel
        if not kernels or kernel.id in kernels or (kernel.role == "baseline")
    )
    left_over = study.model_copy(
        update={
            "kernel": chosen,
            "machines": tuple(m for m in study.machines if m in {machine for _, machine in left}),
            "machine": remaining(study.machine),
            "scenario": tuple(kept),
            "claim": claims,
            "invariant": invariants,
            "known": tuple(known for known in remaining(study.known) if known.of in judged),
        }
    )
    return without_absent(left_over)


def only(study: Study, *, kernels: tuple[str, ...] = (), machines: tuple[str, ...] = ()) -> Study:
    """The study with exactly these kernels and machines, empty for all. Raises UserError."""
    _known("kernel", kernels, [kernel.id for kernel in study.kernel])
    _known("machine", machines, list(study.machines))
    left = study.model_copy(
        update={
            "kernel": tuple(kernel for kernel in study.kernel if not kernels or kernel.id in kernels),
            "machines": tuple(machine for machine in study.machines if not machines or machine in machines),
            "machine": tuple(entry for entry in study.machine if not machines or entry.id in machines),
        }
    )
    return without_absent(left)


def _whole(glob: str) -> str:
    """A glob that names only a scenario takes all of its variants."""
    return glob if "." in glob or glob.endswith("*") else f"{glob}.*"


def _known(kind: str, asked: tuple[str, ...], have: list[str]) -> None:
    for name in asked:
        if name not in have:
            raise near.unknown(kind, name, have, where="the study")
