"""Random runs with random faults, for as long as one likes: nothing may hang, nothing may be left behind.

``python -m tests.soak [--minutes M] [--seed S] [--case N]``. The seed is printed; with it, and the number of
a case that went wrong, that case is done again. Ends with a count of each kind, and not with 0 if anything
went wrong.
"""

from __future__ import annotations

import argparse
import collections
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import hogwild
from tests.hogwild.cases import completion, problem
from tests.hogwild.family import footprint, left_behind
from tests.hogwild.faults import (
    HANG_SECONDS,
    MOMENTS,
    PROCESSES,
    THREADS,
    Fault,
    Pressed,
    Presses,
    orphans,
    press,
    run_with,
)

LINEAR = ("pool", "hogwild_padded", "hogwild_hot_replicated", "hogwild_hot_replicated_processes")
KINDS = {
    "kill": 6,
    "pause": 3,
    "exception": 3,
    "memory": 3,
    "Ctrl-C": 4,
    "killed parent": 1,
    "two at once": 3,
}


def call(choice: random.Random, backends: list[str]) -> tuple[Any, dict[str, Any]]:
    """Return a problem and options."""
    backend = choice.choice(backends)
    examples = choice.choice([40, 120]) if backend == "pool" else choice.choice([40, 3000])
    case: Any = problem("hinge", l2=1.0, examples=examples, features=choice.choice([3, 50]))
    if choice.random() < 0.5:
        case = problem(examples=examples, features=50)
    elif choice.random() < 0.3 and backend not in LINEAR:
        case = completion(entries=200)
    options = {
        "backend": backend,
        "workers": choice.randint(1, 4),
        "evaluations_per_epoch": 1,
        "seed": choice.randrange(100),
        "observe": hogwild.Observe(pin=choice.random() < 0.3),
    }
    return case, options


def two_at_once(choice: random.Random) -> list[str]:
    """Run two backends side by side; return what went wrong."""
    before, calls = footprint(), [call(choice, PROCESSES + THREADS) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(hogwild.minimize, case, epochs=2, step_size=1e-3, **how) for case, how in calls]
        wrong = []
        for run, (case, how) in zip(runs, calls, strict=True):
            copies = how["workers"] if how["backend"] == "averaging" else 1
            if sum(run.result(HANG_SECONDS).updates) != 2 * case.n_examples * copies:
                wrong.append(f"{how['backend']} lost updates")
    del run, runs
    return wrong + [f"{name} left: {values}" for name, values in left_behind(before).items()]


def one(kind: str, choice: random.Random) -> tuple[int, bool, list[str], str]:
    """Return how many faults there were, whether the run hung, what went wrong, and what it was."""
    if kind == "two at once":
        return 1, False, two_at_once(choice), kind
    case, options = call(
        choice, PROCESSES if kind in ("kill", "pause", "killed parent") else PROCESSES + THREADS
    )
    if kind == "killed parent":
        moment, delay = choice.choice(["start", "training"]), choice.uniform(0, 0.3)
        left = orphans(moment, delay, case, **options)
        return 1, False, [f"{name} left: {values}" for name, values in left.items()], f"{moment} {delay}"
    if kind == "Ctrl-C":
        moment, times = choice.choice(["start", "training"]), choice.randint(1, 4)
        how = Presses(times, moment, choice.uniform(0, 0.1), choice.choice([0.0, 0.001, 0.02]))
        outcome = press(how, case, **options)
        wrong = [f"{name} left: {values}" for name, values in outcome.left.items()]
        wrong += [] if outcome.error is Pressed else [f"no interrupt: {outcome.text}"]
        return outcome.injected, outcome.hung, wrong, f"{how} {options}"
    fault = Fault(kind, choice.choice(MOMENTS), choice.uniform(0, 0.02))
    outcome = run_with(fault, case, **options)
    copies = options["workers"] if options["backend"] == "averaging" else 1
    return (
        outcome.injected,
        outcome.hung,
        outcome.wrong(fault, case.n_examples * copies),
        f"{fault} {options}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    parser.add_argument("--case", type=int, help="only this one")
    parser.add_argument("--kind", choices=KINDS, help="only these")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    for backend in PROCESSES + THREADS:  # the server, and what is loaded once
        hogwild.minimize(problem(), backend=backend, workers=2, epochs=1)
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    began, number, failures = time.monotonic(), options.case or 0, 0
    while True:
        choice = random.Random(f"{options.seed}:{number}")
        kind = options.kind or choice.choices(list(KINDS), list(KINDS.values()))[0]
        injected, hung, wrong, what = one(kind, choice)
        tally = counts[kind]
        tally.update(
            {"injected": injected, "hung": hung, "left behind": any("left: " in text for text in wrong)}
        )
        tally["recovered"] += not wrong
        tally["runs"] += 1
        for text in wrong:
            failures += 1
            print(f"case {number}, {kind}, {what}: {text}", flush=True)
        number += 1
        if options.case is not None or time.monotonic() - began > 60 * options.minutes:
            break
    columns = ("runs", "injected", "recovered", "hung", "left behind")
    print(f"{'':14}" + "".join(f"{column:>13}" for column in columns))
    counts["all"] = sum(counts.values(), collections.Counter())
    for kind, tally in counts.items():
        print(f"{kind:14}" + "".join(f"{tally[column]:13}" for column in columns))
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
