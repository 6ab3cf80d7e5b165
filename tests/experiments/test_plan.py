"""Plans: keys, seeds, which cells there are, and in which order."""

from collections import Counter
from dataclasses import dataclass, fields, replace
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.design import options, plan, spec
from experiments.design.plan import Trial
from experiments.design.workloads import Workload
from experiments.measure.tuning import settled
from tests.experiments.trials import TRIAL, WORKLOAD

SMALL = """
question = "Does it plan at all?"
[[grid]]
name = "small"
problem = "least_squares"
dataset = "synthetic"
[grid.data]
n_features = 10
density = [0.1, 0.2]
nonzeros = 1_000
[grid.run]
backend = ["serial", "hogwild_threads"]
workers = [1, "2*cores"]
step_size = [0.1, {rule = "exponential_backoff", initial = [0.1, 0.2], factor = 0.9}]
[presets.smoke]
replicates = 2
[presets.smoke.set]
"small.data.density" = 0.5
"""


def trials(folder: Path, text: str = SMALL, preset: str = "smoke", cores: int = 2) -> list[Trial]:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return plan.make([spec.load(path, preset)], cores)


@pytest.mark.parametrize(
    "name", [item.name for item in fields(Trial) if item.name not in ("skip", "workload")]
)
def test_the_key_depends_on_every_setting(name: str) -> None:
    value = getattr(TRIAL, name)
    other = f"{value}x" if isinstance(value, str) else ("x",) if value == () else (value or 0) + 1
    assert replace(TRIAL, **{name: other}).key != TRIAL.key


@pytest.mark.parametrize("name", [item.name for item in fields(Workload)])
def test_the_key_depends_on_the_whole_workload(name: str) -> None:
    value = getattr(WORKLOAD, name)
    other = {"data": (("density", 0.5), ("n_examples", 61))}.get(
        name, f"{value}x" if isinstance(value, str) else 99
    )
    assert replace(TRIAL, workload=replace(WORKLOAD, **{name: other})).key != TRIAL.key


def test_the_key_forgets_spelling_and_the_reason_to_skip() -> None:
    assert len(TRIAL.key) == 16
    assert replace(TRIAL, epochs=3.0, gradient_threshold=-0.0, skip="no").key == TRIAL.key  # type: ignore[arg-type]
    assert replace(TRIAL, workload=replace(WORKLOAD, l2=0)).key == TRIAL.key


@dataclass(frozen=True, kw_only=True)
class Later(Trial):
    """A trial as it may be when there is another option."""

    from_a_later_version: bool = False


def test_a_new_option_changes_no_key() -> None:
    settings = {item.name: getattr(TRIAL, item.name) for item in fields(Trial)}
    assert Later(**settings).key == TRIAL.key == "5ca94d329f4a235b"
    assert Later(**settings, from_a_later_version=True).key != TRIAL.key


def test_no_default_has_changed() -> None:
    """What is at its default is no part of a key, which would stay although it stood for another trial."""
    before = {
        "method": "sgd", "workers": 1, "sampling": "fresh_permutation", "batch_size": 1,
        "gradient_threshold": 0.0, "epochs": 10, "gradient_delay": 0.0, "penalty": "touched",
        "merge_every": 0, "hot_weights": 0, "page_cache": "warm", "initial_weights": "default",
        "target": None, "tolerance": None, "time_limit": 60.0, "evaluations_per_epoch": 1,
        "instrument": False, "pin": True,
    }  # fmt: skip
    assert before.items() <= {name: option.default for name, option in options.OPTIONS.items()}.items()


@given(st.floats(1e-9, 1e9), st.floats(1e-9, 1e9))
def test_different_steps_have_different_keys(one: float, other: float) -> None:
    assert (replace(TRIAL, step_size=one).key == replace(TRIAL, step_size=other).key) == (one == other)


@pytest.mark.parametrize(
    ("expressions", "counts"),
    [
        ([1, 2], [1, 2]),
        (["cores"], [3]),
        (["2*cores", 1], [6, 1]),
        (["1..2*cores"], [1, 2, 3, 4, 5, 6]),
        ([2, "2..4"], [2, 3, 4]),
    ],
)
def test_worker_counts(expressions: list[int | str], counts: list[int]) -> None:
    assert plan.worker_counts(expressions, cores=3) == counts


def test_seeds_belong_to_axes_and_replicates(tmp_path: Path) -> None:
    seeds = {(axis, replicate): plan.seed(axis, replicate) for axis in plan.AXES for replicate in range(5)}
    assert len(set(seeds.values())) == len(seeds)
    by_replicate: dict[int, set[tuple[int, int]]] = {}
    for trial in trials(tmp_path):
        by_replicate.setdefault(trial.replicate, set()).add((trial.workload.data_seed, trial.order_seed))
    assert by_replicate == {r: {(seeds["data", r], seeds["order", r])} for r in (0, 1)}


