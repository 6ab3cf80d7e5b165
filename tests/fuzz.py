"""Damaged files for every reader of foreign data: `nox -s fuzz -- [--inputs N] [--reader NAME] [--seed S]`.

An input is a sound case, made at random, with up to four damages. A reader has to do with it what a slow and
strict model does: give the same data, or refuse it with one of a few kinds of exceptions whose message names
the file. Time and memory are bounded: a call that takes too long, or more address space than is allowed, is a
failure. The files of an input lie in a folder that is named first and stays there if the process crashes.
"""

import argparse
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

Files = dict[str, bytes]

SECONDS = 10  # for one input of a few hundred bytes
ROOM = 2**31  # bytes of address space beyond those that the process has at first
TOKENS = [
    *b"nan -nan inf -inf Infinity 1e400 -1e400 1e39 1e-400 1_0 0x10 1e5 1. .5 -0 -1 +1 1d3 0 00 1 7".split(),
    *b"2147483646 2147483647 2147483648 4294967296 9007199254740992 9007199254740993 1e16".split(),
    *b"18446744073709551616 1000000000000 ' \" # : :: , ; c a p qid:1 0:1 1:1 { } [ ] null true".split(),
    *(b" ", b"\t", b"  ", b"\n", b"\n\n", b"\r\n", b"\r", b"\x0b", b"\x0c", b"\x1c", b"\0", b"\\", b"\xff"),
    *("\ufeff", "\u0661", "\uff11", "\xa0", "\u2003", "\u2028", "\x85", "\xb2"),
    *(b"9" * 400, b"0" * 5000 + b"1", b"[" * 3000, b"1:1 " * 700, b"a" * 9000),
]
TOKENS = [token.encode() if isinstance(token, str) else token for token in TOKENS]


class Reader(NamedTuple):
    """A reader, and how to try it."""

    sound: Callable[[random.Random], tuple[Files, dict[str, Any]]]  # files, and options of the call
    read: Callable[..., Any]  # (folder, **options): what it makes of the files
    model: Callable[..., Any]  # (files, **options): what it should, or `Refused`
    refused: type[Exception]  # what the model raises
    allowed: tuple[type[Exception], ...]
    named: bool = True  # whether messages name a file
    packed: Callable[[Files, dict[str, Any]], Files] = lambda files, options: files  # after the damage


def damaged(text: bytes, rng: random.Random) -> bytes:
    """Damage a file once."""
    first, last = sorted(rng.randrange(len(text) + 1) for _ in range(2))
    kind = rng.randrange(9)
    if kind == 0:
        return text[:first]
    if kind == 1:
        return text[:first] + text[last:]
    if kind == 2:
        return text[:last] + text[first:]
    if kind == 3 and text:
        place = rng.randrange(len(text))
        return text[:place] + bytes([rng.randrange(256)]) + text[place + 1 :]
    if kind == 4 and text:
        place = rng.randrange(len(text))
        return text[:place] + bytes([text[place] ^ 1 << rng.randrange(8)]) + text[place + 1 :]
    if kind == 5:
        lines = text.splitlines(keepends=True)
        rng.shuffle(lines)
        return b"".join(lines)
    if kind == 6:
        lines = text.split(b"\n")
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
        return b"\n".join(lines)
    token = rng.choice(TOKENS)
    if kind == 7:
        return text[:first] + token + text[first:]
    edges = [place for place, code in enumerate(text) if code in b" \t\n\r:,\"'[]{}="] or [0]
    place = rng.randrange(len(edges))
    end = edges[place + 1] if place + 1 < len(edges) else len(text)
    return text[: edges[place] + 1] + token + text[end:]


def case(reader: Reader, seed: int, number: int) -> tuple[Files, dict[str, Any]]:
    """Return one input: the same for the same reader, seed and number."""
    rng = random.Random((seed << 40) + number)
    files, options = reader.sound(rng)
    for _ in range(rng.randrange(5) if files else 0):
        name = rng.choice(list(files))
        files[name] = damaged(files[name], rng)
    return reader.packed(files, options), options


