"""The results in the README: a block between two markers, rewritten from the files of a run."""

from __future__ import annotations

from pathlib import Path

from experiments.judge import claims, tables, words

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def update(run_directory: Path, readme: Path, check: bool = False) -> None:
    """Rewrite the text between the markers; with ``check``, only exit with a message if it is stale.

    Raises
    ------
    ValueError
        If the file does not have each marker once, in order.
    """
    old = readme.read_text(encoding="utf-8")
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in before + after:
        raise ValueError(f"{readme}: needs the lines {BEGIN} and {END}, once each and in this order")
    new = "\n".join([before + BEGIN, *lines(run_directory), END + after])
    if check and new != old:
        raise SystemExit(f"{readme} is stale: run `python -m experiments readme {run_directory}`")
    if not check:
        readme.write_text(new, encoding="utf-8")


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
    backends = tables.ordered(pairs["backend"])
    text += ["", f"Times serial's speed to suboptimality 1e-2, as many workers as cores ({run.cores}):", ""]
    text += [f"| workload | serial | {' | '.join(backends)} |", "|---" * (len(backends) + 2) + "|"]
    table = tables.summarise(pairs, ["workload", "backend"], "value")
    table["text"] = [f"{words.number(row.median)} ({words.interval(row)})" for row in tables.rows(table)]
    for workload, rows in tables.groups(table, "workload"):
        found = rows.set_index("backend")["text"]
        cells = [workload, serial[workload,], *(found.get(name, "–") for name in backends)]
        text.append(f"| {' | '.join(cells)} |")
    return text