def test_a_fixed_data_seed_holds_for_all_replicates(tmp_path: Path) -> None:
    planned = trials(tmp_path, SMALL.replace("nonzeros =", "seed = 5\nnonzeros ="))
    assert {trial.workload.data_seed for trial in planned} == {5}
    assert {trial.replicate for trial in planned} == {0, 1}
    assert "seed" not in dict(planned[0].workload.data)


def test_serial_and_peers_have_one_worker_and_peers_their_own_order(tmp_path: Path) -> None:
    text = SMALL.replace('"serial",', '"serial", "sklearn_sgd", "sklearn_sgd_unshuffled",')
    text = text.replace("workers = [1,", 'sampling = ["with_replacement", "shuffled_once"]\nworkers = [2,')
    cells = {(t.backend, t.workers, t.sampling) for t in trials(tmp_path, text)}
    assert cells == {
        ("serial", 1, "with_replacement"),
        ("serial", 1, "shuffled_once"),
        ("sklearn_sgd", 1, "fresh_permutation"),
        ("sklearn_sgd_unshuffled", 1, "shuffled_once"),
        *(("hogwild_threads", n, order) for n in (2, 4) for order in ("with_replacement", "shuffled_once")),
    }


def test_dual_ascent_is_planned_once_whatever_the_steps_and_never_for_peers(tmp_path: Path) -> None:
    text = SMALL.replace(
        'backend = ["serial",', 'method = ["sgd", "sdca"]\nbackend = ["serial", "sklearn_sgd",'
    )
    planned = trials(tmp_path, text.replace("replicates = 2", "replicates = 1"))
    ascent = [trial for trial in planned if trial.method == "sdca"]
    assert sorted((t.backend, t.workers) for t in ascent) == [
        ("hogwild_threads", 1),
        ("hogwild_threads", 4),
        ("serial", 1),
    ]
    assert {(t.step_rule, t.step_size, t.step_parameter) for t in ascent} == {(None, None, None)}
    assert len(planned) == 2 + 3 * (3 + 1)  # a peer's step is constant, whatever the rule


def test_dual_ascent_is_not_tuned(tmp_path: Path) -> None:
    planned = trials(tmp_path, TUNED.replace('backend = ["serial",', 'method = "sdca"\nbackend = ["serial",'))
    assert {(t.purpose, t.step_size, t.tuned_on) for t in planned} == {("report", None, ())}


def test_every_cell_is_planned_once(tmp_path: Path) -> None:
    planned = trials(tmp_path, preset="quick")
    assert (
        len({trial.key for trial in planned}) == len(planned) == 2 * (1 + 2) * 3
    )  # densities, backends, steps


def test_options_of_replicas_are_swept_for_those_who_have_them(tmp_path: Path) -> None:
    counts = {"serial": 1, "hogwild_threads": 1, "replicated": 2, "hogwild_hot_replicated": 4}
    options = f"{list(counts)}\nmerge_every = [0, 64]\nhot_weights = [0, 512]"
    planned = trials(tmp_path, SMALL.replace('["serial", "hogwild_threads"]', options))
    found = {(t.backend, t.merge_every, t.hot_weights) for t in planned}
    assert Counter(backend for backend, *_ in found) == counts


def test_a_penalty_is_swept_where_there_is_one(tmp_path: Path) -> None:
    both = '["serial", "sklearn_sgd"]\npenalty = ["scaled", "touched"]'
    text = SMALL.replace('["serial", "hogwild_threads"]', both)
    found = {
        (t.backend, t.penalty) for t in trials(tmp_path, text.replace("problem =", "l2 = 1.0\nproblem ="))
    }
    assert found == {("serial", "scaled"), ("serial", "touched"), ("sklearn_sgd", "scaled")}
    assert {(t.backend, t.penalty) for t in trials(tmp_path, text)} == {
        ("serial", "touched"),
        ("sklearn_sgd", "touched"),
    }


def test_nonzeros_become_examples(tmp_path: Path) -> None:
    sizes = {
        dict(t.workload.data)["density"]: dict(t.workload.data)["n_examples"]
        for t in trials(tmp_path, preset="quick")
    }
    assert sizes == {0.1: 1_000, 0.2: 500}


def test_above_the_limit_is_skipped_with_a_reason(tmp_path: Path) -> None:
    planned = trials(tmp_path, SMALL.replace("problem =", 'workers_limit = "cores"\nproblem ='))
    reasons = {(trial.backend, trial.workers): trial.skip for trial in planned}
    assert reasons[("hogwild_threads", 4)] == "4 workers are above this grid's limit of 2 on 2 cores"
    assert reasons[("serial", 1)] is reasons[("hogwild_threads", 1)] is None


def test_replicates_of_a_grid_win_over_the_preset(tmp_path: Path) -> None:
    assert {
        t.replicate for t in trials(tmp_path, SMALL.replace("problem =", "replicates = 3\nproblem ="))
    } == {0, 1, 2}


