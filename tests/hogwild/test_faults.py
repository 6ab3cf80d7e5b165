"""Workers that die, stop, fail or run out of memory, at every stage of a run of every backend."""

import collections

import pytest

import hogwild
from hogwild.compiling import config
from tests.hogwild.cases import problem
from tests.hogwild.faults import MOMENTS, PROCESSES, SIGNALS, THREADS, WITHIN, Fault, run_with

pytestmark = pytest.mark.skipif(config.DISABLE_JIT, reason="faults are those of compiled runs")

COUNTS: collections.Counter[str] = collections.Counter()


@pytest.fixture(scope="module", autouse=True)
def _counts(request):
    """Start the server of processes before anything is counted; at the end, print what was."""
    hogwild.minimize(case_of("pool"), backend="hogwild_processes", workers=1, epochs=1)
    yield
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\nfaults:", ", ".join(f"{count} {name}" for name, count in sorted(COUNTS.items())))


def case_of(backend):
    return problem(examples=60 if backend == "pool" else 3000, features=50)


def check(fault, backend):
    case = case_of(backend)
    outcome = run_with(fault, case, backend=backend, workers=2, merge_every=merges(backend))
    COUNTS[fault.kind] += outcome.injected
    COUNTS["hung"] += outcome.hung
    COUNTS["left something behind"] += bool(outcome.left)
    assert outcome.wrong(fault, case.n_examples) == []


def merges(backend):
    return 8 if "replicated" in backend else None


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("kind", SIGNALS + WITHIN)
@pytest.mark.parametrize("backend", PROCESSES)
def test_a_process_with_a_fault(backend, kind, moment):
    check(Fault(kind, moment), backend)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("kind", WITHIN)
@pytest.mark.parametrize("backend", THREADS)
def test_a_thread_with_a_fault(backend, kind, moment):
    check(Fault(kind, moment), backend)
