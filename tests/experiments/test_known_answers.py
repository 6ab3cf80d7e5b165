"""The instrument measures what is known: trials on a virtual clock, from the runner to the verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.design import spec
from experiments.design.plan import Trial
from experiments.judge import claims, precision, tables
from experiments.measure import environment, machine, runner
from experiments.measure.execution import Outcome
from tests.experiments.test_plan import TRIAL

UPDATES, NONZEROS, EPOCHS = 1_000, 5_000, 10
LEDGER = """
[[claim]]
id = "X1"
title = "The second name is slower"
source = "a test"
claimed = "slower"
value = "seconds_per_epoch"
unit = "× the first"
where = { experiment = "control" }
numerator = { backend = "serial_again" }
denominator = { backend = "serial" }
at_least = 1.0
margin = 0.02
"""
REPETITIONS = 20
COSTS = {"serial": 2e-6, "serial_again": 2e-6}  # seconds per update
PLANTED = {"serial": 2e-6, "serial_again": 2.2e-6}


@pytest.fixture(autouse=True)
def _own_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.exclusive.__wrapped__, "__defaults__", (tmp_path / "lock",))
    monkeypatch.setattr(machine, "SPIN_ITERATIONS", 10_000)
    monkeypatch.setattr(environment, "streaming", lambda: None)


def trials(names: Iterable[str], replicates: range) -> list[Trial]:
    return [
        replace(TRIAL, experiment="control", backend=name, replicate=number)
        for number in replicates
        for name in names
    ]


def measure(
    folder: Path,
    costs: Mapping[str, float],
    replicates: int,
    noise: float = 0.0,
    seed: int = 0,
    **options: object,
) -> tables.Run:
    """Run both names on a virtual clock: an update takes its known time, a trial that times some noise."""
    random = np.random.default_rng(seed)

    def execute(trial: Trial) -> Outcome:
        per_epoch = UPDATES * costs[trial.backend] * random.lognormal(0, noise)
        gaps = [10.0**-epoch for epoch in range(EPOCHS + 1)]
        history = [
            (epoch, epoch * UPDATES, epoch * per_epoch, 0.0, epoch * per_epoch, gap, gap, None, None)
            for epoch, gap in enumerate(gaps)
        ]
        seconds, updates = EPOCHS * per_epoch, EPOCHS * UPDATES
        columns = {
            "status": "ok", "n_examples": UPDATES, "nonzeros": NONZEROS, "density": 0.5, "updates": updates,
            "train_seconds": seconds, "updates_per_second": updates / seconds, "suboptimality": gaps[-1],
            "ns_per_nonzero": 1e9 * seconds / (EPOCHS * NONZEROS), "objective": gaps[-1], "disturbed": "",
        }  # fmt: skip
        return Outcome(columns, history)

    planned = trials(costs, range(replicates))
    spare = trials(costs, range(replicates, int(str(options.pop("most", 0)))))
    runner.run(planned, folder, preset="smoke", execute=execute, spare=spare, **options)  # type: ignore[arg-type]
    return tables.load(folder)


def test_a_known_time_per_update_comes_out_exactly(tmp_path: Path) -> None:
    run = measure(tmp_path, PLANTED, 3)
    for name, seconds in PLANTED.items():
        mine = run.trials[run.trials["backend"] == name]
        for column, known in {
            "seconds_per_epoch": UPDATES * seconds,
            "seconds_to_1e-2": 2 * UPDATES * seconds,
            "seconds_to_1e-3": 3 * UPDATES * seconds,
            "updates_to_1e-2": 2 * UPDATES,
            "ns_per_nonzero": 1e9 * seconds * UPDATES / NONZEROS,
            "updates_per_second": 1 / seconds,
        }.items():
            assert mine[column].to_numpy(float) == pytest.approx(known, rel=1e-12)
    pairs = tables.ratio(run, "seconds_per_epoch", {"backend": "serial_again"}, {"backend": "serial"}, {})
    assert pairs["value"].to_numpy(float) == pytest.approx(1.1, rel=1e-12)


def verdicts(folder: Path, costs: Mapping[str, float]) -> list[str]:
    """Judge one noisy run again and again, each time with replicates drawn from it with replacement."""
    path = folder / "ledger.toml"
    path.write_text(LEDGER, encoding="utf-8")
    run, random = measure(folder / "run", costs, 30, noise=0.03), np.random.default_rng(1)
    claim, found = claims.ledger(path)[0], []
    pairs = claim.pairs(run, claim.value)
    for _ in range(REPETITIONS):
        drawn = pairs.iloc[random.integers(0, len(pairs), 15)]
        found.append(claim.judge(claims.statistics.median_interval(drawn["value"])))
    return found


def test_a_planted_slowdown_of_a_tenth_is_found_every_time(tmp_path: Path) -> None:
    assert set(verdicts(tmp_path, PLANTED)) == {"supported"}


def test_a_backend_is_not_told_apart_from_itself(tmp_path: Path) -> None:
    assert set(verdicts(tmp_path, COSTS)) == {"inconsistent"}


@pytest.fixture
def control(tmp_path: Path) -> spec.Spec:
    path = tmp_path / "control.toml"
    path.write_text(
        """
        question = "How many replicates does it take?"
        claims = ["A1"]
        precision = {claims = ["A1"], width = 0.03}
        [[grid]]
        name = "small"
        problem = "least_squares"
        dataset = "synthetic"
        run = {backend = ["serial", "serial_again"]}
        [presets.smoke]
        replicates = 7
        most_replicates = 15
        """,
        encoding="utf-8",
    )
    return spec.load(path, "smoke")


@pytest.mark.parametrize(
    ("planned", "noise", "done", "outcome"),
    [(7, 0.0, 7, "reached"), (7, 0.5, 15, "15 replicates done"), (7, 0.01, 15, "reached"),
     (5, 0.0, 15, "reached")],  # five cover too little to be looked at
)  # fmt: skip
def test_all_replicates_are_run_where_the_planned_ones_leave_an_interval_too_wide(
    tmp_path: Path, control: spec.Spec, planned: int, noise: float, done: int, outcome: str
) -> None:
    looks = []

    def wanted(directory: Path, left: list[Trial]) -> list[Trial]:
        looks.append(len(left))
        return precision.choose(directory, left, [control])

    # no headline ratio asks for more of `locked`
    run = measure(
        tmp_path / "run", COSTS | {"locked": 5e-6}, planned, noise=noise, seed=2, most=15, wanted=wanted
    )
    assert run.trials["backend"].value_counts()["locked"] == planned
    (row,) = tables.rows(tables.pd.read_csv(tmp_path / "run" / precision.FILE))
    assert row.width == pytest.approx((row.high - row.low) / row.median)
    assert (row.n, row.outcome) == (done, outcome)
    assert (row.outcome == "reached") == (row.width <= row.wanted)
    assert len(looks) == 1 + (done > planned)


def test_a_run_that_was_stopped_among_its_further_replicates_does_them_all(
    tmp_path: Path, control: spec.Spec
) -> None:
    run = measure(tmp_path / "run", COSTS, 7, noise=0.0, most=8, wanted=lambda directory, left: left)
    assert set(precision.judge(run, [control])["outcome"]) == {"reached"}
    left = trials(COSTS, range(7, 15))
    assert precision.choose(tmp_path / "run", left, [control]) == left
