import math
from pathlib import Path

import pandas as pd
import pytest

from experiments import statistics
from experiments.design import spec
from experiments.judge import claims, tables, words
from tests.experiments import fake_run

PARALLEL = {claim.id for claim in claims.ledger() if claim.cores > 1}


def without_penalty(directory: Path, **options: object) -> pd.DataFrame:
    """Write a run of the kernels, and return the trials of the workloads that have no penalty."""
    fake_run.write(directory, experiments=("kernels",), **options)  # type: ignore[arg-type]
    frame = pd.read_csv(directory / "trials.csv")
    return frame[frame["l2"] == 0].copy()


def verdicts(directory: Path, **options: object) -> dict[str, str]:
    frame = claims.judge(fake_run.write(directory, **options))  # type: ignore[arg-type]
    return dict(zip(frame["claim"], frame["verdict"], strict=True))


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return claims.judge(fake_run.write(tmp_path_factory.mktemp("run"), replicates=5)).set_index("claim")


def test_every_claim_says_what_it_is_and_is_of_an_experiment() -> None:
    assert all(claim.source and claim.claimed and claim.unit for claim in claims.ledger())
    tested = {name for loaded in spec.find([], "smoke") for name in loaded.claims}
    assert tested == {claim.id for claim in claims.ledger()}


def test_every_claim_finds_its_trials_in_a_run_of_all_experiments(judged: pd.DataFrame) -> None:
    assert set(judged.index) == {claim.id for claim in claims.ledger()}
    assert (judged["n"] >= 3).all(), judged["reason"][judged["n"] < 3].to_dict()


def test_a_fake_run_is_judged(judged: pd.DataFrame) -> None:
    verdict = judged["verdict"]
    assert verdict["F20"] == "contradicted"
    assert verdict["G1"] == "inconsistent"  # the densest data lose
    assert "supported on 7, contradicted on 1" in judged["reason"]["G1"]
    assert {verdict[name] for name in ("G3", "H9", "H26", "K1", "P4", "A1", "C1", "V1")} == {"supported"}


def test_the_table_is_complete(judged: pd.DataFrame) -> None:
    assert ["claim", *judged.columns] == claims.COLUMNS
    assert (judged["low"] <= judged["measured"]).all()
    assert (judged["measured"] <= judged["high"]).all()
    assert judged["measured"]["K1"] == pytest.approx(0.5, rel=0.1)
    said = "whole interval ≤ 0.6 on every workload (94% intervals); measured: ratio of the summed costs"
    assert judged["rule"]["K1"].startswith(said)
    assert judged["rule"]["G2"].startswith("whole interval ≥ 1 by 2% on every")
    assert "harmonic means" in judged["rule"]["G2"]
    assert judged["rule"]["H9"].endswith("geometric mean of the ratios")
    assert judged["rule"]["A1"] == "whole interval ≥ 0.98 and ≤ 1.02 on every workload (94% intervals)"
    assert judged["workload"]["K1"] == "kernels (4 workloads)"


@pytest.mark.parametrize(("replicates", "decided"), [(3, "supported at 75%"), (6, "supported")])
def test_a_verdict_from_few_replicates_says_its_level(tmp_path: Path, replicates: int, decided: str) -> None:
    fake_run.write(tmp_path, experiments=("kernels",), replicates=replicates)
    found = claims.judge(tmp_path)
    said = {row.claim: claims.in_words(row) for row in found.itertuples()}
    assert said["K1"]["verdict"] == "supported"
    assert said["K1"]["decided"] == decided
    assert said["G4"]["decided"] == "not measurable here"  # there is no level where nothing was judged


def test_the_table_is_written_and_read_back(tmp_path: Path) -> None:
    fake_run.write(tmp_path, experiments=("kernels",), replicates=3)
    read = claims.read(tmp_path)
    assert list(pd.read_csv(tmp_path / "claims.csv").columns) == claims.COLUMNS
    assert not list(tmp_path.glob("*.partial"))
    said = {row.claim: claims.in_words(row) for row in read.itertuples()}
    assert said["G4"]["measured"] == ""
    assert said["G4"]["reason"] == said["G4"]["where"] == "the run has no such trials"
    assert said["K1"]["measured"].startswith("0.")


def test_more_workers_that_cost_time_turn_the_verdicts(tmp_path: Path) -> None:
    found = verdicts(tmp_path, experiments=("workers",), parallel_gain=-0.4)
    assert found["G1"] == found["G3"] == found["H3"] == "contradicted"
    assert found["F20"] == "supported"


