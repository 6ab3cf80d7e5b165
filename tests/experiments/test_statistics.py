import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import binom

from experiments.statistics import (
    LEVEL,
    LOOKS,
    beyond,
    coverage,
    median_interval,
    ratio,
    summary,
    time_to_target,
)

values = st.floats(1e-9, 1e3)
targets = st.floats(1e-8, 1e2)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[float, float]]:
    gaps = draw(st.lists(st.floats(1e-3, 10), min_size=1, max_size=12))
    times = np.cumsum(gaps) - gaps[0]
    return [(float(time), draw(values)) for time in times]


def test_time_is_read_off_the_line_in_the_logarithm() -> None:
    assert time_to_target([(0, 1), (1, 0.1), (2, 0.01)], 10**-1.5) == pytest.approx(1.5)


def test_only_the_first_crossing_counts() -> None:
    assert time_to_target([(0, 1), (1, 0.001), (2, 1), (3, 0.001)], 0.01) < 1


def test_a_start_below_the_target_counts() -> None:
    assert time_to_target([(0.25, 0.001), (1, 1)], 0.01) == 0.25


def test_missed_target_is_infinite() -> None:
    assert time_to_target([(0, 1), (1, 0.1)], 0.01) == math.inf
    assert time_to_target([], 0.01) == math.inf


def test_later_suboptimality_not_positive_is_interpolated_linearly() -> None:
    assert time_to_target([(0, 1), (1, 0)], 0.25) == pytest.approx(0.75)
    assert time_to_target([(0, 1), (1, -1)], 0.5) == pytest.approx(0.25)


def test_unknown_rows_are_left_out_and_infinite_ones_end_at_the_later_checkpoint() -> None:
    assert time_to_target([(0, 1), (1, math.nan), (2, 0.01)], 0.1) == pytest.approx(1)
    assert time_to_target([(0, math.inf), (1, 0.001)], 0.1) == 1


@pytest.mark.parametrize("target", [0, -1, math.nan])
def test_target_must_be_positive(target: float) -> None:
    with pytest.raises(ValueError, match="target must be positive"):
        time_to_target([(0, 1)], target)


@given(histories(), targets, targets)
def test_a_harder_target_takes_no_less_time(history: list, one: float, other: float) -> None:
    assert time_to_target(history, max(one, other)) <= time_to_target(history, min(one, other))


@given(histories(), targets)
def test_infinite_exactly_where_the_target_is_missed(history: list, target: float) -> None:
    assert math.isinf(time_to_target(history, target)) == (min(gap for _, gap in history) > target)


@given(histories(), targets, histories())
def test_what_comes_after_the_crossing_changes_nothing(history: list, target: float, more: list) -> None:
    reached = time_to_target(history, target)
    assume(math.isfinite(reached))
    later = [(history[-1][0] + 1 + time, gap) for time, gap in more]
    assert time_to_target(history + later, target) == reached


@given(histories(), targets, st.floats(0.01, 0.99))
def test_another_checkpoint_on_the_line_changes_nothing(history: list, target: float, share: float) -> None:
    assume(len(history) > 1)
    (start, high), (end, low) = history[:2]
    between = (start + share * (end - start), high ** (1 - share) * low**share)
    denser = [history[0], between, *history[1:]]
    assert time_to_target(denser, target) == pytest.approx(
        time_to_target(history, target), rel=1e-6, abs=1e-9
    )


@given(histories(), targets, st.lists(st.tuples(st.floats(0, 1), st.floats(1, 100)), max_size=6))
def test_more_checkpoints_before_the_bracket_change_nothing(
    history: list, target: float, extra: list[tuple[float, float]]
) -> None:
    above = [gap > target for _, gap in history]
    assume(all(above[:1]) and not all(above))
    last = above.index(False) - 1
    denser = [(share * history[last][0], factor * target * 1.001) for share, factor in extra]
    reached = time_to_target([*sorted(denser), *history[last:]], target)
    assert reached == time_to_target(history, target)


