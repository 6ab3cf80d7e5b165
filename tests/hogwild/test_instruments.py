"""What an instrumented run says, against what is known; what it must not change."""

import numpy as np
import pytest

import hogwild
from hogwild.observe import instruments
from hogwild.problems import HingeSVM
from hogwild.sharing.guards import Unguarded
from tests.hogwild.cases import WATCHED, completion, grid_cut, problem


@pytest.mark.parametrize(
    "case", [problem("hinge", l2=1.0), completion(mu=1.0), grid_cut()], ids=lambda c: c.name
)
def test_watching_a_serial_run_changes_nothing_and_sees_no_neighbour(case):
    options = {"step_size": 0.03, "epochs": 3, "seed": 1}
    plain, watched = (hogwild.minimize(case, **options, observe=hogwild.Observe(on)) for on in (False, True))
    assert plain.weights.tobytes() == watched.weights.tobytes()
    assert plain.observations is None
    seen = watched.observations
    np.testing.assert_allclose(seen.attempted, seen.arrived, atol=1e-12)
    assert seen.lost_share < 1e-12
    assert (seen.staleness.mean, seen.staleness.percentile_99, seen.staleness.largest) == (0, 0, 0)
    assert seen.staleness.histogram[0] == seen.staleness.histogram.sum() == 3 * case.n_examples
    assert np.isnan(seen.staleness.length_correlation)
    assert seen.collision_rate == 0
    assert 0 <= seen.wait_share < 1


def test_round_robin_updates_are_stale_by_the_other_workers_of_a_round():
    """A gradient is computed while each of the others writes once."""
    case = problem(examples=600, features=40)
    result = hogwild.minimize(
        case,
        backend="round_robin",
        workers=3,
        step_size=0.01,
        epochs=4,
        observe=WATCHED,
    )
    lag = result.observations.staleness
    assert lag.histogram.sum() == 2400
    assert lag.largest <= 2
    assert lag.mean > 1
    assert lag.percentile_99 == 2
    assert result.observations.wait_share > 0


def test_a_lock_around_everything_leaves_nothing_stale_and_no_collision():
    case = problem(examples=2000, features=40)
    result = hogwild.minimize(case, backend="locked", workers=3, step_size=0.01, epochs=3, observe=WATCHED)
    seen = result.observations
    assert (seen.staleness.largest, seen.collision_rate) == (0, 0)
    assert seen.lost_share < 1e-12


def test_locks_on_variables_leave_no_collision_while_writing():
    case = problem(examples=2000, features=12, density=0.5)
    result = hogwild.minimize(case, backend="aig", workers=3, step_size=0.001, epochs=3, observe=WATCHED)
    assert result.observations.collision_rate == 0


def test_processes_report_their_tallies():
    case = HingeSVM.from_data(np.ones((500, 2)), np.ones(500))
    result = hogwild.minimize(
        case,
        backend="hogwild_processes",
        workers=2,
        step_size=2.0**-20,
        epochs=2,
        observe=WATCHED,
    )
    assert result.observations.writes.tolist() == [1000, 1000]
    np.testing.assert_array_equal(result.observations.attempted, 1000 * 2.0**-20)


def test_tallies_of_two_workers_are_put_together():
    guard = instruments.instrumented(Unguarded(), 2, 3)
    lags, lengths = np.array([[0, 1, 2], [5, 9, 3000]]), np.array([[4, 6, 8], [1, 2, 9]])
    for worker in range(2):
        cells, sums = guard.cells[worker], guard.sums[worker]
        cells["done"], cells["collided"] = 3, worker
        cells["busy"], cells["waited"] = 100, 10 + 20 * worker
        for lag, length in zip(lags[worker], lengths[worker], strict=True):
            guard.lags[worker, min(lag, 1023)] += 1
            sums["lags"] += lag
            sums["squares"] += lag**2
            sums["touches"] += length
            sums["touch_squares"] += length**2
            sums["products"] += lag * length
        sums["largest"] = lags[worker].max()
    guard.attempted[:] = [[1, 0, 0], [2, -1, 0]]
    guard.moved[:] = [[1, 0, 0], [2, 1, 0]]
    seen = instruments.observations(guard, np.ones(3), np.array([3.5, 0.0, 1.0]))
    assert seen.lost_share == 0.5 / 4
    assert (seen.collision_rate, seen.wait_share) == (1 / 6, 0.2)
    assert seen.staleness.mean == pytest.approx(lags.mean())
    assert seen.staleness.largest == 3000
    assert seen.staleness.percentile_99 == 1023
    assert seen.staleness.histogram[[0, 1, 2, 5, 9, 1023]].tolist() == [1] * 6
    expected = np.corrcoef(lags.ravel(), lengths.ravel())[0, 1]
    assert seen.staleness.length_correlation == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "pool"}, "instrument is True; the backend 'pool'"),
        ({"backend": "averaging"}, "instrument is True; the backend 'averaging'"),
        ({"batch_size": 4}, "instrument is True; batch_size is 4"),
    ],
)
def test_what_cannot_be_watched_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        hogwild.minimize(problem(), observe=WATCHED, **options)
    with pytest.raises(TypeError, match="instrument is 1"):
        hogwild.minimize(problem(), observe=hogwild.Observe(instrument=1))
