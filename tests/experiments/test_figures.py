import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

import hogwild
from experiments.design import spec
from experiments.judge import tables, words
from experiments.peers import AGAIN, PEERS
from experiments.report import figures
from experiments.report.figures import (
    catalogue,
    concurrency,
    costs,
    curves,
    density,
    peers,
    replication,
    scale,
    scaling,
    style,
)
from experiments.report.figures.catalogue import Drawn
from tests.experiments import fake_run


def texts(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(Text)]


@pytest.fixture(scope="module")
def run(drawn: Path) -> tables.Run:
    return tables.load(drawn)


def test_all_figures_are_drawn_from_the_csv_files_alone(drawn: Path) -> None:
    folder = drawn / "figures"
    wanted = {f"{name}.svg" for name in figures.NAMES}
    assert {path.name for path in folder.iterdir()} == {*wanted, "captions.json"}
    captions = json.loads((folder / "captions.json").read_text())
    assert set(captions) == set(figures.NAMES)
    for name, caption in captions.items():
        assert len(caption["text"]) > 50
        assert "Imaginary CPU @ 3.00GHz, 2 cores, commit 0123456789" in caption["source"], name
        without = name in ("objective_time", "profiles", "averaging")
        assert ("95%; of n < 6 values from smallest to largest" in caption["source"]) != without, name
    assert captions["density_heatmap"]["source"].startswith("Experiment sparsity: 63 trials, replicates: 3.")
    assert "(6 diverged)" in captions["step_size"]["source"]


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
    run = tables.load(fake_run.write(tmp_path, experiments=("guide",), replicates=2, disturb=1.0))
    source = figures.source(run, tables.select(run, {}))
    assert "1 timeout" in source
    assert "26 of 26 trials disturbed; open marks where no other is left" in source


def open_marks(figure: Figure) -> int:
    """Count the points that are drawn with a white face, apart from those above a panel."""
    lines = [
        line
        for axes in figure.axes
        for line in axes.lines
        if line.get_marker() not in ("None", "_", "|", None)
    ]
    return sum(len(line.get_xdata()) for line in lines if line.get_markerfacecolor() == "white")


@pytest.mark.parametrize(
    ("draw", "experiment"),
    [(scaling.speedup, "workers"), (curves.objective_time, "workers"), (scaling.profiles, "workers"),
     (costs.guide, "guide"), (replication.paper_error, "paper_svm"), (concurrency.collisions, "collisions"),
     (scale.scale, "scale")],
)  # fmt: skip
def test_points_without_an_undisturbed_trial_are_open(
    tmp_path: Path, draw: Callable[[tables.Run], Drawn], experiment: str
) -> None:
    counts = []
    for share in (0.0, 0.6, 1.0):
        folder = tmp_path / str(share)
        run = tables.load(fake_run.write(folder, experiments=(experiment,), replicates=2, disturb=share))
        drawn = draw(run)
        assert drawn is not None
        counts.append(open_marks(drawn[0]))
    assert counts[0] == 0 < counts[1] < counts[2]


def test_bars_without_an_undisturbed_trial_are_open(tmp_path: Path, run: tables.Run) -> None:
    disturbed = tables.load(fake_run.write(tmp_path, experiments=("kernels",), replicates=2, disturb=1.0))
    for some, hollow in ((run, False), (disturbed, True)):
        drawn = costs.kernels(some)
        assert drawn is not None
        ours = [patch for patch in drawn[0].axes[0].patches if to_hex(patch.get_edgecolor()) == "#000000"]
        assert {to_hex(patch.get_facecolor()) == "#ffffff" for patch in ours} == {hollow}


def test_cells_without_an_undisturbed_trial_have_no_shade(tmp_path: Path) -> None:
    drawn = density.density_heatmap(
        tables.load(fake_run.write(tmp_path, experiments=("sparsity",), replicates=2, disturb=1.0))
    )
    assert drawn is not None
    assert np.isnan(np.ma.filled(drawn[0].axes[0].images[0].get_array(), np.nan)).all()
    assert any("–" in text for text in texts(drawn[0]))  # the intervals are still written


def test_the_memory_bounds_the_kernels_where_it_was_measured(run: tables.Run) -> None:
    bounded = costs.kernels(run)
    assert bounded is not None
    assert texts(bounded[0]).count(" memory: 1.5") == len(bounded[0].axes)  # 12 bytes at 8 GB/s
    for value in (None, {}, {"one_core": None}):
        machine = {**run.environment["machine"], "streaming_bytes_per_second": value}
        drawn = costs.kernels(run._replace(environment={"machine": machine}))
        assert drawn is not None
        assert not any("memory" in text for text in texts(drawn[0]))


