"""One look for all figures: readable in grey, small enough for a column, with what went wrong in sight."""

from __future__ import annotations

import itertools
import math
import textwrap
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation

from experiments.judge import tables, words
from experiments.peers import AGAIN, PEERS
from hogwild import BACKENDS

COLUMN, PAGE = 3.4, 7.1  # inches: the width of one column and of both
RC = {
    "font.size": 7.5, "axes.titlesize": 7.5, "axes.labelsize": 7.5, "legend.fontsize": 6.8,
    "xtick.labelsize": 7.0, "ytick.labelsize": 7.0, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": "0.9", "grid.linewidth": 0.5, "axes.axisbelow": True,
    "lines.linewidth": 1.1, "lines.markersize": 4.0, "hatch.linewidth": 0.6, "legend.frameon": False,
    "figure.constrained_layout.use": True, "svg.fonttype": "path",
    "svg.hashsalt": "hogwild",  # the same ids, hence the same file, every time
}  # fmt: skip
MANTISSAS = [
    (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, *range(4, 10)),
    (1, 1.5, 2, 3, 4, 6, 8),
    (1, 2, 5),
    (1, 3),
]
DOTTED: dict[str, Any] = {"color": "0.4", "linestyle": (0, (1, 2))}
BOX = {"facecolor": "white", "edgecolor": "none", "pad": 0.2}


class Look(NamedTuple):
    """How a line is drawn, told apart by more than its colour."""

    name: str
    color: str
    marker: str | tuple[int, int, int]
    linestyle: str | tuple[int, tuple[int, ...]]
    hatch: str = ""

    def mark(self, **options: Any) -> dict[str, Any]:
        """Return matplotlib's options for markers without a line."""
        return {"marker": self.marker, "linestyle": "none", **options}

    def line(self, **options: Any) -> dict[str, Any]:
        """Return matplotlib's options for a line with markers."""
        if str(self.marker).startswith("$"):  # a white edge would leave nothing of a letter's strokes
            options |= {"mec": self.color, "mew": 0.3, "markersize": LETTER_SIZE}
        return {"color": self.color, "marker": self.marker, "linestyle": self.linestyle, **options}


# colour, marker, dash and hatch of those that have been drawn before; everybody else is given what is free
PALETTE: dict[str, tuple[Any, ...]] = {
    "serial": ("#000000", "o", "-"),
    "locked": ("#b3541e", "s", "--", "////"),
    "hogwild_threads": ("#1f5fa8", "^", "-", "...."),
    "replicated": ("#d1495b", "D", "-", "oo*"),
    "hogwild_hot_replicated": ("#e08a1e", "X", "--", "*."),
    "auto": ("#444444", "H", ":", "+"),
    "hogwild_padded": ("#5aa9d6", ">", "--", "x/"),
    "hogwild_processes": ("#5aa9d6", "v", "-.", "xxxx"),
    "atomic": ("#7a5195", "p", (0, (3, 1)), "ooo"),
    "aig": ("#2e7d4f", "d", "--", "--"),
    "round_robin": ("#6f6f6f", "h", ":", "||||"),
    "cyclades": ("#3f7f93", "8", "-.", "|-"),
    "averaging": ("#c9a227", "<", "-.", "**"),
    "pool": ("#8a8a8a", "*", ":", "----"),
    "sklearn_sgd": ("#c9a227", "P", ":", "\\\\\\\\"),
    "sklearn_sgd_unshuffled": ("#dccb8a", (6, 1, 0), ":", "++++"),
}
COLORS = ("#6b4c9a", "#a0522d", "#1b7f79", "#c2185b", "#4d6a12", "#34568b", "#996515")
DASHES = ((0, (3, 1, 1, 1)), (0, (5, 1)), (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (2, 2)))
# as markers: without those that look like a whisker
OURS, THEIRS, LETTER_SIZE = "ABCDEGHKMNPQRSUVWXZ", "abdeghkmnpqsuwxyz23456789", 5.2
# Hatches of two or three kinds of strokes; "/" with "\\" would be an "x", and "|" with "-" a "+".
HATCHES = {
    count: [
        "".join(strokes)
        for strokes in itertools.combinations("/\\|-oO.*", count)
        if not ({"/", "\\"} <= {*strokes} or {"|", "-"} <= {*strokes} or strokes == (".", "*"))
    ]
    for count in (2, 3)
}


def look(solver: str) -> Look:
    """Return the look of a backend or a peer, the same in every figure; no two share a marker or a hatch.

    What has no place in `PALETTE` has a letter as its marker: our backends capitals, peers small ones, in the
    order of their records.
    """
    if solver in PALETTE:
        return Look(words.solver(solver), *PALETTE[solver])
    ours, theirs = ([name for name in names if name not in PALETTE] for names in (BACKENDS, [*AGAIN, *PEERS]))
    place, letters, hatches = 0, "?", ["oo"]  # of another version of this project
    if solver in ours:
        place, letters, hatches = ours.index(solver), OURS, HATCHES[2]
    elif solver in theirs:
        place, letters, hatches = theirs.index(solver), THEIRS, HATCHES[3]
    return Look(
        words.solver(solver),
        COLORS[place % len(COLORS)],
        rf"$\mathbf{{{letters[place % len(letters)]}}}$",
        DASHES[place % len(DASHES)],
        hatches[place % len(hatches)],
    )


