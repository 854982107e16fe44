"""Whatever is shared out has the same digits on 1, 2 and 4 processes: likelihoods, chains, fits, evaluations."""

from __future__ import annotations

import numpy as np
import pytest
from loopback import of_size

from vbpi_mix import followers
from vbpi_mix.followers import Followers
from vbpi_mix.messages import Message, decode, encode
from vbpi_mix.phylo.config import FitConfig
from vbpi_mix.phylo.data.alignment import write_nexus
from vbpi_mix.phylo.fit import fit
from vbpi_mix.phylo.inputs import read_fitted
from vbpi_mix.phylo.models.joint import JointPosterior
from vbpi_mix.phylo.models.simulate import simulate_alignment
from vbpi_mix.phylo.sampling.sampler import McmcOptions, sample_trees
from vbpi_mix.phylo.trees.topology import enumerate_topologies, random_topologies, to_newick

TIMES = ("seconds", "seconds_per_iteration", "setup_seconds", "answer_seconds", "iterations_by_threads", "commands")
SIZES = (1, 2, 4)


@pytest.fixture(scope="module")
def alignment():
    return simulate_alignment(6, 60, seed=3)[0]


@pytest.mark.parametrize(
    "arrays",
    [(), (np.zeros((0, 3)),), (np.arange(6, dtype=np.int32).reshape(2, 3), np.array([np.nan, -np.inf]), np.ones(2, bool))],
)
@pytest.mark.parametrize("facts", [{}, {"share": 0.1 + 0.2, "long": "x" * 5_000, "none": None}])
def test_messages_arrive_as_they_were(facts, arrays):
    found = decode(encode(Message("word", facts, arrays)))
    assert (found.word, found.facts) == ("word", facts)
    for sent, received in zip(arrays, found.arrays, strict=True):
        assert (received.dtype, received.shape) == (sent.dtype, sent.shape)
        assert received.tobytes() == sent.tobytes()


@pytest.mark.parametrize("total", [1, 3, 10])
def test_shares_are_a_partition_in_order(total):
    shares = Followers(None, 4).shares(total)
    rows = np.arange(total)
    assert np.concatenate([rows[share] for share in shares]).tolist() == rows.tolist()
    sizes = [share.stop - share.start for share in shares]
    assert max(sizes) - min(sizes) <= 1


def points(posterior, count):
    """Trees, lengths and parameters at random."""
    rng = np.random.default_rng(7)
    children = random_topologies(6, count, rng)
    return children, rng.normal(-3.0, 1.0, (count, 9)), rng.normal(0.0, 0.3, (count, posterior.n_parameters))


def values_of(posterior, count):
    """All that a posterior is asked, with parameters and with them held."""
    children, x, theta = points(posterior, count)
    held = posterior.at(theta[0] if theta.size else None)
    found = [held.log_joint(children, x), held.log_joint_slopes(children, x)]
    if isinstance(posterior, JointPosterior):
        found += posterior.joint_slopes(children, x, theta)
        found += [posterior.length_slopes(children, x, theta), posterior.characters.log_likelihoods(children, np.exp(x), theta)]
    return found


@pytest.mark.parametrize("model", ["JC69", "GTR+I+G4", "HKY{2}+F{0.3,0.2,0.2,0.3}"])
@pytest.mark.parametrize("count", [1, 3, 10])
def test_likelihoods_do_not_depend_on_who_evaluates_them(alignment, monkeypatch, model, count):
    found = []
    for size in SIZES:
        with of_size(size, monkeypatch) as words:
            posterior = read_fitted(alignment, FitConfig.of(substitution=model), print)[1].posterior
            found.append(values_of(posterior, count))
        assert ("likelihoods" in words) == (size > 1 and count > 1)
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            assert one.tobytes() == same.tobytes()


def test_little_work_is_not_worth_a_message(alignment, monkeypatch):
    with of_size(2, monkeypatch, least_work=1e6) as words:
        posterior = read_fitted(alignment, FitConfig(), print)[1].posterior
        values_of(posterior, 3)
        assert set(words) == {"posterior"}
        monkeypatch.setattr(followers, "CALL_SECONDS", 0.0)
        values_of(posterior, 3)
        assert set(words) == {"posterior", "here"}
        values_of(posterior, 10_000)
    assert "likelihoods" in words


@pytest.mark.parametrize("options", [{"runs": 3, "climb": False}, {"runs": 2, "climb": True}, {"runs": 1}])
def test_chains_do_not_depend_on_who_advances_them(alignment, monkeypatch, options):
    found = []
    for size in SIZES:
        with of_size(size, monkeypatch) as words:
            target = read_fitted(alignment, FitConfig(), print)[1].posterior
            chosen = McmcOptions(generations=2_000, seed=5, keep=200, threads=1, **options)
            found.append(sample_trees(target, alignment.taxa, chosen))
        assert ("advance" in words) == (size > 1 and options["runs"] > 1)
    first = found[0]
    for other in found[1:]:
        assert other.acceptance == first.acceptance
        assert [row[1:] for row in other.trace] == [row[1:] for row in first.trace]
        for name in ("children", "weights", "tree_topology", "tree_weights", "lengths"):
            assert np.array_equal(getattr(other.sample, name), getattr(first.sample, name)), name


def learned(folder):
    """All that a run says, but for times."""
    rows = [line.split(",") for line in (folder / "trace.csv").read_text().splitlines()]
    texts = [(folder / name).read_text() for name in ("splits.csv", "topologies.trprobs", "consensus.nwk")]
    return [(row[0], *row[2:]) for row in rows], texts


@pytest.mark.parametrize(("model", "start"), [("JC69", "warm"), ("HKY+G4", "em")])
def test_a_fit_and_its_evaluation_have_the_same_digits(tmp_path, alignment, monkeypatch, model, start):
    monkeypatch.chdir(tmp_path)
    write_nexus(alignment, tmp_path / "six.nex")
    trees = [to_newick(tree, alignment.taxa) for tree in enumerate_topologies(6)[:20]]
    (tmp_path / "six.nwk").write_text(";\n".join(tree.rstrip(";") for tree in trees) + ";\n")
    choices = {"components": 2, "iterations": 20, "answer_draws": 200, "support": "fixed", "init": start, "seed": 2, "threads": 1}
    found = []
    for size in SIZES:
        with of_size(size, monkeypatch) as words:
            run = fit("six.nex", "six.nwk", out=f"on-{size}.vbpi", substitution=model, **choices)
            run.evaluate(20, 2, threads=1)
        assert ("likelihoods" in words) == (size > 1)
        summary = {name: value for name, value in run.summary.items() if name not in TIMES}
        summary["evaluation"].pop("seconds")
        found.append((*learned(run.path), summary))
    assert len(found[0][0]) > 1
    assert found[1] == found[0]
    assert found[2] == found[0]
