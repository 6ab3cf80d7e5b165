"""Runs as they are loaded."""

from pathlib import Path

import pandas as pd

from experiments.judge import tables, verify
from experiments.measure import journal
from tests.experiments import fake_run


def test_a_run_from_before_an_option_is_read_as_if_it_had_its_default(tmp_path: Path) -> None:
    fake_run.write(tmp_path, experiments=("workers",), replicates=1)
    before = [tables.load(tmp_path).trials, verify._rows(tmp_path / "trials.csv", journal.TRIAL_COLUMNS)]
    trials = pd.read_csv(tmp_path / "trials.csv", dtype=str, keep_default_na=False)
    left_out = [name for name, before in journal.ADDED.items() if set(trials[name]) == {str(before)}]
    assert {"method", "merge_every", "page_cache"} <= set(left_out)
    trials.drop(columns=left_out).to_csv(tmp_path / "trials.csv", index=False)
    pd.testing.assert_frame_equal(tables.load(tmp_path).trials, before[0], check_like=True)
    assert verify._rows(tmp_path / "trials.csv", journal.TRIAL_COLUMNS) == before[1]
