import re
from pathlib import Path

import pytest

from experiments.report import readme
from tests.experiments import fake_run

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
TABLE = "<!-- backends:begin -->\n<!-- backends:end -->\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme") / "run"
    return fake_run.write(folder, experiments=("kernels", "workers"), replicates=3)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\nThe end: \\1 é\n{TABLE}", encoding="utf-8")
    return path


def test_only_the_block_is_rewritten(run: Path, page: Path) -> None:
    readme.update(run, page)
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# Title\n\n{BEGIN}\n")
    assert f"\n{END}\n\nThe end: \\1 é\n<!-- backends" in text
    assert "| `atomic` | threads with an atomic add for each component | a distribution of results |" in text
    assert "\nold\n" not in text


def test_the_block_names_machine_commit_claims_and_speedups(run: Path, page: Path) -> None:
    readme.update(run, page)
    text = page.read_text(encoding="utf-8")
    assert "Imaginary CPU @ 3.00GHz, 2 cores, commit 0123456789" in text
    assert "| K1 | A shuffled non-zero costs at most 0.6 of scikit-learn's | 0." in text
    assert "the run has no such trials |  | not measurable here |" in text
    assert re.search(r"\| sklearn sgd: [\d.]+–[\d.]+ ns per non-zero \| supported at 75% \|", text)
    assert "| workload | serial | locked | hogwild_threads | hogwild_processes |" in text
    assert re.search(r"\| workers, hinge \| [\d.]+ ms to 1e-2 \| 0\.", text)


def test_updating_twice_changes_nothing(run: Path, page: Path) -> None:
    readme.update(run, page)
    once = page.read_text(encoding="utf-8")
    readme.update(run, page)
    assert page.read_text(encoding="utf-8") == once


def test_check_fails_on_a_stale_block_and_writes_nothing(run: Path, page: Path) -> None:
    before = page.read_bytes()
    with pytest.raises(SystemExit, match="stale: run `python -m experiments readme"):
        readme.update(run, page, check=True)
    assert page.read_bytes() == before
    readme.update(run, page)
    readme.update(run, page, check=True)


@pytest.mark.parametrize("text", ["nothing", f"{END}\n{BEGIN}", f"{BEGIN}\n{END}\n" * 2])
def test_markers_must_be_there_once_and_in_order(run: Path, page: Path, text: str) -> None:
    page.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="once each and in this order"):
        readme.update(run, page)


def test_a_run_without_parallel_trials_has_no_table_of_speedups(tmp_path: Path, page: Path) -> None:
    readme.update(fake_run.write(tmp_path / "run", experiments=("kernels",), replicates=1), page)
    assert "workload |" not in page.read_text(encoding="utf-8")
