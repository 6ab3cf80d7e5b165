"""What a run might leave behind in this process and around it; its workers, seen from outside."""

import gc
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psutil

PATIENCE = 20.0  # seconds for what is ending to have ended


def workers(parent=None):
    """Return the worker processes of a process, by default this one: children of its fork servers."""
    found = []
    for server in psutil.Process(parent).children():
        try:
            if "multiprocessing.forkserver" in " ".join(server.cmdline()):
                found += server.children()
        except psutil.NoSuchProcess:
            continue
    return found


def await_workers(count=1, patience=PATIENCE):
    """Wait until there are so many worker processes, and return them."""
    until = time.monotonic() + patience
    while len(found := workers()) < count and time.monotonic() < until:
        time.sleep(0.0005)
    return found


def shared_memory(pid):
    """Return a process's names in shared memory: semaphores, as joblib has multiprocessing name them."""
    names = os.listdir("/dev/shm") if os.path.isdir("/dev/shm") else []
    return {name for name in names if f"-{pid}-" in name}


def footprint():
    """Return everything of which a run must leave as much as it found."""
    kinds = Counter()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            kinds[os.readlink(f"/proc/self/fd/{descriptor}").partition(":")[0]] += 1
        except OSError:
            continue  # that of the listing itself
    return {
        "threads": threading.active_count(),
        "descriptors": dict(kinds),
        "mapped": Path("/proc/self/maps").read_text().count("memfd:hogwild"),
        "workers": len(workers()),
        "children": len(psutil.Process().children()),
        "shared memory": shared_memory(os.getpid()),
        "collector": gc.isenabled(),
        "main module": {id(sys.modules["__main__"])},
        "cores": {str(os.sched_getaffinity(0))},
    }


def more(before, now):
    """Return whether something is there that was not; of earlier runs, something may just have gone."""
    if isinstance(now, dict):
        return any(count > before.get(kind, 0) for kind, count in now.items())
    if isinstance(now, set):
        return not now <= before
    return now is not before if isinstance(now, bool) else now > before


def left_behind(before, patience=PATIENCE):
    """Wait for everything to be as before; return what is not."""
    until = time.monotonic() + patience
    while True:
        now = footprint()
        different = {name: (before[name], now[name]) for name in before if more(before[name], now[name])}
        if not different or time.monotonic() > until:
            return different
        gc.collect()
        time.sleep(0.01)
