"""The blocks between markers in the README: the table of backends, and the results of a run."""

from __future__ import annotations

from pathlib import Path

from experiments.judge import claims, tables, words
from hogwild import BACKENDS

SEED = {"identical": "the same bits", "statistical": "a distribution of results"}


def update(run_directory: Path, readme: Path, check: bool = False) -> None:
    """Rewrite the text between the markers; with ``check``, only exit with a message if it is stale.

    A table that lacks a new backend is not stale: it says nothing wrong.

    Raises
    ------
    ValueError
        If the file does not have each marker once, in order.
    """
    old, table = readme.read_text(encoding="utf-8"), backends()
    said, _ = _replaced(old, "backends", table, readme)
    _, new = _replaced(old, "results", lines(run_directory), readme)
    if check and (new != old or not set(said) <= set(table)):
        raise SystemExit(f"{readme} is stale: run `python -m experiments readme {run_directory}`")
    if not check:
        readme.write_text(_replaced(new, "backends", table, readme)[1], encoding="utf-8")


def _replaced(whole: str, name: str, text: list[str], readme: Path) -> tuple[list[str], str]:
    """Return the lines between two markers, and the text with others in their place."""
    first, last = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, begin, rest = whole.partition(first)
    between, end, after = rest.partition(last)
    if not begin or not end or first in after or last in before + after:
        raise ValueError(f"{readme}: needs the lines {first} and {last}, once each and in this order")
    return between.split("\n")[1:-1], "\n".join([before + first, *text, last + after])


def backends() -> list[str]:
    """Write the table of the library's backends."""
    head = ["| backend | who runs the updates, and how they meet | the same seed gives |", "|---|---|---|"]
    return head + [
        f"| `{each.name}` | {each.description} | {SEED[each.reproducibility]} |" for each in BACKENDS.values()
    ]


def lines(run_directory: Path) -> list[str]:
    """Write the block: the machine, the claims with their verdicts, the speed-ups."""
    run = tables.load(run_directory)
    note = f" ({taken})" if (taken := words.disturbed(run.trials)) else ""
    where = f"on {words.machine(run)}{note}."
    text = [f"{len(run.trials):,} trials (preset {run.environment['preset']}) {where}", ""]
    text += ["| | claim | measured (interval) | relative to | verdict |", "|---|---|---|---|---|"]
    for row in tables.rows(claims.read(run_directory)):
        said = claims.in_words(row)
        what = said["measured"] or said["reason"]
        text.append(f"| {row.claim} | {row.title} | {what} | {said['base']} | {said['decided']} |")
    trials = tables.select(run, {"experiment": ["workers", "real_text"]})
    pairs = tables.speedups(run._replace(trials=tables.as_many_workers_as_cores(run, trials)), {})
    if pairs.empty:
        return text
    pairs["workload"] = tables.label(pairs.drop(columns="backend"))
    times = pairs.rename(columns={"above": "seconds_to_1e-2"})
    serial = words.amounts(times, ["workload"], "seconds_to_1e-2")
    ours = tables.ordered(pairs["backend"])
    text += ["", f"Times serial's speed to suboptimality 1e-2, as many workers as cores ({run.cores}):", ""]
    text += [f"| workload | serial | {' | '.join(ours)} |", "|---" * (len(ours) + 2) + "|"]
    table = tables.summarise(pairs, ["workload", "backend"], "value")
    table["text"] = [f"{words.number(row.median)} ({words.interval(row)})" for row in tables.rows(table)]
    for workload, rows in tables.groups(table, "workload"):
        found = rows.set_index("backend")["text"]
        cells = [workload, serial[workload,], *(found.get(name, "–") for name in ours)]
        text.append(f"| {' | '.join(cells)} |")
    return text
