from pathlib import Path

import pandas as pd
import pytest

from experiments import claims, statistics
from tests.experiments import fake_run

PARALLEL = {"G1", "G2", "G3", "G4", "H3", "F20", "H9", "K3", "P1", "P2", "P3", "P4", "P5", "P6", "P7"}


def verdicts(directory: Path, **options: object) -> dict[str, str]:
    frame = claims.judge(fake_run.write(directory, **options))  # type: ignore[arg-type]
    return dict(zip(frame["claim"], frame["verdict"], strict=True))


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return claims.judge(fake_run.write(tmp_path_factory.mktemp("run"), replicates=5)).set_index("claim")


def test_every_claim_of_the_issue_is_in_the_ledger() -> None:
    wanted = {*PARALLEL, "H25", "H26", "P8", "K1", "K2", "K4", "K5"}
    assert set(claims.NAMES) == wanted
    assert all(claim.source and claim.claimed and claim.unit for claim in claims.ledger())


def test_a_fake_run_is_judged(judged: pd.DataFrame) -> None:
    verdict = judged["verdict"]
    assert verdict["F20"] == "contradicted"
    assert verdict["G1"] == "inconsistent"  # the densest data lose
    assert "supported on 12" in judged["reason"]["G1"]
    assert "contradicted on 2" in judged["reason"]["G1"]
    assert set(verdict.drop(["F20", "G1"])) == {"supported"}


def test_the_table_is_complete(judged: pd.DataFrame) -> None:
    assert ["claim", *judged.columns] == claims.COLUMNS
    assert (judged["low"] <= judged["measured"]).all()
    assert (judged["measured"] <= judged["high"]).all()
    assert judged["measured"]["K1"] == pytest.approx(0.5, rel=0.1)
    assert judged["rule"]["K1"] == "whole interval ≤ 0.6 on every workload (94% intervals)"
    assert judged["workload"]["K1"] == "kernels (2 workloads)"


def test_the_table_is_written_and_read_back(tmp_path: Path) -> None:
    fake_run.write(tmp_path, experiments=("kernels",), replicates=3)
    read = claims.read(tmp_path)
    assert list(pd.read_csv(tmp_path / "claims.csv").columns) == claims.COLUMNS
    assert not list(tmp_path.glob("*.partial"))
    said = {row.claim: claims.words(row) for row in read.itertuples()}
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


def test_without_two_free_cores_parallel_claims_are_not_measurable(tmp_path: Path) -> None:
    found = verdicts(tmp_path, replicates=3, spin=0.9)
    timed = {"K1", "K2", "K4", "K5", "P8"}  # a neighbour may have had the core of the one worker
    assert {name for name, verdict in found.items() if verdict == "not measurable here"} == PARALLEL | timed
    reason = claims.read(tmp_path).set_index("claim")["reason"]["K3"]
    assert reason.startswith("0 of 3 comparisons had two cores really free")


def test_on_one_core_parallel_claims_are_not_measurable(tmp_path: Path) -> None:
    found = verdicts(tmp_path, experiments=("kernels",), cores=1, spin=float("nan"))
    assert found["K3"] == "not measurable here"
    assert found["K1"] == "supported"
    assert "this machine has 1" in claims.read(tmp_path).set_index("claim")["reason"]["K3"]


def test_two_replicates_are_not_enough(tmp_path: Path) -> None:
    assert set(verdicts(tmp_path, experiments=("kernels",), replicates=2).values()) == {"not measurable here"}


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
    interval = statistics.Interval((low + high) / 2, low, high, 5, "min-max")
    assert claims.Threshold(value="updates", at_least=1.0).judge(interval) == verdict
    inverse = statistics.Interval((low + high) / 2, 2 - high, 2 - low, 5, "min-max")
    assert claims.Threshold(value="updates", at_most=1.0).judge(inverse) == verdict


def test_the_table_is_shown(judged: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    claims.show(judged.reset_index())
    out = capsys.readouterr().out
    assert all(name in out for name in [*claims.NAMES, "contradicted", "inconsistent"])
