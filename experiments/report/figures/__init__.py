"""Figures of a run, from its CSV files alone: a small file for each family, one look for all of them."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from matplotlib.style import context

from experiments import statistics
from experiments.judge import tables, words
from experiments.report.figures import catalogue, style

FIGURES = dict(sorted(catalogue.figures().items()))
NAMES = tuple(FIGURES)
# kind of file -> metadata: nothing that differs between two drawings of the same numbers
UNSTAMPED: dict[str, dict[str, str | None]] = {"png": {"Software": None}, "svg": {"Date": None}}
INTERVALS = f" Intervals: {statistics.LEVEL:.0%}; of n < 6 values from smallest to largest, 1 − 2^(1−n)."


def draw(run_directory: Path) -> list[Path]:
    """Draw every figure that the run has trials for, as PNG and SVG, and write captions.json beside them.

    A figure without data is left out, and removed where an earlier call had drawn it.
    """
    run = tables.load(run_directory)
    folder = run_directory / "figures"
    folder.mkdir(exist_ok=True)
    paths: list[Path] = []
    captions: dict[str, dict[str, str]] = {}
    for name, entry in FIGURES.items():
        with context(["default", style.RC]):
            drawn = entry.draw(run)
            files = [folder / f"{name}.{kind}" for kind in UNSTAMPED]
            if drawn is None:
                for file in files:
                    file.unlink(missing_ok=True)
                continue
            signature = source(run, drawn[1]) + INTERVALS * ("interval" in entry.caption)
            caption = captions[name] = {"text": entry.caption, "source": signature}
            style.sign(drawn[0], signature)
            for file, metadata in zip(files, UNSTAMPED.values(), strict=True):
                signed: dict[str, str | None] = {**metadata, "Description": " ".join(caption.values())}
                drawn[0].savefig(file, dpi=200, bbox_inches="tight", pad_inches=0.02, metadata=signed)
            paths += files
    said = json.dumps(captions, indent=1, ensure_ascii=False)
    (folder / "captions.json").write_text(said + "\n", encoding="utf-8")
    return paths


def source(run: tables.Run, trials: pd.DataFrame) -> str:
    """Name the experiment, the trials, what went wrong in them, the machine and the commit."""
    names = " and ".join(sorted(trials["experiment"].unique())).replace("_", " ")
    states = trials["status"].value_counts()
    notes = [f"{states[name]} {name}" for name in ("diverged", "timeout") if name in states]
    notes += [f"{text}; open marks where no other is left"] if (text := words.disturbed(trials)) else []
    odd = f" ({', '.join(notes)})" if notes else ""
    counts = sorted(set(trials.groupby("experiment")["replicate"].nunique()))
    replicates = " to ".join(str(count) for count in dict.fromkeys([counts[0], counts[-1]]))
    return f"Experiment {names}: {len(trials)} trials{odd}, replicates: {replicates}. {words.machine(run)}."
