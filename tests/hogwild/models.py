"""What the formats of foreign files mean, parsed slowly, line by line and byte by byte."""

import itertools
import json
import math
import re
import struct

import numpy as np

NUMBER = re.compile(rb"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
MOST = 2**31 - 1


class Refused(Exception):
    """A file that must not be read."""


def require(condition):
    if not condition:
        raise Refused


def number(token, dtype="float64"):
    require(NUMBER.fullmatch(token))
    value = float(token)
    if dtype == "float32" and math.isfinite(value):
        with np.errstate(over="ignore"):
            value = float(np.float32(value))
    require(math.isfinite(value))
    return value


def whole(token, least, most):
    require(0 < len(token) < 20 and all(code in b"0123456789" for code in token))
    value = int(token)
    require(least <= value <= most)
    return value


def contents(text, comment=b""):
    """Return each line without its end, comment and blanks behind."""
    lines = text.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    for line in lines:
        if comment and comment in line:
            line = line[: line.index(comment)]
        yield line.removesuffix(b"\r").rstrip(b" \t")


def svmlight(text, n_features, dtype, zero_based="auto"):
    """Return (shape, starts, indices, values, labels)."""
    starts, indices, values, labels = [0], [], [], []
    for line in contents(text, b"#"):
        if not line:
            continue
        label, *pairs = (part for part in re.split(rb"[ \t]+", line))
        labels.append(number(label, dtype))
        before = -1
        for pair in pairs:
            index, colon, value = pair.partition(b":")
            require(colon)
            indices.append(whole(index, before + 1, MOST))
            values.append(number(value, dtype))
            before = indices[-1]
        starts.append(len(indices))
    require(labels)
    if zero_based == "auto":
        zero_based = 0 in indices
    if not zero_based:
        require(0 not in indices)
        indices = [index - 1 for index in indices]
    width = max(indices, default=0) + 1
    require(width <= (n_features or MOST))
    return (len(labels), n_features or width), starts, indices, values, labels


def table(text, separator, fields, comment=b""):
    """Return the lines of a table whose cells are text, each of one of some widths, all of the same."""
    rows = []
    for line in contents(text, comment):
        if line := line.strip(b" \t"):
            rows.append([cell.strip(b" \t") for cell in re.split(separator, line)])
            require(len(rows[-1]) in fields and len(rows[-1]) == len(rows[0]))
    return rows


def ratings(text, name):
    if name.endswith(".csv"):
        head, _, text = text.partition(b"\n")
        require(head.removesuffix(b"\r") in (b"userId,movieId,rating,timestamp", b"userId,movieId,rating"))
    rows = table(text, b"," if name.endswith(".csv") else b"::", (3, 4))
    require(rows)
    users, items = ([whole(row[side], 0, 2**53 - 1) for row in rows] for side in (0, 1))
    values = [[number(cell) for cell in row[2:]] for row in rows]
    names = sorted(set(users)), sorted(set(items))
    return (
        [names[0].index(user) for user in users],
        [names[1].index(item) for item in items],
        [v for v, *_ in values],
        *names,
    )


def edges(text, terminals):
    rows = table(text, rb"[ \t]*,[ \t]*|[ \t]+", (2, 3), b"#")
    require(rows)
    heads, tails = ([whole(row[side], 0, MOST - 1) for row in rows] for side in (0, 1))
    capacities = [number(row[2]) if len(row) == 3 else 1.0 for row in rows]
    require(min(capacities) >= 0 and all(u != v for u, v in zip(heads, tails, strict=True)))
    nodes = 1 + max(*heads, *tails)
    require(max(terminals) < nodes)
    return heads, tails, capacities, nodes


def dimacs(text):
    nodes = arcs = None
    ends, found = {}, []
    for line in contents(text):
        match [part for part in re.split(rb"[ \t]+", line) if part]:
            case [] | [b"c", *_]:
                pass
            case [b"p", b"max", many, count] if nodes is None:
                nodes, arcs = whole(many, 2, MOST), whole(count, 1, 2**63 - 1)
            case [b"n", node, (b"s" | b"t") as end] if end not in ends:
                ends[end] = whole(node, 1, nodes or 0) - 1
            case [b"a", source, target, capacity]:
                pair = whole(source, 1, nodes or 0) - 1, whole(target, 1, nodes or 0) - 1
                found.append((min(pair), max(pair), number(capacity)))
                require(found[-1][2] >= 0)
            case _:
                raise Refused
    require(len(ends) == 2 and ends[b"s"] != ends[b"t"] and len(found) == arcs)
    total = {}
    for low, high, capacity in found:
        if low != high:
            total[low, high] = total.get((low, high), 0.0) + capacity
    require(all(math.isfinite(capacity) for capacity in total.values()))
    kept = [(low, high, capacity) for (low, high), capacity in sorted(total.items()) if capacity > 0]
    require(kept)
    return *([edge[part] for edge in kept] for part in range(3)), nodes, [ends[b"s"], ends[b"t"]]


HEAD = re.compile(
    rb"\x93NUMPY\x01\x00(..)(\{'descr': '([^']*)', 'fortran_order': (?:True|False), "
    rb"'shape': \(([0-9]+),\), \} *\n)",
    re.DOTALL,
)


def array(raw, kind, size):
    head = HEAD.match(raw)
    require(head and struct.unpack("<H", head[1])[0] == len(head[2]))
    require(head[3] == np.dtype(kind).str.encode() and int(head[4]) == size)
    require(len(raw) == head.end() + size * np.dtype(kind).itemsize)
    return np.frombuffer(raw[head.end() :], kind).tolist()


def stored(files):
    """Return (shape, starts, indices, values, targets) of stored rows."""
    try:
        header = json.loads(files["rows.json"].decode())
        require(isinstance(header, dict) and header.get("format") == "hogwild rows")
        require(header.get("version") == 1)
        sizes = [header.get(name) for name in ("n_examples", "n_features", "nonzeros")]
        kind = header.get("dtype")
        require(all(type(size) is int for size in sizes) and kind in ("float32", "float64"))
    except (ValueError, RecursionError, KeyError):
        raise Refused from None
    examples, features, nonzeros = sizes
    require(examples >= 1 and 1 <= features <= MOST and nonzeros >= 0)
    starts = array(files["indptr.npy"], "<i4" if nonzeros <= MOST else "<i8", examples + 1)
    indices = array(files["indices.npy"], "<i4", nonzeros)
    values, targets = (
        array(files[f"{name}.npy"], kind, size)
        for name, size in (("values", nonzeros), ("targets", examples))
    )
    require(starts[0] == 0 and starts[-1] == nonzeros and starts == sorted(starts))
    return (examples, features), starts, indices, values, targets, kind


def canonical(shape, starts, indices, values, targets, kind="float64"):
    """Return rows, checked, each sorted, duplicates added up, zeros left out: what a problem is made of."""
    require(starts and len(starts) == shape[0] + 1 and starts[0] == 0 and starts == sorted(starts))
    require(starts[-1] <= len(indices) == len(values) and len(targets) == shape[0])
    require(all(type(index) is int and 0 <= index < shape[1] for index in indices[: starts[-1]]))
    require(all(math.isfinite(value) for value in [*values[: starts[-1]], *targets]))
    rows = []
    for first, last in itertools.pairwise(starts):
        row = {}
        for index, value in zip(indices[first:last], values[first:last], strict=True):
            row[index] = float(np.dtype(kind).type(row.get(index, 0.0) + value))
        rows.append(sorted((index, value) for index, value in row.items() if value))
    require(all(math.isfinite(value) for row in rows for _, value in row))
    return rows, targets
