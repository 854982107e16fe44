"""A slow, obviously right twin of the subsplit support and of SBN probabilities: frozensets, and every rooting in turn."""

from __future__ import annotations

import math


def clades_below(children):
    """Clade of every node of one tree, as frozensets; children [n-2, 2]."""
    n = len(children) + 2
    clades = [frozenset([k]) for k in range(n)]
    for a, b in children:
        clades.append(clades[int(a)] | clades[int(b)])
    return clades


def neighbours(children):
    """Adjacency of the unrooted tree: node -> its neighbours; taxon 0 hangs from the last node."""
    n = len(children) + 2
    graph = {v: [] for v in range(2 * n - 2)}
    for k, pair in enumerate(children):
        for child in pair:
            graph[n + k].append(int(child))
            graph[int(child)].append(n + k)
    graph[0].append(2 * n - 3)
    graph[2 * n - 3].append(0)
    return graph


def rootings(children):
    """For each of the 2n-3 rootings: its rootsplit, and its PCSPs as (sister clade, divided clade, child clades)."""
    n = len(children) + 2
    graph = neighbours(children)

    def taxa(node, parent):
        if node < n:
            return frozenset([node])
        return frozenset().union(*(taxa(x, node) for x in graph[node] if x != parent))

    def pcsps(node, parent, sister):
        if node < n:
            return []
        below = [x for x in graph[node] if x != parent]
        first, second = (taxa(x, node) for x in below)
        found = [(sister, first | second, frozenset([first, second]))]
        return found + pcsps(below[0], node, second) + pcsps(below[1], node, first)

    for v in range(2 * n - 2):
        for w in graph[v]:
            if v < w:
                left, right = taxa(v, w), taxa(w, v)
                yield frozenset([left, right]), pcsps(v, w, right) + pcsps(w, v, left)


def support(topologies):
    """All rootsplits, and all PCSPs, of all rootings of all topologies."""
    rootsplits, pcsps = set(), set()
    for children in topologies:
        for rootsplit, used in rootings(children):
            rootsplits.add(rootsplit)
            pcsps.update(used)
    return rootsplits, pcsps


def log_probability(children, root_logits, pcsp_logits):
    """log q(tau) from logits keyed by rootsplit and by PCSP: softmax per parent, sum over rootings."""
    normaliser = math.log(sum(math.exp(x) for x in root_logits.values()))
    parents = {}
    for (sister, divided, _), logit in pcsp_logits.items():
        parents[sister, divided] = parents.get((sister, divided), 0.0) + math.exp(logit)
    total = 0.0
    for rootsplit, used in rootings(children):
        if rootsplit not in root_logits or any(pcsp not in pcsp_logits for pcsp in used):
            continue
        log_p = root_logits[rootsplit] - normaliser
        for sister, divided, halves in used:
            log_p += pcsp_logits[sister, divided, halves] - math.log(parents[sister, divided])
        total += math.exp(log_p)
    return math.log(total) if total > 0 else -math.inf


def simple_average(topologies, weights):
    """How often each rootsplit and each PCSP is used, every rooting of a topology alike."""
    even = [[1.0 / (2 * len(children) + 1)] * (2 * len(children) + 1) for children in topologies]
    return _counts(topologies, weights, even)


def em_step(topologies, weights, counts, pseudo_count):
    """Mean log-likelihood of weighted topologies under the network of these counts, each with a pseudo-count more; log q of
    each topology; and the counts expected of it.
    """
    roots, pcsps = ({key: count + pseudo_count for key, count in part.items()} for part in counts)
    all_roots, parents = sum(roots.values()), {}
    for pcsp, count in pcsps.items():
        parents[pcsp[:2]] = parents.get(pcsp[:2], 0.0) + count
    log_q, posteriors = [], []
    for children in topologies:
        joint = []
        for rootsplit, used in rootings(children):
            p = roots[rootsplit] / all_roots
            for pcsp in used:
                p *= pcsps[pcsp] / parents[pcsp[:2]]
            joint.append(p)
        log_q.append(math.log(sum(joint)))
        posteriors.append([p / sum(joint) for p in joint])
    fit = sum(w * x for w, x in zip(weights, log_q, strict=True)) / sum(weights)
    return fit, log_q, _counts(topologies, weights, posteriors)


def _counts(topologies, weights, posteriors):
    roots, pcsps = {}, {}
    for children, weight, posterior in zip(topologies, weights, posteriors, strict=True):
        for (rootsplit, used), share in zip(rootings(children), posterior, strict=True):
            roots[rootsplit] = roots.get(rootsplit, 0.0) + weight * share
            for pcsp in used:
                pcsps[pcsp] = pcsps.get(pcsp, 0.0) + weight * share
    return roots, pcsps
