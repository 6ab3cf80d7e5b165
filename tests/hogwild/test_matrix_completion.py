"""Matrix completion: the update against its twin, the objective, the stationary point, the errors."""

import numpy as np
import pytest
import scipy.optimize

import hogwild
from hogwild.arguments import derived_seed
from hogwild.engine.compiling import config
from hogwild.engine.sampling import SAMPLINGS, epoch_key, examples_at, shuffled_order
from hogwild.problems import MatrixCompletion
from tests.hogwild.cases import completion
from tests.hogwild.twins import completion_twin


@pytest.mark.parametrize(
    ("sampling", "rank", "mu"),
    [*((name, 2, 3.0) for name in SAMPLINGS), ("fresh_permutation", 1, 0.0), ("fresh_permutation", 5, 1.0)],
)
def test_serial_equals_the_twin(sampling, rank, mu):
    case = completion(rank=rank, mu=mu)
    start = case.start(np.random.default_rng(3))
    result = hogwild.minimize(
        case, step_size=0.05, epochs=1, sampling=sampling, seed=6, initial_weights=start
    )
    record = SAMPLINGS[sampling](derived_seed(6, "order"))
    order = examples_at(record, case.n_examples, np.uint64(epoch_key(record.seed, 0)), 0, case.n_examples)
    if sampling.startswith("shuffled"):  # rows that were laid out in an order of their own
        order = shuffled_order(case.n_examples, record.seed)[order]
    factors = completion_twin(case.rows, case.columns, case.values, *case.factors(start), mu, order, 0.05)
    np.testing.assert_allclose(result.weights, np.concatenate(factors).ravel(), rtol=1e-9, atol=1e-12)


def test_the_objective_is_the_paper_s_sum_over_the_entries():
    case = completion(mu=2.0)
    weights = case.start(np.random.default_rng(0))
    left, right = case.factors(weights)
    total = 0.0
    for u, v, value in zip(case.rows, case.columns, case.values, strict=True):
        shrink = (left[u] ** 2).sum() / (case.rows == u).sum() + (right[v] ** 2).sum() / (
            case.columns == v
        ).sum()
        total += (left[u] @ right[v] - value) ** 2 + 2.0 / 2 * shrink
    assert case.objective(weights) == pytest.approx(total / case.n_examples, rel=1e-12)
    assert case.objective_at_zero == pytest.approx((case.values**2).mean())


def test_the_optimum_is_a_minimum_and_the_lowest_of_many():
    """Alternating least squares from the factors that made the data, and from many others."""
    case = completion(entries=120, mu=0.2, noise=1.0)
    optimum = case.solve()
    assert optimum.certificate == "best_of_8_starts"
    assert not case.certified
    assert case.optimum_error < 1e-5
    gradient = scipy.optimize.approx_fprime(optimum.weights, case.objective, 1e-6)
    assert np.linalg.norm(gradient) < 1e-3
    starts = [case.true_weights, *(case.start(np.random.default_rng(seed)) for seed in range(3))]
    objectives = [case.objective(alternating_twin(case, start, 100)) for start in starts]
    assert optimum.objective <= min(objectives)
    assert objectives[0] > optimum.objective + 1e-3 * case.objective_at_zero
    assert case.suboptimality(optimum.objective - 1e-3) == 0


def alternating_twin(case, start, sweeps):
    """Solve for the factors of one row or column after the other."""
    left, right = (part.copy() for part in case.factors(start))
    for _ in range(sweeps):
        for ours, others, own, theirs in (
            (left, right, case.rows, case.columns),
            (right, left, case.columns, case.rows),
        ):
            for which in np.unique(own):
                seen = own == which
                factors = others[theirs[seen]]
                gram = factors.T @ factors + case.mu / 2 * np.eye(case.rank)
                ours[which] = np.linalg.lstsq(gram, factors.T @ case.values[seen], rcond=None)[0]
    return np.concatenate([left, right]).ravel()


@pytest.mark.skipif(config.DISABLE_JIT, reason="a minute without the compiler")
def test_without_noise_and_penalty_every_backend_recovers_the_matrix():
    case = completion(rows=60, columns=40, entries=1500)
    case.solve()
    assert case._optimum.objective < 1e-12
    for backend in ("serial", "hogwild_threads", "aig_processes"):
        results = [
            hogwild.minimize(
                case,
                backend=backend,
                workers=None if backend == "serial" else 4,
                step_size=0.03,
                epochs=100,
                seed=seed,
            )
            for seed in range(3)
        ]
        # the median: now and then a run ends in another place, a serial one too
        assert np.median([result.suboptimality for result in results]) < 1e-2
        for result in results:
            assert case.errors(result.weights)["rmse"] == pytest.approx(np.sqrt(result.objective))


def test_statistics_count_rows_and_columns_as_variables():
    case = MatrixCompletion.from_data([0, 0, 1, 2], [0, 1, 1, 0], np.ones(4), rank=1)
    found = case.sparsity()
    assert (found.omega, found.delta, found.rho, found.rho_error) == (2, 0.5, 0.75, 0.0)


def test_true_weights_give_weight_errors_and_float32_stays():
    case = completion(dtype=np.float32)
    assert case.weight_errors(case.true_weights) == (0.0, 0.0)
    assert hogwild.minimize(case, epochs=1).weights.dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"values": [1.0, np.nan, 1.0]}, ValueError, "values holds NaN"),
        ({"values": []}, ValueError, "values has shape"),
        ({"values": ["a", "b", "c"]}, TypeError, "values has dtype"),
        ({"rows": [0, 1]}, ValueError, r"rows has shape \(2,\); it must be \(3,\)"),
        ({"rows": [0.0, 1.0, 2.0]}, TypeError, "rows has dtype float64"),
        ({"columns": [0, -1, 2]}, ValueError, "columns holds -1 to 2"),
        ({"shape": (2, 5)}, ValueError, "rows holds 0 to 2; allowed are 0 to 1"),
        ({"shape": 3}, TypeError, "shape is 3"),
        ({"rank": 0}, ValueError, "rank is 0"),
        ({"mu": -1.0}, ValueError, "mu is -1.0"),
        ({"init_scale": 0.0}, ValueError, "init_scale is 0.0"),
        ({"true_weights": [1.0]}, ValueError, "true_weights has shape"),
        ({"dtype": int}, ValueError, "dtype is"),
    ],
)
def test_bad_input_is_named(changes, error, message):
    given = {"rows": [0, 1, 2], "columns": [0, 1, 2], "values": [1.0, 2.0, 3.0], **changes}
    with pytest.raises(error, match=message):
        MatrixCompletion.from_data(given.pop("rows"), given.pop("columns"), given.pop("values"), **given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 2}, "batch_size"),
        ({"gradient_threshold": 0.1}, "gradient_threshold"),
        ({"backend": "pool"}, "backend"),
    ],
)
def test_options_of_linear_models_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        hogwild.minimize(completion(), **options)
