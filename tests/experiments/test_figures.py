import json
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text

from experiments import figures, tables
from experiments.figures import costs, curves, density, scaling, style
from tests.experiments import fake_run


def texts(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(Text)]


@pytest.fixture(scope="module")
def run() -> tables.Run:
    return tables.load(fake_run.drawn())


def test_all_figures_are_drawn_from_the_csv_files_alone() -> None:
    folder = fake_run.drawn() / "figures"
    wanted = {f"{name}.{kind}" for name in figures.NAMES for kind in ("png", "svg")}
    assert {path.name for path in folder.iterdir()} == {*wanted, "captions.json"}
    captions = json.loads((folder / "captions.json").read_text())
    assert set(captions) == set(figures.NAMES)
    for name, caption in captions.items():
        assert len(caption["text"]) > 50
        assert "Imaginary CPU @ 3.00GHz, 2 cores, commit 0123456789" in caption["source"], name
    assert captions["density_heatmap"]["source"].startswith("Experiment sparsity: 189 trials, replicates: 3.")
    assert "18 diverged" in captions["step_size"]["source"]


def test_figures_without_data_are_left_out_and_old_ones_removed(tmp_path: Path) -> None:
    fake_run.write(tmp_path, experiments=("kernels",), replicates=2)
    stale = tmp_path / "figures" / "guide.png"
    stale.parent.mkdir()
    stale.write_bytes(b"old")
    assert [path.name for path in figures.draw(tmp_path)] == ["kernels.png", "kernels.svg"]
    assert not stale.exists()
    assert list(json.loads((tmp_path / "figures" / "captions.json").read_text())) == ["kernels"]


def test_the_same_data_give_the_same_file(tmp_path: Path) -> None:
    fake_run.write(tmp_path, experiments=("kernels",), replicates=2)
    first, second = ([path.read_bytes() for path in figures.draw(tmp_path)] for _ in range(2))
    assert first == second


def test_a_caption_tells_of_disturbed_and_timed_out_trials(tmp_path: Path) -> None:
    run = tables.load(fake_run.write(tmp_path, experiments=("workers",), replicates=2, spin=0.9))
    source = figures.source(run, run.trials)
    assert "4 timeout" in source
    assert "52 of 52 trials while two cores were not really free" in source


def test_every_figure_has_a_text() -> None:
    assert set(tomllib.loads(Path(figures.__file__).with_name("captions.toml").read_text())) == set(
        figures.NAMES
    )


def test_backends_are_told_apart_without_colour() -> None:
    looks = list(style.LOOKS.values())
    assert len({look.marker for look in looks}) == len({look.hatch for look in looks}) == len(looks)


def test_divergence_is_shown(run: tables.Run) -> None:
    drawn = curves.step_size(run)
    assert drawn is not None
    assert texts(drawn[0]).count("diverged 3/3") == 6  # two backends, three step rules


def test_a_target_never_reached_is_shown(tmp_path: Path) -> None:
    fake_run.write(tmp_path, experiments=("workers", "sparsity"), replicates=2)
    trials, history = (
        pd.read_csv(tmp_path / f"{name}.csv", dtype={"trial": str}) for name in ("trials", "history")
    )
    locked = history["trial"].isin(trials[trials["backend"] == "locked"]["trial"])
    history.loc[locked, "suboptimality"] = 0.5
    history.to_csv(tmp_path / "history.csv", index=False)
    run = tables.load(tmp_path)
    for draw in (scaling.time_to_accuracy, density.heatmap):
        drawn = draw(run)
        assert drawn is not None
        assert "never 2/2" in texts(drawn[0])
    speedup = scaling.speedup(run)
    assert speedup is not None
    assert any(0.0 in line.get_ydata() for line in speedup[0].axes[0].lines)


def test_where_serial_never_arrives_the_panel_says_so(tmp_path: Path) -> None:
    fake_run.write(tmp_path, experiments=("workers",), replicates=2)
    history = pd.read_csv(tmp_path / "history.csv")
    history.assign(suboptimality=0.5).to_csv(tmp_path / "history.csv", index=False)
    run = tables.load(tmp_path)
    drawn = scaling.time_to_accuracy(run)
    assert drawn is not None
    assert "serial: never" in texts(drawn[0])
    assert scaling.speedup(run) is None


def test_a_run_out_of_time_is_marked(run: tables.Run) -> None:
    timed_out = run.trials["status"].where(run.trials["backend"] != "locked", "timeout")
    drawn = curves.over_time(run._replace(trials=run.trials.assign(status=timed_out)))
    assert drawn is not None
    assert "timeout 3/3" in texts(drawn[0])


def test_the_heat_map_has_a_cell_for_every_density_and_backend(run: tables.Run) -> None:
    drawn = density.heatmap(run)
    assert drawn is not None
    image = drawn[0].axes[0].images[0].get_array()
    assert image is not None
    assert image.shape == (6, 9)
    pairs = tables.speedups(run, {"experiment": "sparsity"}, inverse=True)
    mine = (pairs["backend"] == "hogwild_threads") & (pairs["workers"] == 2) & (pairs["density"] == 0.002)
    assert image[3, 0] == pairs["value"][mine].median()


def test_bars_are_as_long_as_the_medians(run: tables.Run) -> None:
    drawn = costs.kernels(run)
    assert drawn is not None
    widths = sorted(patch.get_width() for patch in drawn[0].axes[0].patches)
    trials = tables.select(run, {"experiment": "kernels", "problem": "hinge"})
    medians = trials.groupby(["backend", "sampling"])["ns_per_nonzero"].median()
    assert widths == pytest.approx(sorted(medians))


def test_axes_have_units(run: tables.Run) -> None:
    for draw in (curves.over_time, scaling.time_to_accuracy, costs.guide):
        drawn = draw(run)
        assert drawn is not None
        assert any(text.endswith("(s)") for text in texts(drawn[0]))
    drawn = costs.kernels(run)
    assert drawn is not None
    assert any(text.endswith("(ns)") for text in texts(drawn[0]))


@given(st.floats(-9, 9), st.floats(0, 12), st.integers(4, 8))
def test_a_logarithmic_axis_has_few_labels_and_at_least_one(start: float, decades: float, most: int) -> None:
    axes = Figure().subplots()
    style.log_axis(axes, "x", [10**start, 10 ** (start + decades)], most=most)
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert 1 <= len(ticks) <= most
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert len(set(labels)) == len(labels)


def test_an_axis_without_a_finite_value_is_left_alone() -> None:
    axes = Figure().subplots()
    style.log_axis(axes, "y", [float("inf"), float("nan")])
    assert axes.get_yscale() == "linear"
