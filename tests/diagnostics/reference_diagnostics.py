"""Slow, obviously right twins: sets of taxa, dictionaries and plain loops."""

from __future__ import annotations

import math

from reference.topologies import clades_of_children


def tree_splits(children):
    """Internal splits of a topology, each as the set of taxa on the side without taxon 0."""
    n_taxa = len(children) + 2
    return frozenset(clades_of_children(children)[n_taxa:-1])


def split_frequencies(trees, weights):
    """{split: share of the weight of the trees that have it}."""
    found: dict[frozenset, float] = {}
    for children, weight in zip(trees, weights, strict=True):
        for split in tree_splits(children):
            found[split] = found.get(split, 0.0) + weight / math.fsum(weights)
    return found


def asdsf(frequencies, minimum):
    """Mean over splits of the sample standard deviation, from dictionaries of frequencies."""
    deviations = []
    for split in set().union(*frequencies):
        values = [each.get(split, 0.0) for each in frequencies]
        if max(values) >= minimum:
            mean = sum(values) / len(values)
            deviations.append(math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1)))
    return sum(deviations) / len(deviations)


def nni_neighbours(children):
    """Topologies one interchange away, as sets of splits: replace each internal split by the two others.

    Across an internal edge stand four clades. The edge joins two of them; there are two other ways.
    """
    own = tree_splits(children)
    n_taxa = len(children) + 2
    everyone = frozenset(range(n_taxa))
    below = clades_of_children(children)
    neighbours = []
    for k, (left, right) in enumerate(children[:-1]):
        split = below[n_taxa + k]
        above = next(row for row in children if n_taxa + k in row)
        sibling = below[above[0] + above[1] - n_taxa - k]
        for inner in (below[left], below[right]):
            joined = inner | sibling
            neighbours.append((own - {split}) | {joined if 0 not in joined else everyone - joined})
    return neighbours


def pareto_k(log_weights):
    """Pareto k-hat, by the formulas as they stand in the two papers, one number at a time."""
    largest = max(log_weights)
    weights = sorted(math.exp(w - largest) for w in log_weights)
    tail = math.ceil(min(len(weights) / 5, 3 * math.sqrt(len(weights))))
    cutoff = weights[len(weights) - tail - 1]
    x = [w - cutoff for w in weights[len(weights) - tail :] if w > cutoff]
    n = len(x)
    m = 30 + math.floor(math.sqrt(n))
    # In Zhang and Stephens k has the other sign: k(theta) = -mean log(1 - theta x).
    thetas, profiles = [], []
    for j in range(1, m + 1):
        theta = 1 / x[n - 1] + (1 - math.sqrt(m / (j - 0.5))) / (3 * x[math.floor(n / 4 + 0.5) - 1])
        k = -sum(math.log(1 - theta * value) for value in x) / n
        thetas.append(theta)
        profiles.append(n * (math.log(theta / k) + k - 1))
    shares = [1 / sum(math.exp(other - own) for other in profiles) for own in profiles]
    theta = sum(t * share for t, share in zip(thetas, shares, strict=True))
    k = -sum(math.log(1 - theta * value) for value in x) / n
    return (-k * n + 0.5 * 10) / (n + 10)
