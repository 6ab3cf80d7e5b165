import math
from pathlib import Path

import pandas as pd
import pytest

from experiments.design.options import STEP_FIELDS
from experiments.judge import tables, words
from tests.experiments import fake_run


@pytest.fixture
def run(tmp_path: Path) -> tables.Run:
    return tables.load(
        fake_run.write(tmp_path, experiments=("workers", "sparsity", "step_size"), replicates=2)
    )


def change(directory: Path, name: str, **columns: object) -> None:
    frame = pd.read_csv(directory / name, dtype={"trial": str})
    frame.assign(**columns).to_csv(directory / name, index=False)  # type: ignore[arg-type]


def test_trial_names_that_look_like_numbers_stay_text(tmp_path: Path) -> None:
    fake_run.write(tmp_path, experiments=("guide",), replicates=1)
    frame = pd.read_csv(tmp_path / "trials.csv")
    names = {old: f"00000000000001e{place}" for place, old in enumerate(frame["trial"])}
    for name in ("trials.csv", "history.csv"):
        change(tmp_path, name, trial=lambda t: t["trial"].map(names))
    assert tables.load(tmp_path).trials["seconds_to_1e-2"].notna().all()


def test_times_to_targets_are_added(run: tables.Run) -> None:
    ok = run.trials[run.trials["status"] == "ok"]
    reached = ok[ok["seconds_to_1e-3"] < math.inf]
    assert (reached["seconds_to_1e-2"] < reached["seconds_to_1e-3"]).all()
    assert (reached["updates_to_1e-2"] / reached["n_examples"]).between(0, fake_run.LONGEST).all()


def test_diverged_trials_reach_nothing_and_end_infinitely_bad(run: tables.Run) -> None:
    diverged = run.trials[run.trials["status"] == "diverged"]
    assert len(diverged) > 0
    for column in ("seconds_to_1e-2", "updates_to_1e-3", "suboptimality", "weight_error_l1"):
        assert (diverged[column] == math.inf).all()


def test_ratios_pair_the_same_replicate_and_nothing_else(run: tables.Run) -> None:
    where = {"experiment": "workers", "problem": "hinge"}
    threads = {"backend": "hogwild_threads", "workers": 2}
    pairs = tables.ratio(run, "train_seconds", {"backend": "serial"}, threads, where)
    trials = tables.select(run, where)
    for row in tables.rows(pairs):
        mine = trials[trials["replicate"] == row.replicate].set_index(["backend", "workers"])["train_seconds"]
        assert row.value == pytest.approx(mine["serial", 1] / mine["hogwild_threads", 2])
    assert sorted(pairs["replicate"]) == [0, 1]


def test_ratios_differ_only_where_they_may(run: tables.Run) -> None:
    where = {"experiment": "step_size", "problem": "logistic"}
    sides = ({"backend": "hogwild_threads", "workers": "cores"}, {"backend": "serial"})
    pairs = tables.ratio(run, "ns_per_nonzero", *sides, where)
    assert (
        len(pairs) == len(pairs.drop_duplicates(["grid", "step_size", "step_parameter", "replicate"])) == 16
    )
    assert len(tables.ratio(run, "ns_per_nonzero", *sides, where, free=list(STEP_FIELDS))) == 4