def test_speedups_name_what_they_are_relative_to(run: tables.Run) -> None:
    serial = tables.select(run, {"experiment": "workers", "backend": "serial", "problem": "hinge"})
    base = words.seconds(serial["seconds_to_1e-2"].median())
    drawn = scaling.speedup(run)
    assert drawn is not None
    assert any(text.endswith(f"\nserial: {base} to 1e-2") for text in texts(drawn[0]))
    worker = {"experiment": "paper_svm", "grid": "rcv1", "backend": "hogwild_threads", "workers": 1}
    base = words.seconds(tables.select(run, worker)["seconds_per_epoch"].median())
    drawn = replication.paper_speedup(run)
    assert drawn is not None
    assert f"SVM, RCV1 twin\none worker: {base} an epoch" in texts(drawn[0])
    serial = tables.select(run, {"experiment": "sparsity", "backend": "serial", "density": 0.01})
    drawn = density.density_heatmap(run)
    assert drawn is not None
    assert f"0.01\n{words.seconds(serial['seconds_to_1e-2'].median())}" in texts(drawn[0])


def test_a_profile_climbs_to_the_share_of_targets_reached(tmp_path: Path) -> None:
    fake_run.write(tmp_path, experiments=("workers", "sparsity"), replicates=2)
    trials, history = (
        pd.read_csv(tmp_path / f"{name}.csv", dtype={"trial": str}) for name in ("trials", "history")
    )
    missed = trials[(trials["backend"] == "locked") & (trials["experiment"] == "workers")]
    history.loc[history["trial"].isin(missed["trial"]), "suboptimality"] = 0.5
    history.to_csv(tmp_path / "history.csv", index=False)
    drawn = scaling.profiles(tables.load(tmp_path))
    assert drawn is not None
    panel = drawn[0].axes[0]
    assert panel.get_title() == "to suboptimality 1e-2, 5 workloads"
    ends = {line.get_color(): line.get_ydata()[-1] for line in panel.lines if len(line.get_xdata()) > 2}
    assert ends[style.look("locked").color] == pytest.approx(3 / 5)
    assert ends[style.look("serial").color] == 1


def test_every_figure_is_of_an_experiment() -> None:
    assert {name for loaded in spec.find([], "smoke") for name in loaded.figures} == set(figures.NAMES)


def test_two_figures_need_two_names() -> None:
    with pytest.raises(ValueError, match="two figures named kernels"):
        catalogue.caption("Another one.")(costs.kernels)


def test_solvers_are_told_apart_without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [*hogwild.BACKENDS, "auto", *AGAIN, *PEERS]
    before = {name: style.look(name) for name in names}
    for number in range(10):
        record = hogwild.BACKENDS["serial"]._replace(
            name=f"unheard_of_{number}", title=f"Unheard of {number}"
        )
        monkeypatch.setitem(hogwild.BACKENDS, record.name, record)
    peer = PEERS["libmf"]._replace(title="A new peer")
    monkeypatch.setitem(PEERS, "new_peer", peer)
    looks = {name: style.look(name) for name in [*names, *(f"unheard_of_{n}" for n in range(10)), "new_peer"]}
    assert len({look.marker for look in looks.values()}) == len(looks)
    assert len({look.hatch for look in looks.values()}) == len(looks)
    assert looks.items() >= before.items()  # nobody's look depends on who comes later
    assert (looks["unheard_of_3"].name, looks["new_peer"].name) == ("Unheard of 3", "A new peer")
    assert style.look("gone").name == "gone"


