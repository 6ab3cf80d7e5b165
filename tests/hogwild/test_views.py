"""Memory that is mapped a second time: the same cells, pieces in a row, nothing left mapped."""

import errno
import gc
import mmap
import sys
from pathlib import Path

import numpy as np
import pytest

from hogwild.sharing.views import joined, mappable
from hogwild.teams.memory import Shared

PAGE = mmap.PAGESIZE // 8
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone can do it")


def mappings() -> int:
    gc.collect()
    return len(Path("/proc/self/maps").read_text().splitlines())


def pages(count: int) -> np.ndarray:
    block = mappable(count * PAGE, np.float64)
    assert block.ctypes.data % mmap.PAGESIZE == 0
    return block


def test_what_is_written_through_one_view_is_seen_in_the_other() -> None:
    block = pages(4)
    block[:] = np.arange(block.size)
    first, last = block[3 * PAGE :], block[PAGE : PAGE + 5]
    whole = joined(first, last)
    assert whole.tolist() == [*first, *last]
    whole[[0, PAGE]], last[4] = (-1.0, -2.0), -3.0
    assert (first[0], last[0], whole[-1]) == (-1.0, -2.0, -3.0)


def test_a_worker_has_its_own_pages_and_the_others_with_everybody() -> None:
    block = pages(3)
    one, other = (joined(block[own * PAGE :][:PAGE], block[2 * PAGE :]) for own in (0, 1))
    one[0], one[PAGE] = 1.0, 2.0
    assert other[[0, PAGE]].tolist() == [0.0, 2.0]


def test_a_view_outlives_its_pieces_and_nothing_is_mapped_after_it() -> None:
    before = mappings()
    block = pages(2)
    part = joined(block[PAGE:], block[:PAGE])[PAGE:]
    block[0] = 7.0
    del block
    assert part[0] == 7.0
    assert mappings() > before
    del part
    assert mappings() == before


def test_whole_pages_begin_with_a_page_of_a_shared_block_and_keep_what_they_hold() -> None:
    given = mappable(2 * PAGE, np.float64)
    given[:] = np.arange(given.size)
    small, block = Shared((np.ones(3), given)).open()
    assert block.ctypes.data % mmap.PAGESIZE == 0
    assert (small.tolist(), block.tolist()) == ([1.0] * 3, given.tolist())
    joined(block[PAGE:], block[:PAGE])[PAGE] = -1.0
    assert block[0] == -1.0


def test_what_cannot_be_mapped_twice_is_an_error_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    block = pages(3)
    before = mappings()
    with pytest.raises(OSError, match="cannot be mapped a second time: Invalid argument") as found:
        joined(block[:PAGE], block[PAGE + 1 :])  # not from the start of a page on
    assert found.value.errno == errno.EINVAL
    del found
    assert mappings() == before
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(NotImplementedError, match="on Linux alone, and this is darwin"):
        joined(block)
