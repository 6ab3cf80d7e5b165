"""The backend that a run chooses itself: by what a trial says, and without a trace of it."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import hogwild
from hogwild import choice
from hogwild.assembly import Assembled
from hogwild.engine.steps import Constant
from tests.hogwild.cases import WATCHED, grid_cut, problem

OPTIONS: dict[str, Any] = {"epochs": 3, "step_size": 0.05, "sampling": "shuffled_once", "seed": 1}


class FakeTeam:
    """Takes a known time for each segment, and leaves traces in its weights."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.weights, self.closed, self.segments = seconds, np.zeros(3), False, []

    def run(self, segment: Any) -> tuple[float, list[Any]]:
        self.weights += 1
        self.segments.append(segment)
        return self.seconds, []

    def close(self) -> None:
        self.closed = True


def setup_of(entries: int = 10**8, workers: int = 2, constrained: bool = False) -> Any:
    problem = SimpleNamespace(nonzeros=entries, n_examples=10**6, constrained=constrained)
    given = SimpleNamespace(problem=problem, workers=workers, limits=SimpleNamespace(epochs=1))
    return SimpleNamespace(given=given, step=Constant(0.1))


def chosen(monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], setup: Any) -> Any:
    monkeypatch.setattr(choice, "usable_cores", lambda: [0, 1])
    teams = {name: FakeTeam(value) for name, value in seconds.items()}

    def assemble(setup: Any, backend: Any, workers: int) -> Assembled:
        assert workers == (1 if backend.name == "serial" else 2)
        return Assembled(teams[backend.name], np.full(3, 7.0), 0.0)  # type: ignore[arg-type]

    monkeypatch.setattr(choice, "assemble", assemble)
    return choice.choose(setup), teams


@pytest.mark.parametrize(
    ("seconds", "name"),
    [
        ({"serial": 1.0, "hogwild_threads": 0.8, "replicated": 0.6}, "replicated"),
        ({"serial": 1.0, "hogwild_threads": 0.6, "replicated": 0.8}, "hogwild_threads"),
        ({"serial": 1.0, "hogwild_threads": 3.0, "replicated": 1.2}, "serial"),
        ({"serial": 1.0, "hogwild_threads": 3.0, "replicated": 0.95}, "serial"),  # not worth it
    ],
)
def test_the_fastest_is_chosen_unless_serial_is_about_as_fast(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], name: str
) -> None:
    found, teams = chosen(monkeypatch, seconds, setup_of())
    assert found.backend == name
    assert found.workers == (1 if name == "serial" else 2)
    assert found.reason.startswith(f"{name}: in ")
    for other in teams:
        assert teams[other].closed == (other != name)
        assert len(teams[other].segments) == 1 + choice._TRIALS
    assert found.assembled.team.weights.tolist() == [7.0] * 3  # the trial's traces are gone
    assert teams["serial"].segments[0].end == 10**4  # updates with a million entries


def test_little_work_and_single_cores_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = chosen(monkeypatch, {}, setup_of(entries=1000))
    assert (found.backend, found.workers, found.assembled) == ("serial", 1, None)
    assert "too little work" in found.reason
    found, _ = chosen(monkeypatch, {}, setup_of(workers=1))
    assert found.reason == "serial: one worker is asked for"
    monkeypatch.setattr(choice, "usable_cores", lambda: [3])
    found = choice.choose(setup_of())
    assert found.reason == "serial: there is one core to use"


def test_a_trial_that_fails_leaves_no_team(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "usable_cores", lambda: [0, 1])
    team = FakeTeam(1.0)

    def assemble(setup: Any, backend: Any, workers: int) -> Assembled:
        if backend.name != "serial":
            raise OSError("no more threads")
        return Assembled(team, np.zeros(3), 0.0)  # type: ignore[arg-type]

    monkeypatch.setattr(choice, "assemble", assemble)
    with pytest.raises(OSError, match="no more threads"):
        choice.choose(setup_of())
    assert team.closed


@pytest.mark.parametrize("worth", [0.0, 1e9])
def test_after_a_real_trial_the_run_begins_at_its_start(
    monkeypatch: pytest.MonkeyPatch, worth: float
) -> None:
    monkeypatch.setattr(choice, "_LEAST_ENTRIES", 0)
    monkeypatch.setattr(choice, "usable_cores", lambda: [0, 1])
    monkeypatch.setattr(choice, "WORTH", worth)
    case = problem()
    case.solve()
    result = hogwild.minimize(case, backend="auto", workers=2, **OPTIONS)
    serial = hogwild.minimize(case, **OPTIONS)
    assert result.history[0].objective == serial.history[0].objective
    assert sum(result.updates) == 3 * case.n_examples
    if worth:
        assert (result.backend, result.workers) == ("serial", 1)
        assert result.weights.tobytes() == serial.weights.tobytes()
    else:
        assert result.backend in ("hogwild_threads", "replicated")
        assert len(result.updates) == 2
        assert result.suboptimality < 1.5 * serial.suboptimality + 0.01
    assert result.reason.startswith(f"{result.backend}: ")
    assert serial.reason == ""


def test_problems_with_constraints_have_a_choice_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_LEAST_ENTRIES", 0)
    monkeypatch.setattr(choice, "usable_cores", lambda: [0, 1])
    result = hogwild.minimize(grid_cut(), backend="auto", workers=2, epochs=2, step_size=0.05)
    assert result.backend in ("serial", "hogwild_threads")
    assert "replicated" not in result.reason


def test_what_auto_cannot_do_is_said_before_any_work() -> None:
    with pytest.raises(ValueError, match="name a backend then, instead of 'auto'"):
        hogwild.minimize(problem(), backend="auto", observe=WATCHED)
    with pytest.raises(ValueError, match="backend is 'auto'; it must be one of aig, "):
        hogwild.backend("auto", merge_every=5)
    with pytest.raises(ValueError, match="backend is 'mpi'; it must be one of aig, aig_processes, "):
        hogwild.minimize(problem(), backend="mpi")