def test_quality_is_compared_after_equal_updates_only(tmp_path: Path) -> None:
    fake_run.write(tmp_path, experiments=("sparsity",), replicates=1)
    sides = ({"backend": "locked", "workers": 2}, {"backend": "serial"})
    assert len(tables.ratio(tables.load(tmp_path), "suboptimality", *sides, {})) == 3
    change(
        tmp_path,
        "trials.csv",
        updates=lambda t: t["updates"].where(t["backend"] != "locked", t["updates"] // 2),
    )
    run = tables.load(tmp_path)
    assert tables.ratio(run, "suboptimality", *sides, {}).empty
    assert len(tables.ratio(run, "updates_per_second", *sides, {})) == 3


def test_a_diverged_side_counts_as_infinitely_bad(tmp_path: Path) -> None:
    fake_run.write(tmp_path, experiments=("sparsity",), replicates=1)
    change(tmp_path, "trials.csv", status=lambda t: t["status"].where(t["backend"] != "locked", "diverged"))
    sides = ({"backend": "locked", "workers": 2}, {"backend": "serial"})
    pairs = tables.ratio(tables.load(tmp_path), "suboptimality", *sides, {})
    assert (pairs["value"] == math.inf).all()
    assert (pairs["status"] == "diverged").all()


def test_a_disturbance_counts_on_every_side_that_it_concerns(tmp_path: Path) -> None:
    fake_run.write(tmp_path, experiments=("sparsity",), replicates=1)
    sides = ({"backend": "locked", "workers": 2}, {"backend": "serial"})
    for disturbed, speed, quality in (("locked", "steal", "steal"), ("serial", "steal", "")):
        change(
            tmp_path, "trials.csv", disturbed=lambda t, d=disturbed: (t["backend"] == d).map({True: "steal"})
        )
        run = tables.load(tmp_path)
        assert set(tables.ratio(run, "train_seconds", *sides, {})["disturbed"]) == {speed}
        assert set(tables.ratio(run, "suboptimality", *sides, {})["disturbed"]) == {quality}


def test_a_ratio_keeps_both_sides(run: tables.Run) -> None:
    sides = ({"backend": "locked", "workers": 2}, {"backend": "serial"})
    pairs = tables.ratio(run, "seconds_per_epoch", *sides, {"experiment": "sparsity"})
    assert (pairs["above"] / pairs["below"] == pairs["value"]).all()
    serial = tables.select(run, {"experiment": "sparsity", "backend": "serial"})
    assert set(pairs["below"]) == set(serial["seconds_per_epoch"])


def test_undisturbed_trials_are_summarised_and_others_only_where_there_are_no_such() -> None:
    frame = pd.DataFrame(
        {"x": [1, 1, 1, 2, 2], "time": [1.0, 9.0, 3.0, 5.0, 7.0], "status": "ok", "workers": 1}
    )
    frame["disturbed"] = ["", "steal", "", "steal", "steal"]
    found = tables.summarise(frame, ["x"], "time").set_index("x")
    assert found["median"].tolist() == [2, 6]
    assert found["hollow"].tolist() == [False, True]
    quality = tables.summarise(frame.rename(columns={"time": "objective"}), ["x"], "objective")
    assert quality["median"].tolist() == [3, 6]  # nobody can disturb what one worker computes
    assert not quality["hollow"].any()


def test_tuning_trials_are_never_selected(run: tables.Run) -> None:
    assert (run.trials["purpose"] == "tune").any()
    assert set(tables.select(run, {})["purpose"]) == {"report"}
    assert set(tables.select(run, {"purpose": ["tune", "report"]})["purpose"]) == {"report"}


def test_backends_with_step_sizes_of_their_own_are_compared_where_these_were_tuned(tmp_path: Path) -> None:
    fake_run.write(tmp_path, experiments=("workers",), replicates=2)
    sides = ({"backend": "serial"}, {"backend": "hogwild_threads", "workers": 2})

    def own(t: pd.DataFrame) -> pd.Series:
        return t["step_size"].where((t["purpose"] == "tune") | (t["backend"] == "serial"), 0.1)

    change(tmp_path, "trials.csv", step_size=own)
    run = tables.load(tmp_path)
    assert len(tables.ratio(run, "seconds_to_1e-2", *sides, {})) == 4
    assert run.trials["step_size"][run.trials["purpose"] == "tune"].notna().all()
    change(tmp_path, "trials.csv", purpose="report")
    untuned = tables.load(tmp_path)
    assert untuned.trials["step_size"].notna().all()
    pairs = tables.ratio(untuned, "seconds_to_1e-2", *sides, {"replicate": 1})
    assert pairs.empty  # replicate 0 has the former tuning trials, this one has two step sizes


def test_all_backends_have_the_same_targets(run: tables.Run) -> None:
    trials = tables.select(run, {"experiment": "sparsity", "replicate": 0}).set_index("trial")
    rows = run.history[run.history["trial"].isin(trials.index)]
    assert trials["backend"].nunique() == 4
    for name, target in (("1e-2", 1e-2), ("1e-3", 1e-3)):
        for trial, curve in rows.groupby("trial"):
            below = curve["train_seconds"][curve["suboptimality"] <= target].min()
            reached = math.inf if math.isnan(below) else below
            before = curve["train_seconds"][curve["train_seconds"] < reached].max()
            assert before <= trials.loc[trial, f"seconds_to_{name}"] <= reached


def test_profiles_count_the_workloads_within_a_factor_of_the_best() -> None:
    columns = dict.fromkeys(tables.KEY, 1) | {"status": "ok", "disturbed": "", "purpose": "report"}
    times = {"serial": [2.0, 1.0, 4.0], "locked": [1.0, 3.0, math.inf], "pool": [1.0, 1.0, math.nan]}
    rows = [
        {**columns, "experiment": f"e{place}", "backend": backend, "seconds_to_1e-2": time}
        for backend, all_times in times.items()
        for place, time in enumerate(all_times)
    ]
    run = tables.Run(pd.DataFrame(rows), pd.DataFrame(), {"machine": {"usable_cores": 2}})
    found = tables.profile(run, "seconds_to_1e-2", {})
    found = {name: mine[["factor", "share"]].to_numpy().tolist() for name, mine in found.groupby("backend")}
    assert found.keys() == {"serial", "locked"}  # not all workloads have the pool
    assert found["serial"] == [[1, pytest.approx(1 / 3)], [1, pytest.approx(2 / 3)], [2, 1]]
    assert found["locked"] == [[1, pytest.approx(1 / 3)], [3, pytest.approx(2 / 3)]]  # the third: never


@pytest.mark.parametrize(
    ("value", "kind"),
    [("seconds_to_1e-2", "cost"), ("seconds_per_epoch", "cost"), ("train_seconds", "cost"),
     ("ns_per_nonzero", "cost"), ("updates_to_1e-3", "cost"), ("updates_per_second", "rate"),
     ("objective", "ratio"), ("suboptimality", "ratio"), ("weight_error_l1", "ratio")],
)  # fmt: skip
def test_quantities_are_costs_rates_or_neither(value: str, kind: str) -> None:
    assert tables.kind(value) == kind


def test_amounts_have_units() -> None:
    assert words.amount("seconds_to_1e-2", 0.046, 1.2) == "46.0 ms–1.20 s to 1e-2"
    assert words.amount("ns_per_nonzero", 8.0, 8.0001) == "8.00 ns per non-zero"
    assert words.amount("weight_error_l1", 0.2) == "weight error l1 0.200"
    assert words.amount("seconds_to_1e-2", math.inf) == "never to 1e-2"


def test_ends_divide_the_densest_by_the_sparsest(run: tables.Run) -> None:
    sides = ({"backend": "hogwild_threads", "workers": 2}, {"backend": "serial"})
    pairs = tables.ratio(run, "suboptimality", *sides, {"experiment": "sparsity"})
    found = tables.change_along(pairs, "density")
    assert len(found) == 2
    first = pairs[pairs["replicate"] == 0].set_index("density")["value"]
    assert found["value"].iloc[0] == pytest.approx(first[1.0] / first[0.01])


def test_tenfold_spread_takes_the_calmest_tenfold_range() -> None:
    steps, objectives = [0.01, 0.1, 1.0, 2.0], [9.0, 3.0, 2.0, 8.0]
    columns = dict.fromkeys([*tables.KEY, "updates"], 1)
    columns |= {"status": "ok", "disturbed": "", "purpose": "report"}
    trials = pd.DataFrame({**columns, "step_size": steps, "objective": objectives})
    run = tables.Run(trials, pd.DataFrame(), {"machine": {"usable_cores": 2}})
    assert tables.range_ratio(run, "objective", list(STEP_FIELDS), {})["value"].tolist() == [4.5]
    assert tables.range_ratio(run, "objective", list(STEP_FIELDS), {}, step_range=10)["value"].tolist() == [
        1.5
    ]
    narrow = run._replace(trials=trials[trials["step_size"] > 0.5])
    assert tables.range_ratio(narrow, "objective", list(STEP_FIELDS), {}, step_range=10).empty


def test_labels_say_no_more_than_needed(run: tables.Run) -> None:
    trials = tables.select(run, {}).drop(columns=["backend", "workers"])
    assert set(tables.label(trials[trials["experiment"] == "workers"])) == {
        "workers, hinge",
        "workers, least squares",
    }
    assert "sparsity, density 0.1" in set(tables.label(trials[trials["experiment"] == "sparsity"]))


def test_best_settings_are_serials(run: tables.Run) -> None:
    trials = tables.select(run, {"experiment": "step_size", "grid": "constant"})
    assert set(tables.best_settings(trials, ["problem"])["step_size"]) == {0.3}


def test_as_many_workers_as_cores(run: tables.Run) -> None:
    kept = tables.as_many_workers_as_cores(run, tables.select(run, {"experiment": "workers"}))
    assert set(zip(kept["backend"], kept["workers"], strict=True)) == {
        ("serial", 1), ("locked", 2), ("hogwild_threads", 2), ("hogwild_processes", 2)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.012345, "0.0123"), (1.7999, "1.80"), (1.0042, "1.004"), (12300.4, "12,300"), (4.2e-5, "4.20×10⁻⁵"),
     (0, "0"), (math.inf, "never"), (math.nan, "–"), (0.9996, "0.9996"), (99.96, "100")],
)  # fmt: skip
def test_numbers_are_written_with_three_digits(value: float, text: str) -> None:
    assert words.number(value) == text


def test_seconds_are_written_in_a_unit_that_suits() -> None:
    assert [words.seconds(value) for value in (1.5, 2e-3, 3.14e-6, math.inf)] == [
        "1.50 s",
        "2.00 ms",
        "3.14 µs",
        "never",
    ]
