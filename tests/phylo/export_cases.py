"""Small runs whose taxa have names that files must quote, and readers of the files that exports leave."""

from __future__ import annotations

import csv

import dendropy
import numpy as np
from test_fit_exact import small_alignment

import vbpi_mix
from vbpi_mix.phylo.data.alignment import Alignment
from vbpi_mix.phylo.trees.sample import TreeSample
from vbpi_mix.phylo.trees.topology import enumerate_topologies

NAMES = ("Homo sapiens", "it's-a.b", "x[1](2)", "Größe_ä", 'q"t,u', "c:d;e")
PLAIN = ("Homo_sapiens", "A.b", "x1", "Pan", "t5", "t6")


def fitted(place, taxa=NAMES, sites=80, **choices):
    """Six taxa, whose posterior is spread over some topologies."""
    alignment = Alignment(taxa, small_alignment(6, sites).states)
    topologies = enumerate_topologies(6)
    weights = np.full(105, 1 / 105)
    sample = TreeSample(taxa, topologies, weights, np.arange(105), weights, None, ())
    usual = {"iterations": 200, "answer_draws": 8_000}
    return vbpi_mix.fit(
        alignment, sample, components=2, sampled=1, seed=2, threads=1, out=place, force=True, **{**usual, **choices}
    )


def read_trees(path, schema="nexus", **choices):
    """By DendroPy, names as they are."""
    given = {"preserve_underscores": True} if schema != "nexml" else {}
    return dendropy.TreeList.get(path=str(path), schema=schema, **given, **choices)


def names_of(tree):
    """Of the leaves."""
    return {leaf.taxon.label for leaf in tree.leaf_node_iter()}


def rows_of(path):
    """Of a CSV file, as mappings."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def trace_of(path):
    """Names of columns, and values float64 [N, k]."""
    head, *rows = [line for line in path.read_text(encoding="utf-8").splitlines() if line[0] not in "#["]
    return head.split("\t"), np.array([[float(word) for word in line.split("\t")] for line in rows])


def splits_of(tree):
    """Members of each inner edge's side without the first name, and its node."""
    everything = names_of(tree)
    found = {}
    for node in tree.preorder_node_iter():
        below = frozenset(leaf.taxon.label for leaf in node.leaf_iter())
        side = below if min(everything) not in below else frozenset(everything - below)
        if 1 < len(side) < len(everything) - 1:
            found[side] = node
    return found


def side_of(members, taxa):
    """The side without the first name."""
    members = frozenset(members)
    return members if min(taxa) not in members else frozenset(taxa) - members
