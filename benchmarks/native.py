"""What the loops in C++ beside ours have in common: how they are compiled."""

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

FLAGS = ("-O3", "-march=native", "-std=c++17", "-pthread", "-shared", "-fPIC")


def compiler() -> str | None:
    """Return the C++ compiler, None where there is none."""
    return shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")


@functools.cache
def library(source: Path) -> ctypes.CDLL:
    """Compile a file and return its functions."""
    found = compiler()
    if found is None:
        raise NotImplementedError("there is no C++ compiler")
    folder = Path(tempfile.mkdtemp())
    try:
        target = folder / f"{source.stem}.so"
        subprocess.run([found, *FLAGS, str(source), "-o", str(target)], check=True, capture_output=True)
        return ctypes.CDLL(str(target))
    finally:
        shutil.rmtree(folder)
