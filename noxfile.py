# /// script
# dependencies = ["nox[uv]>=2025.5.1"]
# ///
"""What can be done in this checkout: `python3 -m pip install nox && python3 -m nox --list` (brings uv)."""

import argparse
import json
import math
import os
import platform
import time
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["tests"]

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
REFERENCE = "requirements/reference.txt"
# Only what runs kernels: the rest is the same without a compiler.
NOJIT_TESTS = ["tests/hogwild", "--ignore-glob=*/test_datasets*"]
LIBMF = "-O3 -DUSESSE -msse3" if platform.machine() == "x86_64" else "-O3"  # as its makefile compiles it
# Two files of tests at a time; `-- -n 0` for one. The tests of a file share what they make on disk.
PYTEST = ["pytest", "--numprocesses=2", "--dist=loadfile"]


def group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(PROJECT, name))


def install(session: nox.Session, *requirements: str, reference: bool = True, peers: bool = False) -> None:
    """Install the checkout (editable) and what the experiments need, by default in the reference versions."""
    constraints = ["-c", REFERENCE] if reference else []
    extras = "datasets,experiments,peers" if peers else "datasets,experiments"
    session.install(*constraints, "-e", f".[{extras}]", *requirements)


def build_peers(session: nox.Session) -> None:
    """Compile the peers that have no wheels, if there is a compiler: without, they are skipped rows."""
    # what the cache holds was compiled with other flags, or for another machine
    built = ["--no-cache-dir", "-c", REFERENCE, "-e", ".[peers-built]"]
    try:
        session.install(*built, env={"CXXFLAGS": LIBMF})
    except nox.command.CommandFailed:
        session.warn("LIBMF could not be compiled: its rows will be skipped")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, but for slow ones, with the reference versions; arguments go to pytest."""
    install(session, *group("tests"), peers=True)
    build_peers(session)
    session.run(*PYTEST, "-m", "not slow", *session.posargs)


@nox.session
def tests_slow(session: nox.Session) -> None:
    """Run the slow tests with the reference versions; arguments go to pytest."""
    install(session, *group("tests"), peers=True)
    session.run(*PYTEST, "-m", "slow", *session.posargs)


@nox.session(python=["3.11", "3.12", "3.13"])
def tests_all(session: nox.Session) -> None:
    """Run all tests on every supported Python that is installed, with the newest versions of everything."""
    install(session, *group("tests"), reference=False)
    session.run(*PYTEST, *session.posargs)


@nox.session(python="3.11", venv_backend="uv")
def tests_lowest(session: nox.Session) -> None:
    """Run all tests on the oldest Python with the oldest versions that pyproject.toml allows."""
    install(session, "--resolution", "lowest-direct", *group("tests"), reference=False)
    session.run(*PYTEST, "-W", "default::DeprecationWarning", *session.posargs)


@nox.session
def tests_nojit(session: nox.Session) -> None:
    """Run the library's tests as plain Python, without compiling anything; arguments go to pytest."""
    install(session, *group("tests"))
    session.run(*PYTEST, *(session.posargs or NOJIT_TESTS), env={"NUMBA_DISABLE_JIT": "1"})


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting and types."""
    install(session, *group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")


@nox.session
def reproduce(session: nox.Session) -> None:
    """Run all experiments, draw, set the paper, judge the claims: [--preset smoke|quick|full] [--out DIR]."""
    parser = argparse.ArgumentParser(prog="nox -s reproduce --")
    parser.add_argument("--preset", choices=["smoke", "quick", "full"], default="quick")
    parser.add_argument("--out")
    options = parser.parse_args(session.posargs)
    results = options.out or f"results/{options.preset}"
    install(session, peers=True)
    build_peers(session)
    experiments(session, "run", "all", "--preset", options.preset, "--out", results)
    for product in ("figures", "claims", "paper"):
        experiments(session, product, results)


@nox.session
def kills(session: nox.Session) -> None:
    """Kill a real smoke run 50 times, finish it, and look for what is lost or left: [NAME …] [--kills N]."""
    install(session, *group("tests"))
    session.run("python", "-m", "tests.experiments.kill_a_real_run", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Give damaged files to every reader: [--inputs N] [--reader NAME] [--seed S]."""
    install(session, *group("tests"))
    session.run("python", "-W", "ignore", "-m", "tests.fuzz", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Run random calls with random faults, and look for what hangs or is left: [--minutes M] [--seed S]."""
    install(session, *group("tests"))
    session.run("python", "-m", "tests.soak", *session.posargs)


@nox.session
def figures(session: nox.Session) -> None:
    """Draw a run's figures again from its CSV files: [DIR]."""
    from_results(session, "figures")


@nox.session
def claims(session: nox.Session) -> None:
    """Judge the claims again from a run's CSV files: [DIR]."""
    from_results(session, "claims")


@nox.session
def paper(session: nox.Session) -> None:
    """Set the paper again from a run's results: [DIR]."""
    from_results(session, "paper")


def experiments(session: nox.Session, *arguments: str) -> None:
    session.run("python", "-m", "experiments", *arguments)


def from_results(session: nox.Session, product: str) -> None:
    """Make a product of the run named on the command line, else of the quick, else of the reference run."""
    candidates = session.posargs or ["results/quick", "results/reference"]
    found = [folder for folder in candidates if (ROOT / folder / "trials.csv").exists()]
    if not found:
        session.error(f"no trials.csv in {' or '.join(candidates)}: `nox -s reproduce` writes one")
    install(session)
    experiments(session, product, found[0])


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the speed of the last commit with asv; arguments go to `asv run`, e.g. --quick."""
    session.install("-c", REFERENCE, *group("bench"))
    if session.run("git", "status", "--porcelain", external=True, silent=True):
        session.warn("asv builds the last commit; what is not committed is not measured")
    # asv describes the machine in a file in the home folder, or asks. Give it a home in the checkout, and
    # pip, which asv calls, the settings and the cache of the real one.
    home = ROOT / ".asv/home"
    home.mkdir(parents=True, exist_ok=True)
    pip = {
        "PIP_CONFIG_FILE": Path.home() / ".config/pip/pip.conf",
        "PIP_CACHE_DIR": Path.home() / ".cache/pip",
    }
    env = {name: str(path) for name, path in pip.items() if path.exists() and name not in os.environ}
    env["HOME"] = str(home)
    session.run("asv", "machine", "--yes", env=env, silent=True)
    started = time.time()
    session.run("asv", "run", "--show-stderr", *session.posargs, "HEAD", env=env)
    measured = count_measured(ROOT / ".asv/results", started)
    if not measured:
        session.error("no benchmark ran")
    session.log(f"{measured} figures measured; they are kept in .asv/results")


def count_measured(results: Path, since: float) -> int:
    """Return how many figures asv has measured since a time; what was skipped or failed is none."""
    count = 0
    for file in results.glob("*/*-*.json"):
        stored = json.loads(file.read_text())
        for values in stored["results"].values():
            row = dict(zip(stored["result_columns"], values, strict=False))
            if row.get("started_at", 0) >= 1000 * since:
                count += sum(value is not None and math.isfinite(value) for value in row["result"])
    return count


@nox.session
def lock(session: nox.Session) -> None:
    """Write requirements/reference.txt again: the newest versions, for every supported Python."""
    session.install("uv")
    groups = [f"--group={name}" for name in PROJECT["dependency-groups"]]
    plain = ["--no-emit-index-url", "--no-annotate", "--no-header"]
    everywhere = ["--universal", "--python-version=3.11", "--upgrade", "--all-extras", *groups]
    session.run("uv", "pip", "compile", "pyproject.toml", *everywhere, *plain, "--output-file", REFERENCE)


if __name__ == "__main__":
    nox.main()
