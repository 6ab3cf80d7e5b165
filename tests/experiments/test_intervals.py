"""Every interval that is printed covers what it says: simulated, for samples from known distributions."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from experiments import statistics
from experiments.judge import claims, precision, quotations, tables
from experiments.report import figures, readme
from experiments.report.figures import style
from experiments.statistics import LEVEL, coverage, median_interval
from tests.experiments import fake_run

REPETITIONS = 20_000
SIZES = range(3, 31)
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def lognormal(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return random.lognormal(0, 0.3, shape)


def bimodal(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Fast or slow, equally likely, as epochs beside a busy neighbour; the median lies where nothing does."""
    return random.choice([0.8, 1.25], shape) * random.lognormal(0, 0.03, shape)


def tied(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.round(lognormal(random, shape), 1)


def missed(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A target that is never reached in three of ten runs, on a coarse clock."""
    return np.where(random.random(shape) < 0.3, np.inf, tied(random, shape))


# with its median: of `missed`, five of seven finite values are at most as large
DRAWN: list[tuple[Draw, float]] = [(lognormal, 1.0), (bimodal, 1.0), (tied, 1.0), (missed, 1.2)]
draws = pytest.mark.parametrize(("draw", "median"), DRAWN, ids=lambda value: getattr(value, "__name__", ""))


class Look(NamedTuple):
    """The intervals of many samples at once: whether they cover, and how wide they are over their medians."""

    covers: np.ndarray
    width: np.ndarray


def least(n: int) -> float:
    """What an interval says, less what chance may take where it can be no wider."""
    return coverage(n) if coverage(n) >= LEVEL else coverage(n) - 0.01


def look(samples: np.ndarray, median: float) -> Look:
    n = samples.shape[1]
    k = statistics.beyond(n)
    places = [k, n - 1 - k, (n - 1) // 2, n // 2]
    low, high, *middle = np.partition(samples, sorted(set(places)), axis=1)[:, places].T
    for row in (0, 1, 2):
        assert median_interval(samples[row]) == (
            np.mean([side[row] for side in middle]),
            low[row],
            high[row],
            n,
        )
    with np.errstate(invalid="ignore"):
        return Look((low <= median) & (median <= high), (high - low) / np.mean(middle, axis=0))


@draws
def test_an_interval_covers_the_median_as_often_as_it_says(draw: Draw, median: float) -> None:
    samples = draw(np.random.default_rng(1), (REPETITIONS, max(SIZES)))
    for n in SIZES:
        share = look(samples[:, :n], median).covers.mean()
        assert share >= least(n), n
        if coverage(n) < LEVEL and draw in (lognormal, bimodal):  # ties cover more
            assert share == pytest.approx(coverage(n), abs=0.01), n


@draws
def test_it_does_where_it_decided_whether_the_run_went_on(draw: Draw, median: float) -> None:
    random, ended = np.random.default_rng(2), []
    for planned in SIZES:
        for most in {planned + 1, planned + planned // 2, 2 * planned}:
            samples = draw(random, (REPETITIONS, most))
            first, last = look(samples[:, :planned], median), look(samples, median)
            for wanted in np.quantile(first.width[np.isfinite(first.width)], [0.05, 0.2, 0.5, 0.8]):
                narrow = precision.narrow(planned, first.width, wanted)
                share = np.where(narrow, first.covers, last.covers).mean()
                assert share >= least(most), (planned, most, wanted)
                ended.append(narrow.mean())
    assert max(ended) > 0.3  # of the runs that ended early there were enough


@pytest.mark.parametrize("kind", ["cost", "rate", "ratio"])
@pytest.mark.parametrize("draw", [lognormal, bimodal, tied])
def test_it_does_for_summaries_over_workloads(draw: Draw, kind: statistics.Kind) -> None:
    random, count = np.random.default_rng(3), REPETITIONS * max(SIZES)
    groups = []
    for size in (0.1, 1.0, 5.0):
        above, below = size * draw(random, (2, count))
        groups.append(pd.DataFrame({"value": above / below, "above": above, "below": below}))
    values = claims._pooled(groups, kind).reshape(REPETITIONS, -1)
    median = 1.0  # both sides are alike, and so are their ratio and its inverse
    for n in SIZES:
        assert look(values[:, :n], median).covers.mean() >= least(n), n
    first, last = look(values[:, :8], median), look(values[:, :16], median)
    for wanted in np.quantile(first.width, [0.05, 0.2, 0.5]):
        narrow = precision.narrow(8, first.width, wanted)
        assert np.where(narrow, first.covers, last.covers).mean() >= LEVEL


def test_every_summary_is_of_one_value_for_each_replicate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More would be of several workloads, or would count a run twice: no sample from one distribution."""
    summarise, most = tables.summarise, []

    def watched(frame: pd.DataFrame, by: list[str], value: str) -> pd.DataFrame:
        kept = frame.dropna(subset=value)
        most.append(kept.groupby([*by, "replicate"], dropna=False).size().max() if len(kept) else 1)
        return summarise(frame, by, value)

    none = pd.DataFrame(columns=claims.COLUMNS)
    monkeypatch.setattr(tables, "summarise", watched)
    monkeypatch.setattr(claims, "read", lambda _: none)
    for drawing in ("series", "lying", "legend"):  # what is drawn is summarised before
        monkeypatch.setattr(style, drawing, lambda *_, **__: None)
    run = tables.load(fake_run.write(tmp_path, replicates=1))
    for entry in figures.FIGURES.values():
        entry.draw(run)
    assert len(most) > 30
    readme.lines(tmp_path)
    quotations.numbers(run, none)
    assert set(most) == {1}
    for claim in claims.ledger():
        pairs = claims._comparisons(run, claim, claim.value)
        assert not pairs.duplicated(["workload", "replicate"]).any(), claim.id
