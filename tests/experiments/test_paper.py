import json
import math
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from experiments.judge import claims, quotations, tables, words
from experiments.measure import machine
from experiments.report import paper
from tests.experiments import fake_run


@pytest.fixture(scope="module")
def whole(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("run")
    shutil.copytree(drawn, directory, dirs_exist_ok=True)
    paper.build(directory)
    return directory


def test_claims_and_figures_are_made_where_they_are_missing(tmp_path: Path) -> None:
    paper.build(fake_run.write(tmp_path, experiments=("guide",), replicates=1))
    assert (tmp_path / "paper.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "claims.csv").exists()
    assert (tmp_path / "figures" / "guide.svg").exists()


def test_the_same_files_give_the_same_bytes(whole: Path) -> None:
    before = (whole / "paper.pdf").read_bytes()
    assert paper.build(whole).read_bytes() == before


def test_the_text_follows_the_verdicts(whole: Path) -> None:
    before = (whole / "paper.pdf").read_bytes()
    table = whole / "claims.csv"
    kept = table.read_text()
    pd.read_csv(table).assign(verdict="contradicted").to_csv(table, index=False)
    assert paper.build(whole).read_bytes() != before
    assert json.loads((whole / "numbers.json").read_text())["verdicts"]["contradicted"] == len(
        claims.ledger()
    )
    table.write_text(kept)
    assert paper.build(whole).read_bytes() == before


def test_numbers_come_from_the_tables(whole: Path) -> None:
    numbers = json.loads((whole / "numbers.json").read_text())
    run = tables.load(whole)
    trials = tables.select(run, {"experiment": "guide", "backend": "serial"})
    assert numbers["values"]["guide/seconds_per_epoch/serial/1"].startswith(
        words.seconds(trials["seconds_per_epoch"].median())
    )
    assert numbers["counts"]["trials"] == len(run.trials)
    assert numbers["counts"]["diverged"] == (run.trials["status"] == "diverged").sum() > 0
    assert sum(numbers["verdicts"].values()) == len(claims.ledger())


def test_the_largest_data_in_memory_are_held_against_the_memory(tmp_path: Path) -> None:
    run = tables.load(fake_run.write(tmp_path, experiments=("scale",), replicates=3))
    memory = run.trials["grid"] == "memory"
    largest = memory & (run.trials["nonzeros"] == run.trials["nonzeros"][memory].max())
    cost = run.trials["backend"].map({"serial": 3.0, "replicated": 2.0, "hogwild_threads": 4.0})
    timed = run.trials.assign(ns_per_nonzero=cost.where(largest, 9.0))
    said = quotations.numbers(run._replace(trials=timed), claims.read(tmp_path))["streamed"]
    assert said["nonzeros"] == f"{run.trials['nonzeros'][memory].max():,.0f}"
    # 12 bytes at 8 GB/s are 1.5 ns to one core, at 12 GB/s 1 ns to all
    assert (said["serial"], said["serial_share"]) == ("3.00 (3.00 to 3.00, min-max, 75%)", "50 %")
    assert (said["replicated"], said["replicated_share"]) == ("2.00 (2.00 to 2.00, min-max, 75%)", "50 %")
    lost = timed.assign(disturbed=(timed["backend"] == "serial").map({True: "steal", False: ""}))
    said = quotations.numbers(run._replace(trials=lost), claims.read(tmp_path))["streamed"]
    assert said["serial"] == "3.00 (3.00 to 3.00, min-max, 75%, disturbed)"
    assert "disturbed" not in said["replicated"]
    run.environment["machine"]["streaming_bytes_per_second"] = {"one_core": 8e9, "all_cores": None}
    assert quotations.numbers(run, claims.read(tmp_path))["streamed"] is None


def test_densities_are_told_apart_by_intervals_that_cover_enough(tmp_path: Path) -> None:
    run = tables.load(fake_run.write(tmp_path, experiments=("sparsity",), replicates=6))
    found = quotations.numbers(run, claims.read(tmp_path))["densities"]
    assert (found["faster"], found["slower"]) == (["0.01", "0.1"], ["1"])
    few = run._replace(trials=run.trials[run.trials["replicate"] < 5])
    found = quotations.numbers(few, claims.read(tmp_path))["densities"]
    assert (found["faster"], found["slower"]) == ([], [])
    assert found["undecided"] == ["0.01", "0.1", "1"]


def test_densities_measured_on_a_disturbed_machine_are_not_listed(tmp_path: Path) -> None:
    fake_run.write(tmp_path, experiments=("sparsity",), replicates=3, disturb=1.0)
    numbers = quotations.numbers(tables.load(tmp_path), claims.read(tmp_path))
    assert numbers["densities"] == {"faster": [], "slower": [], "undecided": []}


def test_the_protocol_is_told_in_numbers(whole: Path, tmp_path: Path) -> None:
    told = json.loads((whole / "numbers.json").read_text())["run"]
    assert told["tuned"] == "peers and real text and workers"
    run = tables.load(whole)
    assert told["tuning_trials"] == str((run.trials["purpose"] == "tune").sum())
    assert (told["disturbed"], told["repeated"]) == ("none was", "0")
    assert told["limits"]["cores"] == f"{machine.FREE_CORES:g}"
    fake_run.write(tmp_path, experiments=("guide",), replicates=2, disturb=1.0)
    numbers = quotations.numbers(tables.load(tmp_path), claims.read(tmp_path))
    assert numbers["run"]["disturbed"] == "26 of 26 trials disturbed"
    assert numbers["run"]["repeated"] == "26"
    assert all(text.endswith(", disturbed)") for text in numbers["values"].values())


def test_it_says_how_many_headline_ratios_are_as_narrow_as_wanted(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    assert json.loads((whole / "numbers.json").read_text())["precision"] is None
    before = (whole / "paper.pdf").read_bytes()
    table = pd.DataFrame(
        {"claim": ["K1", "K1", "F20"], "width": [0.05, 0.3, math.nan], "wanted": [0.1, 0.1, 0.2]}
    )
    table.to_csv(tmp_path / "precision.csv", index=False)
    assert paper.build(tmp_path).read_bytes() != before
    said = json.loads((tmp_path / "numbers.json").read_text())["precision"]
    assert said == {"reached": "1", "of": "3", "wanted": "10 % to 20 %", "claims": "F20, K1"}


@pytest.mark.parametrize("experiment", fake_run.EXPERIMENTS)
def test_a_run_of_one_experiment_is_enough(tmp_path: Path, experiment: str) -> None:
    fake_run.write(tmp_path, experiments=(experiment,), replicates=1)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "captions.json").write_text("{}")
    assert paper.build(tmp_path).stat().st_size > 10_000


def test_no_result_is_typed_into_the_text() -> None:
    source = (paper.SOURCES / "main.typ").read_text()
    results = source[source.index("= Results") : source.index("= Limitations")]
    prose = re.sub(r'#(value|see|picture|only-if|size)\([^)]*\)|"[^"]*"|@\w+|[ACKGHFPV]\d+', "", results)
    assert not re.search(r"\d", re.sub(r"RCV1|^==? .*$", "", prose, flags=re.MULTILINE))


def test_nothing_is_fetched() -> None:
    assert all("@preview" not in path.read_text() for path in paper.SOURCES.glob("*.typ"))