def test_an_interval_across_the_threshold_decides_nothing(tmp_path: Path) -> None:
    fake_run.write(tmp_path, experiments=("kernels",), parallel_gain=0.0)
    frame = pd.read_csv(tmp_path / "trials.csv")
    million, second = frame["n_features"] == 1_000_000, frame["backend"] == "hogwild_threads"
    for replicate, gain in enumerate([1.2, 1.6, 1.7, 1.8, 1.9]):
        frame.loc[million & (frame["replicate"] == replicate) & ~second, "updates_per_second"] = 1e6
        frame.loc[million & (frame["replicate"] == replicate) & second, "updates_per_second"] = gain * 1e6
    frame.to_csv(tmp_path / "trials.csv", index=False)
    found = claims.judge(tmp_path).set_index("claim").loc["K3"]
    assert (found["measured"], found["low"], found["high"]) == (1.7, 1.2, 1.9)
    assert found["verdict"] == "inconsistent"


def test_where_all_was_disturbed_parallel_claims_are_not_measurable(tmp_path: Path) -> None:
    found = verdicts(tmp_path, replicates=3, disturb=1.0)
    left = {name for name, verdict in found.items() if verdict != "not measurable here"}
    assert left >= {"H25", "H26"}  # what one worker's result is worth
    timed = {claim.id for claim in claims.ledger() if claim.value not in tables.QUALITY}
    assert not left & (timed | PARALLEL)  # a neighbour may have had the core of the one worker
    reason = claims.read(tmp_path).set_index("claim")["reason"]["K3"]
    assert reason.startswith("0 of 3 comparisons were undisturbed")


def test_on_one_core_parallel_claims_are_not_measurable(tmp_path: Path) -> None:
    found = verdicts(tmp_path, experiments=("kernels",), cores=1)
    assert found["K3"] == "not measurable here"
    assert found["K1"] == "supported"
    assert "this machine has 1" in claims.read(tmp_path).set_index("claim")["reason"]["K3"]


def test_two_replicates_are_not_enough(tmp_path: Path) -> None:
    assert set(verdicts(tmp_path, experiments=("kernels",), replicates=2).values()) == {"not measurable here"}


def planted(directory: Path, backend: str, factor: float) -> str:
    """Slow one backend of the control down by a factor, and return the verdict on A1."""
    fake_run.write(directory, experiments=("control",), replicates=12)
    frame = pd.read_csv(directory / "trials.csv")
    frame.loc[frame["backend"] == backend, "train_seconds"] *= factor
    frame.to_csv(directory / "trials.csv", index=False)
    return str(claims.judge(directory).set_index("claim")["verdict"]["A1"])


@pytest.mark.parametrize(
    ("backend", "factor", "verdict"),
    [("serial", 1.0, "supported"), ("serial", 1.1, "contradicted"), ("serial_again", 1.1, "contradicted"),
     ("serial_again", 1.02, "inconsistent")],
)  # fmt: skip
def test_equality_is_refuted_from_both_sides(
    tmp_path: Path, backend: str, factor: float, verdict: str
) -> None:
    assert planted(tmp_path, backend, factor) == verdict


def test_the_base_of_a_ratio_is_named_with_its_own_figure(tmp_path: Path, judged: pd.DataFrame) -> None:
    run = tables.load(fake_run.write(tmp_path, replicates=5))
    serial = {"experiment": "workers", "backend": "serial", "problem": "hinge"}
    alone = tables.select(run, serial)["seconds_to_1e-2"].median()
    assert judged["base"]["F20"] == f"serial: {words.seconds(alone)} to 1e-2"
    bases = [
        tables.select(run, {"experiment": "kernels", "problem": problem, "l2": l2, "backend": "sklearn_sgd"})
        for problem in ("hinge", "least_squares")
        for l2 in (0.0, 1.0)
    ]
    low, *_, high = map(words.number, sorted(rows["ns_per_nonzero"].median() for rows in bases))
    assert judged["base"]["K1"] == f"sklearn sgd: {low}–{high} ns per non-zero"
    assert judged["base"]["P4"].startswith("round robin × 2: ")
    assert judged["base"]["A2"].startswith("hogwild threads × 2: ")
    assert judged["base"]["H26"].startswith("fresh permutation: suboptimality ")
    assert judged["base"]["G4"].startswith("at the smallest density: ")
    assert judged["base"]["H9"].startswith("smallest: objective ")