def test_workloads_are_built_once_and_backends_interleaved(tmp_path: Path) -> None:
    text = SMALL.replace("nonzeros =", "seed = 5\nnonzeros =").replace("least_squares", "logistic")
    text = text.replace('problem = "logistic"', 'problem = ["logistic", "hinge"]\nl2 = [0.0, 1.0]')
    planned = trials(tmp_path, text.replace('"small.data.density" = 0.5', ""), "smoke")
    assert planned == trials(tmp_path, text.replace('"small.data.density" = 0.5', ""), "smoke")
    for part in ("data_key", "problem"):
        runs = [
            key
            for key, _ in groupby(
                (t.workload.data_key, *((t.workload,) if part == "problem" else ())) for t in planned
            )
        ]
        assert len(runs) == len(set(runs))
    blocks = [list(block) for _, block in groupby(planned, key=lambda t: (t.workload, t.replicate))]
    assert len(blocks) == 2 * 2 * 2 * 2
    assert any([t.backend for t in block] != sorted(t.backend for t in block) for block in blocks)
    assert len({tuple((t.backend, t.workers) for t in block) for block in blocks}) > 1


TUNED = SMALL.replace('"hogwild_threads"', '"aig"').replace(
    'step_size = [0.1, {rule = "exponential_backoff", initial = [0.1, 0.2], factor = 0.9}]',
    'step_size = {rule = "constant", initial = [0.1, 0.2], tune = true}',
)


def record(trial: Trial, seconds: float, gap: float, status: str = "ok") -> dict[str, object]:
    row = {**plan.describe(trial), "status": status, "suboptimality": gap}
    return {"trial": row, "history": [[0, 0, 0.0, 0, 0, 1, 1.0], [1, 9, seconds, 0, 0, 1, gap]]}


def test_tuning_comes_first_on_seeds_of_its_own(tmp_path: Path) -> None:
    planned = trials(tmp_path, TUNED.replace("replicates = 2", "replicates = 2\ntuning_replicates = 3"))
    tuning = [trial for trial in planned if trial.purpose == "tune"]
    reports = planned[len(tuning) :]
    assert planned[: len(tuning)] == tuning
    assert len(tuning) == 3 * 2 * 3  # cells, candidates, tuning replicates
    assert len(reports) == 3 * 2
    assert not {trial.order_seed for trial in tuning} & {trial.order_seed for trial in reports}
    assert not {trial.workload.data_seed for trial in tuning} & {t.workload.data_seed for t in reports}
    by_key = {trial.key: trial for trial in tuning}
    for trial in reports:
        assert trial.step_size is None
        own = [by_key[key] for key in trial.tuned_on]
        assert {(t.backend, t.workers) for t in own} == {(trial.backend, trial.workers)}
        assert sorted(t.step_size or 0 for t in own) == [0.1] * 3 + [0.2] * 3
        assert {t.target for t in own} == {1e-2}
        assert trial.target is None


def test_a_trial_is_settled_on_the_step_that_was_soonest_in_the_median(tmp_path: Path) -> None:
    planned = trials(tmp_path, TUNED.replace("replicates = 2", "replicates = 1\ntuning_replicates = 3"))
    report = next(t for t in planned if t.purpose == "report")
    tuning = {t.key: t for t in planned if t.key in report.tuned_on}

    def chosen(seconds: dict[float, list[float]], gaps: dict[float, float]) -> float | None:
        left = {step: list(values) for step, values in seconds.items()}
        found = {
            key: record(t, left[t.step_size or 0].pop(), gaps[t.step_size or 0]) for key, t in tuning.items()
        }
        decided = settled(report, found)
        assert decided.key == report.key
        return decided.step_size

    reached = {0.1: 1e-3, 0.2: 1e-3}
    assert chosen({0.1: [1, 9, 2], 0.2: [3, 3, 3]}, reached) == 0.1
    assert chosen({0.1: [9, 1, 9], 0.2: [3, 3, 3]}, reached) == 0.2
    assert chosen({0.1: [1, 1, 1], 0.2: [3, 3, 3]}, {0.1: 0.5, 0.2: 1e-3}) == 0.2  # never against 3 s
    assert chosen({0.1: [1, 1, 1], 0.2: [3, 3, 3]}, {0.1: 0.5, 0.2: 0.4}) == 0.2  # never both: who is nearer
    diverged = {key: record(t, 1.0, 1e-3, "diverged") for key, t in tuning.items() if t.step_size == 0.1}
    fine = {key: record(t, 5.0, 0.5) for key, t in tuning.items() if t.step_size == 0.2}
    assert settled(report, diverged | fine).step_size == 0.2
    with pytest.raises(LookupError, match="no tuning trial"):
        settled(report, {})


def test_spare_trials_are_further_replicates_where_a_precision_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    more = TUNED.replace("replicates = 2", "replicates = 2\nmost_replicates = 5")
    precise = 'claims = ["K1"]\nprecision = {claims = ["K1"], width = 0.1}\n' + more
    for text, replicates in ((more, set()), (precise, {2, 3, 4})):
        path.write_text(text, encoding="utf-8")
        loaded = [spec.load(path, "smoke")]
        spare = plan.spare(loaded, 2)
        assert {trial.replicate for trial in spare} == replicates
        assert {trial.purpose for trial in spare} <= {"report"}
        assert not {trial.key for trial in spare} & {trial.key for trial in plan.make(loaded, 2)}
