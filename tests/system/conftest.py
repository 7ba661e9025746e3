"""Real kernels and real VMs. Kernels come from the user's cache, as in everyday use; observations never do."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import cli, stages, study
from pipeline.events import Event
from pipeline.kernel.build import KernelArtifact
from pipeline.stages import Options, Result
from pipeline.study import Expect, Kernel, Study
from tests import sandbox
from tests.sandbox import Clone

CHECKOUT = Path(__file__).parents[2]
SHIPPED = CHECKOUT / "patches" / "madvise-free-mthp"
MUTANTS = CHECKOUT / "tests" / "mutants"


@dataclasses.dataclass
class Bench:
    """Runs studies into a folder of its own and keeps the events of the last run."""

    options: Options
    events: list[Event] = dataclasses.field(default_factory=list)

    def validate(self, wanted: Study, *, fresh: bool = True) -> Result:
        self.events.clear()
        return stages.validate(wanted, dataclasses.replace(self.options, fresh=fresh), self.events.append)

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture(scope="session")
def shipped() -> Study:
    return study.load(SHIPPED)


@pytest.fixture(scope="session")
def session_options(tmp_path_factory: pytest.TempPathFactory) -> Options:
    return Options(cache=cli.cache_folder(), runs=tmp_path_factory.mktemp("runs"), command=("pytest",))


@pytest.fixture
def bench(session_options: Options) -> Bench:
    return Bench(session_options)


@pytest.fixture(scope="session")
def merged(shipped: Study, session_options: Options) -> KernelArtifact:
    """Stock 6.12, built with the shipped study's fragments."""
    return stages.build_all(shipped, session_options, lambda event: None, only=("merged",))["merged"]


@pytest.fixture(scope="session")
def booted_image(merged: KernelArtifact) -> Path:
    return merged.image


@pytest.fixture
def with_patches(shipped: Study) -> Callable[..., Study]:
    """The shipped study with the baseline and one candidate of the test's own patches, over stock 6.12."""

    def make(*patches: Path, failing: tuple[str, ...] = (), verdict: str = "FAIL", name: str = "mutant") -> Study:
        assert shipped.baseline is not None
        candidate = Kernel(
            id=name,
            series=tuple(str(patch) for patch in patches),
            expect=Expect(verdict=verdict, failing=failing),
        )
        return shipped.model_copy(update={"kernel": (shipped.baseline, candidate)})

    return make


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clean clone, set up as the README says; kernels come from the user's cache."""
    top = tmp_path_factory.mktemp("newcomer")
    cache = sandbox.share(cli.cache_folder(), top / "cache")
    made = sandbox.make(top / "kpv", home=top / "home", cache=cache)
    done = made.sh("make setup")
    assert done.returncode == 0, done.stdout
    return made