def backends(rows: pd.DataFrame) -> dict[str, Look]:
    """Return the looks of the backends in these rows, in the usual order."""
    return {name: look(name) for name in tables.ordered(rows["backend"])}


def panels(count: int, per_row: int, height: float, unit: str, **options: Any) -> tuple[Figure, list[Axes]]:
    """Make a figure with that many axes, one column wide for a single one and both columns wide for more."""
    columns = min(per_row, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(PAGE if columns > 1 else COLUMN, height * rows))
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for panel in axes[:, 0]:
        panel.set_ylabel(unit)
    for unused in axes.ravel()[count:]:
        unused.remove()
    return figure, list(axes.ravel()[:count])


def sign(figure: Figure, text: str) -> None:
    """Write below a figure where its numbers come from, so that a picture on its own still says it."""
    lines = textwrap.wrap(text, int(28 * figure.get_figwidth()))
    figure.text(0.0, -0.01, "\n".join(lines), fontsize=4.8, color="0.35", ha="left", va="top")


def log_axis(axes: Axes, which: str, values: Any, *, pad: float = 0.08, most: int = 6) -> None:
    """Make an axis ("x" or "y") logarithmic, with at most so many labels, at round numbers."""
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite) & (finite > 0)]
    if not finite.size:
        return
    low, high = math.log10(finite.min()), math.log10(finite.max())
    pad = max(pad * (high - low), 0.06)
    low, high = low - pad, high + pad
    decades = range(math.floor(low), math.ceil(high) + 1)
    candidates = [[step * 10.0**decade for decade in decades for step in some] for some in MANTISSAS]
    candidates += [[10.0**decade for decade in decades[::gap]] for gap in range(1, len(decades) + 1)]
    inside = [[tick for tick in ticks if 10**low <= tick <= 10**high] for ticks in candidates]
    ticks = next(ticks for ticks in inside if len(ticks) <= most)
    powers = bool(ticks) and (ticks[0] < 1e-3 or ticks[-1] >= 1e5)
    axes.set(**{f"{which}scale": "log", f"{which}lim": (10**low, 10**high)})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: _power(value) if powers else f"{value:g}"))


def _power(value: float) -> str:
    exponent = math.floor(math.log10(value) + 1e-9)
    mantissa = round(value / 10.0**exponent, 6)
    return f"$10^{{{exponent}}}$" if mantissa == 1 else f"${mantissa:g}{{\\times}}10^{{{exponent}}}$"


def series(
    axes: Axes, title: str, rows: pd.DataFrame, x: str, by: str, looks: dict[str, Look], connect: bool
) -> None:
    """Draw medians with their intervals, a series for each ``by``, moved sideways so that none hides another.

    An infinite median becomes an open marker above the panel, with the number of replicates behind it; a
    point all of whose trials were disturbed is open.
    """
    levels = 0
    for place, (key, drawn) in enumerate(looks.items()):
        mine, sideways = rows[rows[by] == key], place - (len(looks) - 1) / 2
        at = mine[x].to_numpy(float) * 1.04**sideways if connect else mine[x].to_numpy(float) + 0.1 * sideways
        median, low, high = mine[["median", "low", "high"]].to_numpy(float).T
        found = np.isfinite(median)
        whiskers = [median[found] - low[found], np.minimum(high[found], 1e30) - median[found]]
        line = drawn.line(label=drawn.name, capsize=1.8, elinewidth=0.8, mec="white", mew=0.4)
        axes.errorbar(at[found], median[found], whiskers, **line | ({} if connect else {"linestyle": "none"}))
        opened = found & mine["hollow"].to_numpy(bool)
        axes.plot(at[opened], median[opened], **drawn.mark(mfc="white", mec=drawn.color, zorder=3))
        levels += not found.all()
        above = axes.get_xaxis_transform() + ScaledTranslation(0, levels / 9, axes.figure.dpi_scale_trans)
        for where, row in zip(at[~found], tables.rows(mine[~found]), strict=True):
            open_mark = drawn.mark(mec=drawn.color, mfc="none", clip_on=False)
            axes.plot([where], [1], transform=above, **open_mark)
            text = f"{'diverged' if row.diverged else 'never'} {row.missed}/{row.n}"
            note = axes.annotate(text, (where, 1), (-4, 0), above, "offset points", fontsize=5.0, bbox=BOX)
            note.set(ha="right", va="center", annotation_clip=False)
    axes.set_title(title, pad=4 + 8 * levels + 4 * bool(levels))


def lying(axes: Axes, row: Any, place: float, drawn: Look, **options: Any) -> None:
    """Draw one median with its interval at a height; open if all of its trials were disturbed."""
    whiskers = [[row.median - row.low], [min(row.high, 1e30) - row.median]]
    options |= {"mfc": "white"} if row.hollow else {}
    line = drawn.line(**{"capsize": 2, "mec": drawn.color, **options})
    axes.errorbar(row.median, place, xerr=whiskers, **line)


def legend(figure: Figure, axes: list[Axes], columns: int = 4) -> None:
    """Put one legend for all panels above them, each name once; a single panel gets so many columns."""
    handles: dict[str, Any] = {}
    for panel in axes:
        for handle, name in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    narrow = {"ncols": columns, "handlelength": 2.0, "columnspacing": 0.8, "fontsize": 6.0}
    shape = narrow if len(axes) == 1 else {"ncols": 6, "handlelength": 2.6}
    figure.legend(list(handles.values()), list(handles), loc="outside upper center", **shape)