def failure(reader: Reader, folder: Path, files: Files, options: dict[str, Any]) -> str:
    """Try one input and return what is wrong, empty if nothing is."""
    for name, content in files.items():
        path = folder / name
        path.write_bytes(content)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        found = reader.read(folder, **options)
    except reader.allowed as error:
        found, message = None, str(error)
        # what a reader has opened and a problem then refuses is named by the argument
        if reader.named and not any(name in message for name in (*files, folder.name, "X ", "y ")):
            return f"no file named: {type(error).__name__}: {message[:200]}"
        if len(message) > 2_000:
            return f"a long message: {len(message)} characters: {message[:200]}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"raises {type(error).__name__}: {str(error)[:200]}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        expected = reader.model(files, **options)
    except reader.refused:
        expected = None
    if expected is ...:
        return ""
    if expected is None and found is not None:
        return f"accepts what it must refuse: {str(found)[:200]}"
    if found is None and expected is not None:
        return f"refuses what is sound: {message[:300]}"
    if repr(found) != repr(expected):
        return f"reads other data: {str(found)[:200]} instead of {str(expected)[:200]}"
    return ""


def late(number: int, frame: Any) -> None:
    raise TimeoutError(f"not done after {SECONDS} s")


def scratch() -> Path:
    """Make a folder for inputs, in memory where there is such a folder."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory if memory.is_dir() else None))


def attempt(
    reader: Reader, seed: int, numbers: range, folder: Path, most: int = 1
) -> tuple[int, Counter[str], dict[str, str]]:
    """Try inputs until so many failed: how many were read, failures by kind, and the first of each kind."""
    signal.signal(signal.SIGALRM, late)
    kinds: Counter[str] = Counter()
    examples: dict[str, str] = {}
    read = 0
    before: Files = {}
    for number in numbers:
        files, options = case(reader, seed, number)
        for name in before.keys() - files.keys():
            (folder / name).unlink()
        before = files
        read += not (wrong := failure(reader, folder, files, options))
        if wrong:
            kind = ":".join(wrong.split(":")[: 2 if wrong.startswith("no file") else 1])
            kinds[kind] += 1
            if kind not in examples:
                kept = folder.with_name(f"{folder.name}-input-{number}")
                shutil.copytree(folder, kept, dirs_exist_ok=True)
                examples[kind] = f"{wrong}\n    options {options}\n    files {kept}"
            if kinds.total() >= most:
                break
    return read, kinds, examples


def bound_memory() -> None:
    """Let this process have so much address space more than it has, and no more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def main() -> None:
    from tests.experiments.fuzzed import READERS as OF_RUNS
    from tests.hogwild.fuzzed import READERS as OF_DATA

    readers = {**OF_DATA, **OF_RUNS}
    parser = argparse.ArgumentParser(prog="nox -s fuzz --")
    parser.add_argument("--inputs", type=int, default=10_000, help="for each reader")
    parser.add_argument("--reader", choices=sorted(readers), action="append")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9)
    parser.add_argument("--first", type=int, default=0, help="the number of the first input")
    parser.add_argument("--failures", type=int, default=1, help="stop a reader after so many")
    options = parser.parse_args()
    numbers = range(options.first, options.first + options.inputs)
    failed = False
    for name in options.reader or readers:
        folder = scratch()
        print(f"{name}: seed {options.seed}, inputs in {folder}", flush=True)
        attempt(readers[name], options.seed, range(5), folder)  # compiles and imports
        bound_memory()
        began = time.perf_counter()
        _, kinds, examples = attempt(readers[name], options.seed, numbers, folder, options.failures)
        spent = time.perf_counter() - began
        tried = options.inputs if kinds.total() < options.failures else "up to the last failure"
        print(f"{name}: {tried} inputs in {spent:.0f} s, {kinds.total()} failures", flush=True)
        for kind, count in kinds.most_common():
            print(f"  {count} × {kind}\n    {examples[kind]}", flush=True)
        failed |= bool(kinds)
        shutil.rmtree(folder)
    sys.exit(failed)


if __name__ == "__main__":
    main()