@given(histories(), targets, st.floats(0, 1), values)
def test_another_checkpoint_before_the_target_stays_within_the_bracket(
    history: list, target: float, share: float, gap: float
) -> None:
    above = [gap > target for _, gap in history]
    assume(all(above[:1]) and not all(above))
    later = above.index(False)
    (start, _), (end, _) = history[later - 1 : later + 1]
    between = (start + share * (end - start), gap)
    assert start <= time_to_target([*history[:later], between, *history[later:]], target) <= end


@given(histories(), targets, st.floats(0.1, 10))
def test_the_unit_of_time_does_not_matter(history: list, target: float, unit: float) -> None:
    scaled = [(unit * time, gap) for time, gap in history]
    assert time_to_target(scaled, target) == pytest.approx(unit * time_to_target(history, target))


def test_ratios_know_never() -> None:
    found = ratio([1, math.inf, 1, math.inf], [2, 2, math.inf, math.inf])
    assert found[:3].tolist() == [0.5, math.inf, 0]
    assert math.isnan(found[3])


def test_costs_rates_and_ratios_have_means_of_their_own() -> None:
    assert summary([1.0, 3.0], "cost") == 2
    assert summary([30.0, 60.0], "rate") == pytest.approx(40)  # the same way at 30 and back at 60
    assert summary([0.5, 2.0, 4.0, 0.25], "ratio") == pytest.approx(1)
    assert summary([[1.0, 2.0], [3.0, 4.0]], "cost").tolist() == [2, 3]


def test_never_is_a_value_of_a_mean_as_well() -> None:
    assert summary([1, math.inf], "cost") == math.inf
    assert summary([1, math.inf], "ratio") == math.inf
    assert summary([0, 5], "rate") == 0
    assert math.isnan(summary([0, math.inf], "ratio"))


@given(st.lists(st.tuples(values, values), min_size=1, max_size=8))
def test_a_rate_is_the_inverse_of_a_cost(sides: list[tuple[float, float]]) -> None:
    costs = np.array(sides)
    above, below = summary(costs, "cost")
    fast, slow = summary(1 / costs, "rate")
    assert slow / fast == pytest.approx(above / below)


def test_few_values_give_smallest_and_largest() -> None:
    assert median_interval([3, 1, 2]) == (2, 1, 3, 3)
    assert [coverage(n) for n in range(8)] == [0, 0, 0.5, 0.75, 0.875, 0.9375, LEVEL, LEVEL]


def test_ends_are_order_statistics() -> None:
    assert median_interval(range(1, 7)) == (3.5, 1, 6, 6)
    assert median_interval(range(1, 10)) == (5, 1, 9, 9)
    assert median_interval(range(1, 11)) == (5.5, 2, 9, 10)
    assert median_interval([*range(1, 13), *range(100, 112)]) == (56, 7, 105, 24)
    assert median_interval([3.0] * 4) == (3, 3, 3, 4)


@pytest.mark.parametrize("n", [7, 10, 24, 40, 301, 2000])
def test_the_ends_are_as_near_as_a_look_allows(n: int) -> None:
    misses = (1 - LEVEL) / LOOKS
    assert 2 * binom.cdf(beyond(n), n, 0.5) <= misses < 2 * binom.cdf(beyond(n) + 1, n, 0.5)


def test_never_is_a_value() -> None:
    assert median_interval([1, math.inf, 2]) == (2, 1, math.inf, 3)
    assert median_interval([math.inf] * 12) == (math.inf, math.inf, math.inf, 12)
    found = median_interval([1.0, 2, 3, 4, 5, 6, 7, 8, math.inf, math.inf, math.inf, math.inf])
    assert found == (6.5, 2, math.inf, 12)


def test_unknown_values_are_left_out() -> None:
    assert median_interval([math.nan, 1, 1]) == (1, 1, 1, 2)
    assert median_interval([math.nan]).n == 0


@given(st.lists(st.floats(0, 1e6) | st.just(math.inf), min_size=1, max_size=9), st.randoms())
def test_intervals_hold_the_median_in_any_order(sample: list, random: object) -> None:
    found = median_interval(sample)
    assert found.low <= found.median <= found.high
    random.shuffle(sample)  # type: ignore[attr-defined]
    assert median_interval(sample) == found
