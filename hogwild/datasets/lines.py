"""Lines of text from untrusted files: read in blocks, refused by file, line and column."""

import bz2
import gzip
import itertools
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hogwild import checks

WHOLE = rb"[0-9]{1,19}"
NUMBER = rb"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
LARGEST = 2**53 - 1  # beyond, float64 does not tell integers apart
_LONGEST = 1 << 26  # bytes of a line
_BLOCK = 1 << 24  # bytes read at a time
_SHOWN = 60  # characters of a line in a message


class Source(NamedTuple):
    """A file of lines: the argument that named it, and what each line must be."""

    argument: str
    file: Path
    form: str

    def refusal(self, number: int, line: bytes, place: int = 0, why: str = "") -> ValueError:
        """Return the error that names a line and the place in it, counted from 0."""
        first = max(0, place - _SHOWN // 2) if len(line) > _SHOWN else 0
        part = line[first : first + _SHOWN].rstrip(b"\r\n").decode("utf-8", "backslashreplace")
        shown = "…" * (first > 0) + part + "…" * (first + _SHOWN < len(line))
        return ValueError(
            f"{self.argument} is {str(self.file)!r}; line {number} is {shown!r}, which must be {self.form}"
            f" (column {place + 1}{why and ': '}{why})"
        )


class Block(NamedTuple):
    """Whole lines: a line feed, then each line with its own."""

    source: Source
    number: int  # of the first line
    text: bytes

    def refusal(self, at: int, why: str = "") -> ValueError:
        """Return the error that names the line and the column of a place in the text."""
        start = self.text.rfind(b"\n", 0, max(at, 1)) + 1
        number = self.number + self.text.count(b"\n", 1, start)
        return self.source.refusal(number, self.text[start : self.text.find(b"\n", start)], at - start, why)

    def field(self, number: int, between: bytes = rb"[^\s:,]+") -> int:
        """Return where a field begins: the first has the number 0."""
        return next(itertools.islice(re.finditer(between, self.text), number, None)).start()

    def numbers(self, marks: bytes) -> np.ndarray:
        """Return all numbers, in order: between them are blanks and these marks."""
        text = self.text.translate(bytes.maketrans(marks, b" " * len(marks)))
        # of blanks alone NumPy makes a number, -1
        return np.zeros(0) if text.isspace() else np.fromstring(text, np.float64, sep=" ")


def existing(argument: str, path: str | os.PathLike[str], content: str) -> Path:
    """Return the path of a file that is there."""
    file = checks.path(argument, path)
    if not file.is_file():
        raise FileNotFoundError(f"{argument} is {str(path)!r}; it must be a file of {content}")
    return file


def blocks(source: Source, comment: bytes = b"", size: int = _BLOCK) -> Iterator[Block]:
    """Return the lines of a file (plain, ``.gz`` or ``.bz2``), about so many bytes of text at a time.

    Raises
    ------
    ValueError
        If a line is longer than 64 MiB, or if a compressed file is damaged.
    """
    number = 1
    opener: Any = {".gz": gzip.open, ".bz2": bz2.open}.get(source.file.suffix, open)
    with opener(source.file, "rb") as stream:
        while True:
            try:
                text = stream.read(size)
                text += stream.readline(_LONGEST + 1)
            except (OSError, EOFError, zlib.error) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                raise ValueError(
                    f"{source.argument} is {str(source.file)!r}; after line {number - 1} it cannot be "
                    f"decompressed: {error}"
                ) from None
            if not text:
                return
            if len(text) - text.rfind(b"\n", 0, -1) > _LONGEST:
                last = number + text.count(b"\n", 0, -1)
                start = text.rfind(b"\n", 0, -1) + 1
                raise source.refusal(last, text[start : start + 2 * _SHOWN], 0, "longer than 64 MiB")
            if not text.endswith(b"\n"):
                text += b"\n"
            count = text.count(b"\n")
            if comment and comment in text:
                text = re.sub(re.escape(comment) + rb"[^\n]*", b"", text)
            yield Block(source, number, b"\n" + text)
            number += count


class Table(NamedTuple):
    """How the lines of a table look: two whole numbers, then numbers, separated by a mark."""

    mark: bytes  # a pattern
    marks: bytes  # the characters of marks
    widths: tuple[int, int]  # the fewest and the most numbers in a line
    largest: int = LARGEST
    comment: bytes = b""
    header: bytes = b""  # a pattern of the first line; empty for none

    def cells(self, width: int) -> list[bytes]:
        """Return the patterns of a line's numbers and the marks between them."""
        return [WHOLE, self.mark, WHOLE, *[self.mark, NUMBER] * (width - 2)]

    def wrong(self, width: int) -> re.Pattern[bytes]:
        """Return the pattern of a line feed with a line behind it that is not of this form."""
        line = b"".join(self.cells(width))
        return re.compile(rb"\n(?!\Z|[ \t]*+(?:" + line + rb"[ \t]*+)?\r?\n)")


def read_table(
    source: Source, table: Table, refused: Callable[[np.ndarray], np.ndarray] | None = None
) -> np.ndarray:
    """Read lines of two non-negative integers, and one or more numbers.

    Parameters
    ----------
    source : Source
    table : Table
    refused : callable, optional
        Says of rows which of their cells are not allowed, beyond integers and finite numbers.

    Returns
    -------
    ndarray of float64, shape (n_lines, n_numbers)

    Raises
    ------
    ValueError
        If there is no line, or one is not of this form, with the first such line, its number and a column.
    """
    found: list[np.ndarray] = []
    wrong, width = None, 0
    for block in blocks(source, table.comment):
        if table.header and block.number == 1:
            head = re.compile(rb"\n" + table.header + rb"\r?\n").match(block.text)
            if head is None:
                raise block.refusal(1)
            block = block._replace(number=2, text=block.text[head.end() - 1 :])
        if wrong is None:
            first = re.search(rb"[^\s][^\n]*", block.text)
            if first is None:
                continue
            width = next((width for width in table.widths if _fits(table, width, first[0])), table.widths[0])
            wrong = table.wrong(width)
        if bad := wrong.search(block.text):
            raise block.refusal(_misfit(table, width, block.text, bad.start() + 1))
        rows = block.numbers(table.marks).reshape(-1, width)
        bad_cells = ~np.isfinite(rows)
        bad_cells[:, :2] |= rows[:, :2] > table.largest
        if refused is not None:
            bad_cells |= refused(rows)
        if bad_cells.any():
            raise block.refusal(block.field(int(np.argmax(bad_cells.ravel())), rb"[0-9.eE+-]+"))
        found.append(rows)
    if not sum(map(len, found)):
        raise ValueError(f"{source.argument} is {str(source.file)!r}; the file has no lines of {source.form}")
    return np.concatenate(found)


def _fits(table: Table, width: int, line: bytes) -> bool:
    return table.wrong(width).match(b"\n" + line.rstrip() + b"\n") is None


def _misfit(table: Table, width: int, text: bytes, at: int) -> int:
    """Return where a line stops being of the form."""
    for cell in (rb"[ \t]*", *table.cells(width)):
        if (whole := re.compile(cell).match(text, at)) is None:
            return at
        at = whole.end()
    return at