def test_rates_are_summarised_by_harmonic_means(tmp_path: Path) -> None:
    fake_run.write(tmp_path, experiments=("workers",), replicates=3)
    frame = pd.read_csv(tmp_path / "trials.csv")
    threads, hinge = frame["backend"] == "hogwild_threads", frame["problem"] == "hinge"
    frame["updates_per_second"] = 1000.0
    frame.loc[hinge, "updates_per_second"] = 10.0 * (1 + threads)
    frame.to_csv(tmp_path / "trials.csv", index=False)
    found = claims.judge(tmp_path).set_index("claim").loc["G2"]
    assert found["measured"] == pytest.approx((1 / 10 + 1 / 1000) / (1 / 20 + 1 / 1000))
    assert found["verdict"] == "inconsistent"  # each workload has its own
    assert "supported on 1, inconsistent on 1" in found["reason"]


def test_costs_are_summed_over_the_workloads_that_every_replicate_has(tmp_path: Path) -> None:
    frame = without_penalty(tmp_path, replicates=5)
    ours = frame["backend"] == "serial"
    hinge = frame["problem"] == "hinge"
    frame["ns_per_nonzero"] = 10.0 * (1 + 9 * hinge) * (1 - 0.5 * (ours & hinge))
    lost = hinge & ours & (frame["replicate"] == 0)
    frame["disturbed"] = lost.map({True: "steal", False: ""})
    frame.to_csv(tmp_path / "trials.csv", index=False)
    found = claims.judge(tmp_path).set_index("claim").loc["K1"]
    assert found["measured"] == pytest.approx((50 + 10) / (100 + 10))
    assert found["n"] == 4
    assert "9 of 10 comparisons were undisturbed" in found["reason"]


def test_a_workload_where_one_side_never_arrives_is_judged_and_not_summed(tmp_path: Path) -> None:
    frame = without_penalty(tmp_path, replicates=5)
    ours, hinge = frame["backend"] == "serial", frame["problem"] == "hinge"
    frame["ns_per_nonzero"] = 10.0 - 5 * ours
    frame.loc[~ours & hinge, "ns_per_nonzero"] = math.inf  # without an end: 0 of its time
    late = ours & ~hinge & (frame["replicate"] == 0)
    frame.loc[late, "ns_per_nonzero"] = math.inf  # once is not never
    frame.to_csv(tmp_path / "trials.csv", index=False)
    found = claims.judge(tmp_path).set_index("claim", drop=False).loc["K1"]
    assert (found["measured"], found["low"], found["high"], found["n"]) == (0.5, 0.5, math.inf, 5)
    assert "measured on 1 of 2, where both sides got there" in found["reason"]
    assert "0 (kernels, hinge) to 0.500 (kernels, least squares)" in found["reason"]
    assert "(0.500 to ∞, min-max, 94%)" in claims.in_words(found)["measured"]
    frame.loc[~ours, "ns_per_nonzero"] = math.inf
    frame.loc[late, "ns_per_nonzero"] = 5.0
    frame.to_csv(tmp_path / "trials.csv", index=False)
    found = claims.judge(tmp_path).set_index("claim").loc["K1"]
    assert found["measured"] == 0
    assert "measured on" not in found["reason"]


def test_precision_is_the_width_of_the_interval_as_a_share_of_its_median(tmp_path: Path) -> None:
    run = tables.load(fake_run.write(tmp_path, experiments=("workers", "kernels"), replicates=5))
    run = run._replace(trials=run.trials[(run.trials["experiment"] == "workers") | (run.trials["l2"] == 0)])
    found = claims.precision(run, ["K1", "F20", "P1"])
    assert list(found.columns) == claims.PRECISION
    assert found["workload"].tolist() == ["workers", "kernels, hinge", "kernels, least squares"]
    assert found["n"].tolist() == [5, 5, 5]
    row = found.iloc[0]
    f20 = claims.judge(tmp_path).set_index("claim").loc["F20"]
    assert (row["median"], row["low"], row["high"]) == (f20["measured"], f20["low"], f20["high"])
    assert row["width"] == (row["high"] - row["low"]) / row["median"] > 0
    disturbed = claims.precision(run._replace(trials=run.trials.assign(disturbed="steal")), ["F20"])
    assert disturbed["n"].tolist() == [0]
    assert math.isnan(disturbed["width"].iloc[0])