def test_a_new_backend_is_drawn_in_its_place(run: tables.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    record = hogwild.BACKENDS["locked"]._replace(name="unheard_of", title="Unheard of")
    monkeypatch.setitem(hogwild.BACKENDS, "unheard_of", record)
    added = run.trials[run.trials["backend"] == "locked"].assign(backend="unheard_of", trial="new")
    added["seconds_to_1e-2"] *= 2
    drawn = scaling.speedup(run._replace(trials=pd.concat([run.trials, added])))
    assert drawn is not None
    handles = dict(zip(*reversed(drawn[0].axes[0].get_legend_handles_labels()), strict=True))
    look = style.look("unheard_of")
    assert handles["Unheard of"][0].get_marker() == look.marker
    order = ["serial", "pool", "unheard_of", "auto", "serial_again", "liblinear", "of another version"]
    assert tables.ordered(sorted(order)) == order


def test_divergence_is_shown(run: tables.Run) -> None:
    drawn = curves.step_size(run)
    assert drawn is not None
    assert texts(drawn[0]).count("diverged 3/3") == 2  # two backends, the largest step


def test_a_target_never_reached_is_shown(tmp_path: Path) -> None:
    fake_run.write(tmp_path, experiments=("workers", "sparsity"), replicates=2)
    trials, history = (
        pd.read_csv(tmp_path / f"{name}.csv", dtype={"trial": str}) for name in ("trials", "history")
    )
    locked = history["trial"].isin(trials[trials["backend"] == "locked"]["trial"])
    history.loc[locked, "suboptimality"] = 0.5
    history.to_csv(tmp_path / "history.csv", index=False)
    run = tables.load(tmp_path)
    for draw in (scaling.time_to_accuracy, density.density_heatmap):
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
    drawn = curves.objective_time(run._replace(trials=run.trials.assign(status=timed_out)))
    assert drawn is not None
    assert "timeout 3/3" in texts(drawn[0])


def test_peers_stand_in_the_order_of_their_times_and_show_targets_missed(run: tables.Run) -> None:
    drawn = peers.peers(run)
    assert drawn is not None
    panel = drawn[0].axes[0]
    names = [label.get_text() for label in panel.get_yticklabels()]
    assert names[:3] == ["replicas, dual × 2", "replicas × 2", "Hogwild! threads × 2"]
    assert names.index("Snap ML × 2") < names.index("Snap ML × 1") < names.index("LIBLINEAR, dual")
    trials = tables.select(run, {"experiment": "peers", "replicate": 0})
    missed = (trials["seconds_to_1e-6"] == np.inf).sum()
    assert texts(drawn[0]).count("3/3") == missed > 0  # plain SGD does not get to 1e-6
    snapml = tables.select(run, {"dataset": "python_source", "backend": "snapml", "workers": 2})
    snapml = snapml[snapml["experiment"] == "peers"]
    ends = [snapml[f"seconds_to_1e-2{part}"].median() for part in ("", "_with_setup")]
    lines = [line.get_xdata() for line in panel.lines if len(line.get_xdata()) == 2]
    assert any(line == pytest.approx(ends) for line in lines)


def test_the_heat_map_has_a_cell_for_every_density_and_backend(run: tables.Run) -> None:
    drawn = density.density_heatmap(run)
    assert drawn is not None
    image = drawn[0].axes[0].images[0].get_array()
    assert image is not None
    assert image.shape == (6, 3)
    pairs = tables.speedups(run, {"experiment": "sparsity"}, inverse=True)
    mine = (pairs["backend"] == "hogwild_threads") & (pairs["workers"] == 2) & (pairs["density"] == 0.01)
    assert image[3, 0] == pairs["value"][mine].median()


def test_bars_are_as_long_as_the_medians(run: tables.Run) -> None:
    drawn = costs.kernels(run)
    assert drawn is not None
    widths = sorted(patch.get_width() for patch in drawn[0].axes[0].patches)
    trials = tables.select(run, {"experiment": "kernels", "problem": "hinge", "l2": 0.0})
    medians = trials.groupby(["backend", "sampling"])["ns_per_nonzero"].median()
    assert widths == pytest.approx(sorted(medians))


def test_axes_have_units(run: tables.Run) -> None:
    for draw in (curves.objective_time, scaling.time_to_accuracy, costs.guide):
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


def test_scale_has_a_panel_for_each_place_of_the_data_and_the_memorys_bounds(run: tables.Run) -> None:
    drawn = scale.scale(run)
    assert drawn is not None
    assert [axes.get_title() for axes in drawn[0].axes] == list(scale.PLACES.values())
    for axes, cache in zip(drawn[0].axes, ("warm", "warm", "cold"), strict=True):
        bounds = [line.get_ydata()[0] for line in axes.lines if len(set(line.get_xdata())) == 2]
        assert {12 / 8, 12 / 12} <= set(np.round(bounds, 9))
        handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        line = handles[style.look("serial").name][0]
        grid = "memory" if axes is drawn[0].axes[0] else cache
        trials = tables.select(
            run, {"experiment": "scale", "backend": "serial", "grid": grid, "page_cache": cache}
        )
        medians = trials.groupby("nonzeros")["ns_per_nonzero"].median()
        np.testing.assert_allclose(sorted(line.get_ydata()), sorted(medians))
    machine = {name: value for name, value in run.environment["machine"].items() if "stream" not in name}
    unbounded = scale.scale(run._replace(environment={"machine": machine}))
    assert unbounded is not None
    assert len(unbounded[0].axes[0].lines) < len(drawn[0].axes[0].lines)
