"""Optima against independent solvers, what their certificates promise on awkward data, and what is kept."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import minimize as scipy_minimize

import hogwild
from hogwild.engine.compiling import config
from hogwild.problems import (
    LINEAR_PROBLEMS,
    GraphCut,
    HingeSVM,
    LeastSquares,
    Logistic,
    MatrixCompletion,
    base,
    optimum,
)
from hogwild.problems.optimum import UncertifiedOptimum
from tests.hogwild.cases import arrays, problem
from tests.hogwild.losses import BOUNDED, FACTS


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A folder that no other test has kept optima in, nor will find them in."""
    monkeypatch.setenv("HOGWILD_CACHE_DIR", str(tmp_path))
    base._cached_optimum.cache_clear()
    yield
    base._cached_optimum.cache_clear()


def correlated(labels=False, examples=400, features=12, seed=0):
    """Columns that are nearly one and the same, on scales from 10^-3 to 10^3."""
    random = np.random.default_rng(seed)
    plain = random.normal(size=(examples, 1)) + 1e-2 * random.normal(size=(examples, features))
    plain = plain @ random.normal(size=(features, features))
    target = plain @ random.normal(size=features) + 2 * random.normal(size=examples)
    scales = 10.0 ** random.uniform(-3, 3, features)
    return plain, plain * scales, np.where(target > 0, 1.0, -1.0) if labels else target


def noisy(examples=300, features=8):
    X, y, _ = arrays(examples, features, 0.5, 3, labels=True)
    return X, np.where(np.random.default_rng(1).random(examples) < 0.2, -y, y)


@pytest.mark.parametrize("l2", [1.0, 1e-2, 1e-3, 1e-4])
def test_the_hinge_is_certified_however_small_its_penalty(l2):
    case = HingeSVM.from_data(*noisy(), l2=l2)
    found = case.solve()
    assert case.certified
    assert case.optimum_error <= 1e-7
    assert case.objective(found.weights) == pytest.approx(found.objective, rel=1e-12)
    result = hogwild.minimize(case, step_size=0.1, epochs=2, target=1e-3)
    assert result.suboptimality >= 0


@pytest.mark.parametrize("l2", [1e-1, 1e-3])
def test_the_hinge_s_minimum_is_that_of_the_quadratic_program(l2):
    X, y = noisy(30, 3)
    m, n = X.shape

    def value(point):
        return (l2 * point[:n] @ point[:n] + point[n:].sum()) / m

    def slope(point):
        return np.concatenate([2 * l2 * point[:n], np.ones(m)]) / m

    rows = np.hstack([y[:, None] * X, np.eye(m)])
    above = {"type": "ineq", "fun": lambda point: rows @ point - 1, "jac": lambda point: rows}
    start, bounds = np.concatenate([np.zeros(n), np.ones(m)]), [(None, None)] * n + [(0, None)] * m
    program = scipy_minimize(
        value, start, jac=slope, bounds=bounds, constraints=above, method="SLSQP", options={"ftol": 1e-14}
    )
    assert HingeSVM.from_data(X, y, l2=l2).solve().objective == pytest.approx(program.fun, abs=2e-7)


@pytest.mark.parametrize("l2", [0.0, 1e-6])
def test_least_squares_on_correlated_columns_of_all_scales(l2):
    """Without a penalty scales do not matter, so the columns before scaling give the minimum."""
    plain, X, y = correlated()
    case = LeastSquares.from_data(X, y, l2=l2)
    found = case.solve()
    assert case.certified
    left, kept, _ = np.linalg.svd(plain if l2 == 0 else X, full_matrices=False)
    shares = np.ones(kept.size) if l2 == 0 else kept**2 / (kept**2 + l2)
    exact = (y @ y - shares @ (left.T @ y) ** 2) / y.size
    assert found.objective == pytest.approx(exact, rel=1e-9)


def test_logistic_on_correlated_columns_of_all_scales():
    plain, X, y = correlated(labels=True)
    case = Logistic.from_data(X, y)
    found = case.solve()
    assert case.certified
    assert found.certificate == "projected_duality_gap"
    basis = np.linalg.qr(plain)[0] * np.sqrt(y.size)
    options = {"gtol": 1e-12, "ftol": 0.0, "maxiter": 5000}
    best = scipy_minimize(
        lambda weights: np.logaddexp(0, -y * (basis @ weights)).mean(),
        np.zeros(basis.shape[1]),
        jac=lambda weights: basis.T @ (-y / (1 + np.exp(y * (basis @ weights)))) / y.size,
        method="L-BFGS-B",
        options=options,
    )
    assert found.objective == pytest.approx(best.fun, abs=1e-9)