def test_claims_concern_the_trials_that_they_are_judged_by(tmp_path: Path) -> None:
    run = tables.load(fake_run.write(tmp_path, experiments=fake_run.EXPERIMENTS, replicates=1))
    claim = {claim.id: claim for claim in claims.ledger()}
    rows = run.trials.to_dict("records")
    for chosen in claim.values():
        mine = pd.DataFrame([row for row in rows if claims.concerns(chosen, row, 2)])
        assert 0 < len(mine) < len(rows)
        assert set(mine["purpose"]) == {"report"}
        pairs, all_pairs = (chosen.pairs(run._replace(trials=t), chosen.value) for t in (mine, run.trials))
        assert pairs["value"].tolist() == all_pairs["value"].tolist()
    columns = {"experiment": "workers", "dataset": "rcv1_twin", "workers": 2, "backend": "hogwild_threads"}
    assert claims.concerns(claim["F20"], columns, 2)
    assert not claims.concerns(claim["F20"], columns, 1)
    assert not claims.concerns(claim["F20"], columns | {"workers": 3}, 2)
    assert not claims.concerns(claim["F20"], columns | {"purpose": "tune"}, 2)
    assert claims.concerns(claim["G2"], columns | {"workers": 4}, 4)
    assert not claims.concerns(claim["G2"], columns, 4)


def test_a_fast_backend_with_worse_weights_does_not_support_the_claim(tmp_path: Path) -> None:
    fake_run.write(tmp_path, experiments=("guide",), replicates=3)
    assert claims.judge(tmp_path).set_index("claim")["verdict"]["K5"] == "supported"
    frame = pd.read_csv(tmp_path / "trials.csv")
    frame.loc[frame["backend"] == "hogwild_threads", "weight_error_l1"] *= 1.5
    frame.to_csv(tmp_path / "trials.csv", index=False)
    found = claims.judge(tmp_path).set_index("claim").loc["K5"]
    assert found["verdict"] == "contradicted"
    assert "weight error l1" in found["reason"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("at_most = 2.0", "either at_least or at_most"),
        ("colour = 1", "C1: colour"),
        ("over = ['workers']", "either over, or numerator and denominator"),
        ("where = { wrokers = 1 }", "C1: where.wrokers"),
    ],
)
def test_a_bad_entry_is_named(tmp_path: Path, line: str, message: str) -> None:
    entry = '[[claim]]\nid = "C1"\ntitle = ""\nsource = ""\nclaimed = ""\nunit = ""\n'
    entry += 'value = "updates"\n'
    entry += "numerator = { workers = 1 }\ndenominator = { workers = 2 }\nat_least = 1.0\n"
    path = tmp_path / "ledger.toml"
    path.write_text(entry)
    assert claims.ledger(path)[0].id == "C1"
    path.write_text(f"{entry}{line}\n")
    with pytest.raises(ValueError, match=r"ledger\.toml: claim C1: .*") as caught:
        claims.ledger(path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(1, 2, "supported"), (0.5, 0.9, "contradicted"), (0.9, 1.1, "inconsistent")]
)
def test_thresholds_are_decided_by_the_whole_interval(low: float, high: float, verdict: str) -> None:
    interval = statistics.Interval((low + high) / 2, low, high, 5)
    assert claims.Threshold(value="updates", at_least=1.0).judge(interval) == verdict
    inverse = statistics.Interval((low + high) / 2, 2 - high, 2 - low, 5)
    assert claims.Threshold(value="updates", at_most=1.0).judge(inverse) == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.03, 2, "supported"),
        (1.01, 2, "inconsistent"),
        (0.5, 0.97, "contradicted"),
        (0.5, 0.99, "inconsistent"),
    ],
)
def test_a_margin_makes_both_verdicts_harder(low: float, high: float, verdict: str) -> None:
    interval = statistics.Interval((low + high) / 2, low, high, 5)
    assert claims.Threshold(at_least=1.0, margin=0.02).judge(interval) == verdict
    inverse = statistics.Interval((low + high) / 2, 2 - high, 2 - low, 5)
    assert claims.Threshold(at_most=1.0, margin=0.02).judge(inverse) == verdict


def test_the_table_is_shown(judged: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    claims.show(judged.reset_index())
    out = capsys.readouterr().out
    assert all(
        name in out for name in [*(claim.id for claim in claims.ledger()), "contradicted", "inconsistent"]
    )
