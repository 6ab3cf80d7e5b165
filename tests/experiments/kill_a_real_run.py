"""Kill a real run at random moments, finish it, and look for what is lost, doubled or still running.

``python -m tests.experiments.kill_a_real_run [NAME …] [--kills N] [--within SECONDS]``: minutes, so it is
no test of pytest's.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from experiments.design import plan, spec
from experiments.judge import verify
from experiments.measure import journal
from experiments.measure.machine import usable_cores

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0  # seconds for workers to notice that their run was killed


def start(names: list[str], directory: Path) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "experiments",
        "run",
        *names,
        "--preset",
        "smoke",
        "--out",
        str(directory),
    ]
    with directory.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)


def left_over(session: int) -> list[psutil.Process]:
    """Wait for the processes that a run started to end; return those that do not, and end them."""
    until = time.monotonic() + PATIENCE
    while True:
        found = []
        for process in psutil.process_iter(["status"]):
            try:
                ours = os.getsid(process.pid) == session
            except ProcessLookupError:
                continue
            if ours and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
        if not found:
            return []
        if time.monotonic() > until:
            break
        time.sleep(0.05)
    for process in found:
        process.kill()
    return found


def whole_lines(directory: Path) -> bytes:
    path = directory / journal.JOURNAL
    content = path.read_bytes() if path.exists() else b""
    return content[: content.rfind(b"\n") + 1]


def kill_and_check(names: list[str], kills: int, within: float, folder: Path) -> list[str]:
    """Kill runs at random moments of their first seconds, so many times; return what went wrong."""
    moments, killed, runs = random.Random(0), 0, 0
    began = time.monotonic()
    if start(names, folder / "untouched").wait():
        return [(folder / "untouched.log").read_text(encoding="utf-8")]
    duration = min(time.monotonic() - began, within)
    wrong = check(names, folder / "untouched")
    while killed < kills:
        runs += 1
        directory, whole, status = folder / f"run{runs}", b"", None
        while status != 0:
            process = start(names, directory)
            try:
                status = process.wait(moments.uniform(0.0, duration) if killed < kills else None)
            except subprocess.TimeoutExpired:
                process.kill()  # the run alone: its workers must notice by themselves
                status = process.wait()
            if status not in (0, -signal.SIGKILL):
                return [*wrong, directory.with_suffix(".log").read_text(encoding="utf-8")]
            killed += status != 0
            wrong += [f"still running after kill {killed}: {left}" for left in left_over(process.pid)]
            found = whole_lines(directory)
            if not found.startswith(whole):
                wrong.append(f"kill {killed} changed lines of the journal that were whole")
            whole = found
            print(f"run {runs}, kill {killed}: {whole.count(10)} lines in the journal", flush=True)
        wrong += check(names, directory)
    return wrong


def check(names: list[str], directory: Path) -> list[str]:
    """Compare a finished run with its plan; return what is wrong with it."""
    specs, cores = spec.find(names, "smoke"), len(usable_cores())
    planned = {trial.key for trial in plan.make(specs, cores)}
    spare = {trial.key for trial in plan.spare(specs, cores)}
    with (directory / journal.TRIALS).open(newline="", encoding="utf-8") as file:
        rows = Counter(row["trial"] for row in csv.DictReader(file))
    wrong = [f"trial {key} is lost" for key in planned - set(rows)]
    wrong += [f"trial {key} is of no plan" for key in set(rows) - planned - spare]
    wrong += [f"trial {key} is there {count} times" for key, count in rows.items() if count > 1]
    return [f"{directory.name}: {text}" for text in [*wrong, *verify.problems(directory)]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="experiments, or all; none: guide")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--within", type=float, default=12.0, help="seconds from start to kill, at most")
    options = parser.parse_args()
    names = options.names or ["guide"]
    with tempfile.TemporaryDirectory() as folder:
        wrong = kill_and_check(names, options.kills, options.within, Path(folder))
    print(
        "\n".join(wrong)
        or f"{options.kills} kills of {' '.join(names)}: nothing lost, doubled or left running"
    )
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