def test_separable_logistic_data_have_the_infimum_zero():
    X = np.array([[1.0, 0.0], [2.0, 1.0], [-1.0, 0.5]])
    case = Logistic.from_data(X, [1, 1, -1])
    found = case.solve()
    assert 0 <= found.objective <= 1e-6
    assert case.certified
    assert hogwild.minimize(case, step_size=5.0, epochs=200, target=1e-2).suboptimality <= 1e-2


@st.composite
def awkward(draw):
    """Empty rows and columns, duplicated and constant columns, scales, one class, one row, wide and flat."""
    examples, features = draw(st.integers(1, 12)), draw(st.integers(1, 8))
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    X = random.normal(size=(examples, features)) * (
        random.random((examples, features)) < draw(st.sampled_from([0.0, 0.3, 1.0]))
    )
    if draw(st.booleans()):
        X = np.hstack([X, X[:, :1], np.ones((examples, 1))])
    if draw(st.booleans()):
        X = X * 10.0 ** random.uniform(-3, 3, X.shape[1])
    y = random.normal(size=examples)
    if draw(st.booleans()):
        y = np.abs(y)
    return X, y, random


@given(awkward(), st.sampled_from(sorted(LINEAR_PROBLEMS)), st.sampled_from([0.0, 1e-6, 1e-3, 1.0]))
def test_certificates_hold_on_awkward_data(data, name, l2):
    X, y, random = data
    assume(FACTS[name].smooth or l2 > 0)
    kind = LINEAR_PROBLEMS[name]
    case = kind.from_data(X, np.sign(y) if kind.task == "classification" else y, l2=l2)
    found = optimum.solve(case.loss, case.X, case.y, l2, 1e-7)
    case._optimum = found
    assert found.value >= 0
    assert case.optimum_error <= 1e-6
    assert found.objective <= case.objective_at_zero
    assert case.objective(found.weights) == pytest.approx(found.objective, rel=1e-9, abs=1e-12)
    floor = found.objective - found.value - 1e-9 * case.objective_at_zero
    margins = np.abs(case.margins(found.weights))
    for scale in (1e-6, 1e-3, 1.0, 1e3):
        for away in scale * random.normal(size=(5, case.n_features)):
            for there in (found.weights + away, found.weights * (1 + away)):
                # what the certificate without a penalty takes for granted of a minimiser
                if l2 > 0 or name not in BOUNDED or (np.abs(case.margins(there)) <= 100 * margins).all():
                    assert case.objective(there) >= floor


@pytest.mark.parametrize("name", LINEAR_PROBLEMS)
def test_no_long_run_goes_below_the_optimum(name):
    case = problem(name, l2=1e-2, examples=60, features=5, density=0.6, seed=2)
    case.solve()
    rule = hogwild.steps.ExponentialBackoff(0.1, 0.98)
    for row in hogwild.minimize(case, step_size=rule, epochs=300).history:
        assert row.objective >= case._optimum.objective - case._optimum.value - 1e-12
        assert 0 <= row.suboptimality <= 1 + 1e-12 or row.objective > case.objective_at_zero


def test_an_uncertified_optimum_is_an_error_for_a_target_and_else_a_warning(own_cache, monkeypatch):
    monkeypatch.setattr(optimum, "MOST_VISITS", 1.0)
    case = Logistic.from_data(*noisy(), l2=1e-3)
    with pytest.raises(UncertifiedOptimum, match=r"certified to a suboptimality of .*; needed is 1.0e-04"):
        hogwild.minimize(case, target=1e-3)
    with pytest.warns(UserWarning, match="suboptimality is nan"):
        case.solve()
    assert not case.certified
    assert np.isnan(case.suboptimality(0.5))
    assert np.isnan(hogwild.minimize(case, epochs=1).suboptimality)


def test_what_is_kept_serves_the_precision_that_was_asked_for(own_cache, monkeypatch):
    asked = []
    data = noisy()

    class Counted(Logistic):
        def _find_optimum(self, precision):
            asked.append(precision)
            found = super()._find_optimum(precision)
            return found._replace(value=precision / 20)  # no better than it must be

    def fresh():
        return Counted.from_data(*data, l2=1e-3)

    for target in (None, 1e-3, 1e-5):
        fresh().solve(target)
    assert asked == [1e-7]
    case = fresh()
    case.solve()
    case.solve(1e-8)
    case.solve()
    assert asked == [1e-7, 1e-9]
    monkeypatch.setattr(base, "VERSION", -1)
    fresh().solve()
    assert asked == [1e-7, 1e-9, 1e-7]


