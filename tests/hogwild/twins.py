"""Slow, obvious NumPy twins of the compiled kernels."""

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from tests.hogwild.losses import FACTS


def permutation_twin(count, key):
    """The order of an epoch, with Python integers."""
    word = (1 << 64) - 1

    def mix(value):
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & word
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & word
        return value ^ (value >> 31)

    bits = max(7, (count - 1).bit_length())
    mask = (1 << bits) - 1
    order = []
    for position in range(count):
        value = position
        while True:
            round_key = key
            for _ in range(3):
                value = (value + (round_key & mask)) & mask
                value = (value * ((round_key >> 32) | 1)) & mask
                value ^= value >> ((bits + 1) // 2)
                round_key = mix((round_key + 0x9E3779B97F4A7C15) & word)
            if value < count:
                break
        order.append(value)
    return order


def slope_twin(name, margin, target):
    return FACTS[name].slope(margin, target)


def epoch_twin(name, X, y, l2, weights, order, rates, batch_size=1, threshold=0.0):
    """One epoch of SGD on a dense X, a mini-batch after the other; returns the new weights in float64."""
    X, weights = np.asarray(X, np.float64), np.array(weights, np.float64)
    degrees = (X != 0).sum(axis=0)
    for begin in range(0, len(order), batch_size):
        batch = order[begin : begin + batch_size]
        gradient = np.zeros_like(weights)
        for i in batch:
            support = X[i] != 0
            gradient += slope_twin(name, X[i] @ weights, y[i]) * X[i]
            gradient[support] += 2 * l2 * weights[support] / degrees[support]
        gradient /= len(batch)
        large = np.abs(gradient) > threshold
        weights[large] -= rates[begin] * gradient[large]
    return weights


def objective_twin(name, X, y, l2, weights):
    degrees = (X != 0).sum(axis=0)
    total = 0.0
    for row, target in zip(X, y, strict=True):
        support = row != 0
        total += (
            FACTS[name].value(row @ weights, target) + l2 * (weights[support] ** 2 / degrees[support]).sum()
        )
    return total / len(y)


def sparsity_twin(X):
    supports = [set(np.flatnonzero(row)) for row in X]
    omega = max(map(len, supports))
    delta = max((X != 0).mean(axis=0))
    met = [sum(bool(mine & other) for other in supports) / len(X) for mine in supports]
    return omega, delta, max(met), sum(met) / len(X)


def completion_twin(rows, columns, values, left, right, mu, order, rate):
    """One epoch of matrix completion; returns the new factors in float64."""
    left, right = np.array(left, np.float64), np.array(right, np.float64)
    for i in order:
        u, v = rows[i], columns[i]
        slope = 2 * (left[u] @ right[v] - values[i])
        old = left[u].copy()
        left[u] -= rate * (slope * right[v] + mu / (rows == u).sum() * left[u])
        right[v] -= rate * (slope * old + mu / (columns == v).sum() * right[v])
    return left, right


def simplex_twin(vector):
    """The nearest point of the simplex: by sorting (Held, Wolfe & Crowder 1974)."""
    ordered = np.sort(vector)[::-1]
    sums = np.cumsum(ordered) - 1
    last = np.flatnonzero(ordered - sums / np.arange(1, len(vector) + 1) > 0)[-1]
    return np.maximum(vector - sums[last] / (last + 1), 0)


def cut_twin(heads, tails, capacities, terminals, shares, order, rate):
    """One epoch of a graph cut; returns the new label shares in float64."""
    shares = np.array(shares, np.float64)
    for i in order:
        signs = np.sign(shares[heads[i]] - shares[tails[i]])
        for node, side in ((heads[i], -1), (tails[i], 1)):
            if node not in terminals and signs.any():
                shares[node] = simplex_twin(shares[node] + side * rate * capacities[i] * signs)
    return shares


def schedule_twin(rows, workers, batch_size, least):
    """The owner of each example of a stretch, in order, as ``~owner`` where a round begins.

    ``rows`` are the variables of each example; a round has at least so many updates for each worker.
    """
    if workers == 1:
        return [0] * len(rows)
    updates = [rows[at : at + batch_size] for at in range(0, len(rows), batch_size)]
    owners, alike, first, groups, costs = [], 0, 0, [], []
    while first < len(updates):
        for last in range(first + 1, len(updates) + 1):
            before = groups, costs
            groups = components_twin(updates[first:last])
            costs = [
                sum(1 + len(row) for member in group for row in updates[first + member]) for group in groups
            ]
            if last - first >= least * workers and max(costs) * workers > sum(costs):
                break
        if last - first > least * workers and max(costs) * workers > 1.25 * sum(costs):
            last, (groups, costs) = last - 1, before
        if max(costs) > 0.75 * sum(costs):
            alike = max(2 * alike, last - first)
            last = min(first + alike, len(updates))
            chosen = [0] * (last - first)
        else:
            alike, chosen, busy = 0, [0] * (last - first), [0] * workers
            for cost, group in sorted(
                zip(costs, groups, strict=True), key=lambda both: (-both[0], both[1][0])
            ):
                idlest = busy.index(min(busy))
                busy[idlest] += cost
                for member in group:
                    chosen[member] = idlest
        of_examples = [
            owner for owner, rows_of in zip(chosen, updates[first:last], strict=True) for _ in rows_of
        ]
        owners += [~of_examples[0], *of_examples[1:]]
        first = last
    return owners


def components_twin(updates):
    """The connected components of updates that share a variable, each ascending."""
    pairs = [(at, variable) for at, rows in enumerate(updates) for row in rows for variable in row]
    at, touched = np.array(pairs, int).reshape(-1, 2).T
    size = len(updates) + touched.max(initial=-1) + 1
    graph = sp.coo_array((np.ones(at.size), (at, len(updates) + touched)), shape=(size, size))
    labels = connected_components(graph, directed=False)[1][: len(updates)]
    return [np.flatnonzero(labels == label).tolist() for label in np.unique(labels)]
