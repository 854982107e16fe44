"""Options whose values are accepted do what they say: the numbers of trees, seeds and lengths that follow from them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from vbpi_mix.phylo.data.alignment import read_alignment
from vbpi_mix.phylo.run import load
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.files import read_tree_file
from vbpi_mix.phylo.trees.topology import enumerate_topologies, to_newick

# Of a file of twenty trees: eight have the first topology, six the second, and so on.
PLACES = [4] * 8 + [50] * 6 + [80] * 4 + [99] * 2
QUICK = ("--iterations", 1, "--init", "flat", "--threads", 1, "--answer-draws", 50, "--quiet")


@pytest.mark.parametrize(
    ("options", "trees", "topologies"),
    [
        ((), 20, [4, 50, 80, 99]),
        (("--burn-in", 9), 11, [50, 80, 99]),
        (("--burn-in", "0.25"), 15, [4, 50, 80, 99]),
        (("--hpd", 0.7), 14, [4, 50]),
        # Without the first four, 4, 6, 4 and 2 trees are left; the fewest topologies that have 13 of them have 14.
        (("--burn-in", 4, "--hpd", 0.8), 14, [4, 50, 80]),
    ],
)
def test_burn_in_and_hpd_say_which_trees_are_fitted(run, six, options, trees, topologies):
    taxa = read_alignment("six.nex").taxa
    listed = enumerate_topologies(6)
    (six / "twenty.nwk").write_text("".join(to_newick(listed[k], taxa) + "\n" for k in PLACES))
    outcome = run("fit", "six.nex", "--trees", "twenty.nwk", *QUICK[:-1], *options)
    assert outcome.status == 0, outcome.err
    assert f"; {trees} trees, {len(topologies)} topologies, " in outcome.err
    found, expected = load("six.vbpi").mixture.support, build_support(listed[topologies])
    for name in ("split_bits", "legs", "port_child"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_a_seed_of_eval_is_that_of_its_draws(run, six):
    assert run("fit", "six.nex", "--trees", "all.ufboot", *QUICK).status == 0
    found = {}
    for options, seed in (((), 1), (("--seed", 1), 1), (("--seed", 2), 2)):
        outcome = run("eval", "six.vbpi", "--importance-samples", 20, "--repeats", 3, "--threads", 1, "--quiet", *options)
        assert outcome.status == 0, outcome.err
        written = json.loads((six / "six.vbpi" / "summary.json").read_text())["marginal_log_likelihood"][:2]
        expected = load("six.vbpi").evaluate(20, 3, seed=seed, threads=1)
        assert [each["mean"] for each in written] == [expected.published.mean, expected.pooled.mean]
        found[options] = written
        assert f"(pooled): {expected.pooled.mean:.2f}, sd {expected.pooled.sd:.2f} over 3 x 20 samples" in outcome.out
    assert found[()] == found["--seed", 1] != found["--seed", 2]


def test_branch_lengths_of_a_simulation_have_the_mean_asked_for(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lengths = {}
    for name, options in (("usual", ()), ("short", ("--mean-length", 0.02)), ("other", ("--mean-length", 0.02, "--seed", 2))):
        assert run("simulate", "--taxa", 300, "--sites", 5, *options, "--out", f"{name}.nex").status == 0
        taxa = read_alignment(f"{name}.nex").taxa
        lengths[name] = read_tree_file(tmp_path / f"{name}.nwk", taxa).lengths[0]
        assert len(taxa) == 300
    # 597 exponential lengths: the mean is known to 4%.
    assert lengths["usual"].mean() == pytest.approx(0.1, rel=0.12)
    np.testing.assert_allclose(lengths["short"], 0.2 * lengths["usual"], rtol=1e-6)
    assert lengths["other"].mean() == pytest.approx(0.02, rel=0.12)
    assert not np.allclose(lengths["other"], lengths["short"])