def test_where_zero_is_the_minimum_it_has_suboptimality_zero_and_all_else_is_far():
    case = LeastSquares.from_data(np.eye(2), [0.0, 0.0])
    case.solve()
    assert case.suboptimality(0.0) == 0
    assert case.suboptimality(1e-9) == np.inf
    blind = Logistic.from_data(np.zeros((3, 2)), [1, -1, 1])
    blind.solve()
    assert blind.suboptimality(blind.objective_at_zero) == 0


def test_contents_that_only_sum_to_the_same_are_not_the_same():
    def ratings(values, **options):
        return MatrixCompletion.from_data([0, 0], [0, 0], values, rank=1, **options)

    assert ratings([1.0, 3.0]).content_hash != ratings([2.0, 2.0]).content_hash
    assert ratings([1.0, 3.0]).solve().objective == pytest.approx(1)
    assert ratings([2.0, 2.0]).solve().objective == pytest.approx(0, abs=1e-12)
    assert ratings([1.0, 3.0]).content_hash != ratings([1.0, 3.0], shape=(1, 2)).content_hash

    def edges(heads, tails, capacities):
        return GraphCut.from_data(heads, tails, capacities, terminals=[0, 1])

    merged, split = edges([0], [1], [2.0]), edges([0, 0], [1, 1], [1.0, 1.0])
    assert merged.content_hash != split.content_hash
    assert (merged.solve().objective, split.solve().objective) == (4, 2)


def factors(random, mu=0.0):
    """Noisy entries of a matrix of rank 3."""
    left, right = random.normal(size=(40, 3)), random.normal(size=(30, 3))
    rows, columns = random.integers(0, 40, 400), random.integers(0, 30, 400)
    values = (left[rows] * right[columns]).sum(axis=1) + random.normal(size=400)
    return MatrixCompletion.from_data(rows, columns, values, shape=(40, 30), rank=3, mu=mu)


@pytest.mark.skipif(config.DISABLE_JIT, reason="thousands of passes")
@pytest.mark.parametrize("mu", [0.0, 8.0, 15.0])
def test_factors_are_solved_on_the_scale_that_is_asked_for(mu):
    for seed in range(3):
        case = factors(np.random.default_rng(seed), mu)
        case.solve(1e-5)
        assert case.optimum_error <= 1e-6


def test_a_solve_that_is_refused_changes_nothing_for_another_run(monkeypatch):
    case, refused = LeastSquares.from_data(*arrays()[:2]), []
    case.solve(0.5)
    poor = case._optimum._replace(value=1.0)

    def within(checkpoint):
        if checkpoint.epoch == 1:
            case._optimum = poor  # whatever is there, it is not enough
            monkeypatch.setattr(base, "_cached_optimum", lambda: lambda *what: poor)
            with pytest.raises(UncertifiedOptimum, match="Ask for a target of"):
                hogwild.minimize(case, target=1e-3, epochs=1)
            refused.append(checkpoint.suboptimality)
        assert case._wanted == 0.05

    result = hogwild.minimize(case, step_size=0.02, target=0.5, epochs=60, callback=within)
    assert len(refused) == 1
    assert result.message.startswith("reached the target")
    assert np.isfinite([checkpoint.suboptimality for checkpoint in result.history]).all()


def test_a_looser_solve_that_fails_leaves_a_run_its_scale():
    case = LeastSquares.from_data(*arrays()[:2])
    case.solve(0.5)
    told = case.gauge()
    case._wanted = 0.0  # as another run may ask
    assert np.isnan(case.suboptimality(1.0))
    assert told(case.objective_at_zero) == pytest.approx(1)


@pytest.mark.parametrize("size", [0.0, 1e100])
def test_factors_of_zeros_and_of_huge_values_have_an_optimum_or_say_that_they_have_none(size):
    case = MatrixCompletion.from_data([0, 1, 2, 0, 1], [0, 1, 2, 1, 2], size * np.ones(5), rank=1)
    if size == 0:
        assert case.solve().objective == 0
    else:
        try:
            case.solve(1e-3)
        except UncertifiedOptimum:
            assert np.isnan(case.suboptimality(1.0))


@pytest.mark.parametrize("loss", LINEAR_PROBLEMS)
@pytest.mark.parametrize("size", [1e-165, 1e-130, 1e20, 1e160])
def test_values_too_large_or_too_small_to_be_squared_end_in_words(loss, size):
    X, y = noisy(50, 5)
    case = LINEAR_PROBLEMS[loss].from_data(X * size, y, l2=1.0)
    with np.errstate(all="ignore"):
        try:
            case.solve(1e-3)
            assert 1e-140 < size < 1e140
            assert case.optimum_error <= 1e-4
        except UncertifiedOptimum:
            assert np.isnan(case.suboptimality(0.5))
