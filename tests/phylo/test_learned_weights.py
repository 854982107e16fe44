"""Mixtures of trees whose weights are learned: steps, draws, probabilities and answers, each against the components by hand."""

import math

import numpy as np
import pytest
import torch
from reference import jukes_cantor
from test_fit_exact import small_alignment

import vbpi_mix
from vbpi_mix.errors import CheckpointError, ConfigError, RunDirectoryError
from vbpi_mix.estimators import (
    Estimator,
    StepWeights,
    direct_vimco_objective,
    draw_components,
    inclusion_probabilities,
    log_importance_weights,
    outer_weights,
    vimco_objective,
)
from vbpi_mix.evaluation import evaluate
from vbpi_mix.gradients import RowGradient
from vbpi_mix.phylo.assess.comparison import of_mixture
from vbpi_mix.phylo.branches.base import make_base
from vbpi_mix.phylo.config import ModelConfig
from vbpi_mix.phylo.data.site_patterns import SitePatterns, compress
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.pages import weights_in_words
from vbpi_mix.phylo.report.answer import own_answer
from vbpi_mix.phylo.report.pooled_certainty import pooled_certainty
from vbpi_mix.phylo.results import posterior_trees
from vbpi_mix.phylo.sbn.averages import in_proportion, log_average
from vbpi_mix.phylo.sbn.most_probable import every_topology, most_probable_topology
from vbpi_mix.phylo.sbn.splits import split_frequencies, unite
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.sample import TreeSample
from vbpi_mix.phylo.trees.topology import canonicalise, enumerate_topologies, unique_topologies
from vbpi_mix.training.adam import make_adam
from vbpi_mix.training.mixture_problem import MixtureProblem
from vbpi_mix_cli.fit_screen import screen

TOPOLOGIES = enumerate_topologies(5)
SUPPORT = build_support(TOPOLOGIES)
WEIGHTS = (0.62, 0.05, 0.33)


def make_mixture(weights=WEIGHTS, side_by_side=None):
    """Components that differ, of five taxa, with these weights."""
    rng = np.random.default_rng(3)
    mixture = PhyloMixture(
        SUPPORT, len(weights), generator=torch.Generator().manual_seed(1), base=make_base("gamma"),
        logits=2.0 * rng.normal(size=(len(weights), SUPPORT.n_params)), side_by_side=side_by_side, learn_weights=True,
    )  # fmt: skip
    with torch.no_grad():
        # Logits are determined but for a constant.
        mixture.log_weights.copy_(torch.tensor(weights, dtype=torch.float64).log() + 0.7)
        mixture.features.copy_(torch.from_numpy(0.5 * rng.normal(size=mixture.features.shape)))
    return mixture


def exact(mixture, weights=WEIGHTS):
    """Probabilities of the 15 topologies under the mixture, component by component."""
    of_components = np.exp(mixture.log_topology_probability(SUPPORT.encode(TOPOLOGIES)))
    return sum(weight * of_components[:, a] for a, weight in enumerate(weights))


def target(sites=12):
    states = np.random.default_rng(4).choice(np.array([1, 2, 4, 8], np.uint8), (5, sites))
    return Posterior(SitePatterns(states, np.ones(sites)))


@pytest.mark.parametrize("beta", [1.0, 0.3])
@pytest.mark.parametrize(("layout", "count"), [(None, 3), (torch.float64, 9)])
@pytest.mark.parametrize(("estimator", "sampled"), [("a2a", None), ("s2a", 1), ("s2a", 2), ("s2s", 2)])
def test_a_step_is_that_of_the_graph(estimator, sampled, layout, count, beta):
    """The same bound, and the same gradients as torch finds through the densities, the draws and what components count."""
    rng = np.random.default_rng(5)
    mixture, posterior = make_mixture(tuple(rng.dirichlet(np.ones(count))), layout), target()
    kind, logits = Estimator.parse(estimator), mixture.log_weights
    inclusion = None if sampled is None else inclusion_probabilities(torch.softmax(logits.detach(), 0), sampled)
    draw = draw_components(kind, count, sampled, torch.Generator().manual_seed(2), (), inclusion)

    draws = mixture.sample(draw, 4, torch.Generator().manual_seed(3))
    densities = posterior.log_likelihood(draws), posterior.log_prior(draws), draws.log_q
    log_w = log_importance_weights(*densities, beta=beta, log_weights=logits[draw.evaluated])
    expected = vimco_objective(log_w, draws.log_q_score, outer_weights(kind, draw, logits, inclusion))
    expected.backward()

    with torch.no_grad():
        draws = mixture.sample(draw, 4, torch.Generator().manual_seed(3))
    step = StepWeights.of(kind, draw, logits, inclusion, None)
    objective = direct_vimco_objective(posterior, mixture, draws, beta, step)
    assert objective.bound.item() == pytest.approx(expected.bound.item(), abs=1e-12)
    counts = outer_weights(kind, draw, logits.detach(), inclusion).numpy()[:, None]
    w = counts * np.exp(log_w.detach().numpy())
    mean = (counts * log_w.detach().numpy()).sum() / (4 * counts.sum())
    assert objective.signs == pytest.approx((mean, math.log(w.sum() ** 2 / (w**2).sum() / w.size)), rel=1e-9)
    found = objective.backward()
    assert logits in found
    again = objective.backward()
    assert torch.equal(again[logits], found[logits])
    for leaf, gradient in found.items():
        dense = gradient.dense(leaf) if isinstance(gradient, RowGradient) else gradient
        assert float(leaf.grad.abs().max()) > 1e-6
        torch.testing.assert_close(dense, leaf.grad, rtol=1e-9, atol=1e-9)


def test_averages_of_logarithms_by_hand():
    values = np.array([[0.2, 0.4, 0.9], [0.0, 0.0, 0.3], [0.0, 0.0, 0.0]])
    with np.errstate(divide="ignore"):
        log_values = np.log(values)
        np.testing.assert_allclose(log_average(log_values, None), np.log([0.5, 0.1, 0.0]))
        np.testing.assert_allclose(log_average(log_values, np.log([0.5, 0.3, 0.2])), np.log([0.4, 0.06, 0.0]))


def test_components_are_drawn_in_proportion():
    log_weights = np.log(WEIGHTS)
    counts = [np.bincount(in_proportion(log_weights, 10, start), minlength=3) for start in (np.arange(1000) + 0.5) / 1000]
    np.testing.assert_allclose(np.mean(counts, axis=0), 10 * np.array(WEIGHTS), atol=1e-9)
    assert (np.abs(counts - 10 * np.array(WEIGHTS)) < 1).all()


def test_probabilities_of_topologies_splits_and_the_best_are_those_of_the_weighted_mixture():
    mixture = make_mixture()
    p = exact(mixture)
    logits, log_shares = mixture.logits.detach().numpy(), mixture.log_shares
    np.testing.assert_allclose(mixture.shares, WEIGHTS, rtol=1e-12)
    np.testing.assert_allclose(np.exp(mixture.log_probability(SUPPORT.encode(TOPOLOGIES))), p, rtol=1e-12)
    children, found = every_topology(SUPPORT, logits, 100_000, log_shares)
    _, number = unique_topologies(np.concatenate([TOPOLOGIES, children]))
    np.testing.assert_allclose(found, p[number[15:]], rtol=1e-12)
    best = most_probable_topology(SUPPORT, logits, log_weights=log_shares)
    assert best.proven
    assert best.probability == pytest.approx(p.max(), rel=1e-12)
    assert (best.children == TOPOLOGIES[p.argmax()]).all() or best.probability == pytest.approx(np.sort(p)[-2], rel=1e-9)
    uniform = most_probable_topology(SUPPORT, logits)
    assert uniform.probability == pytest.approx(exact(mixture, (1 / 3,) * 3).max(), rel=1e-12)


def test_the_own_answer_and_its_draws_are_of_the_weighted_mixture():
    mixture = make_mixture()
    p = exact(mixture)
    trees = posterior_trees(mixture, torch.Generator().manual_seed(7), 20_000)
    answer = own_answer(mixture, trees)
    assert answer.draws == 20_000
    table = unite(split_frequencies(TOPOLOGIES, p), answer.frequencies())
    np.testing.assert_allclose(*table.frequencies, rtol=1e-12)
    _, number = unique_topologies(np.concatenate([TOPOLOGIES, answer.children]))
    np.testing.assert_allclose(answer.topologies.probabilities, p[number[15:]], rtol=1e-12)
    # How often topologies were drawn, which no weight corrects.
    of_draws = unique_topologies(np.concatenate([TOPOLOGIES, canonicalise(trees.children)[0]]))[1][15:]
    shares = np.bincount(of_draws, minlength=15) / 20_000
    assert (np.abs(shares - p) < 5 * np.sqrt(p * (1 - p) / 20_000)).all()
    assert np.abs(shares - exact(mixture, (1 / 3,) * 3)).max() > 0.02


def test_a_comparison_is_of_the_weighted_mixture():
    mixture, taxa = make_mixture(), tuple("abcde")
    side = of_mixture(mixture, taxa, "fit", 5_000, 1)
    assert side.what == "fit, A=3, learned weights"
    _, number = unique_topologies(np.concatenate([TOPOLOGIES, side.children]))
    p = exact(mixture)[number[15:]]
    np.testing.assert_allclose(np.exp(side.log_p), p, rtol=1e-12)
    assert (np.abs(side.weights - p) < 5 * np.sqrt(p * (1 - p) / 5_000)).all()
    np.testing.assert_allclose(*unite(side.splits, split_frequencies(TOPOLOGIES, exact(mixture))).frequencies, rtol=1e-12)


def test_certainty_of_several_is_of_their_weighted_mixtures():
    one, other = make_mixture(), make_mixture((0.1, 0.8, 0.1))
    found = pooled_certainty([one, other], [], None)
    p = (exact(one) + exact(other, (0.1, 0.8, 0.1))) / 2
    assert found.exact
    assert found.entropy == pytest.approx(-(p * np.log(p)).sum(), rel=1e-12)


@pytest.mark.parametrize("repeats", [1, 40])
def test_estimates_weigh_components(repeats):
    """By hand from the same draws: log w with the weighted mixture below, and means over components by their weights."""
    mixture, posterior, weights = make_mixture(), target(), np.array(WEIGHTS)
    found = evaluate(mixture, posterior, importance_samples=50, repeats=repeats, generator=torch.Generator().manual_seed(8))
    generator, everything = torch.Generator().manual_seed(8), torch.arange(3)
    draw = draw_components(Estimator.A2A, 3, None, None)
    assert torch.equal(draw.sampled, everything)
    published, pooled, bound, sizes, within = [], [], [], [], []
    for _ in range(repeats):
        with torch.no_grad():
            draws = mixture.sample(draw, 50, generator)
            log_p = (posterior.log_likelihood(draws) + posterior.log_prior(draws)).numpy()
        log_q = np.log((np.exp(draws.log_q.numpy()) * weights).sum(axis=2))
        w = np.exp(log_p - log_q)
        published.append(weights @ np.log(w.mean(axis=1)))
        pooled.append(np.log(weights @ w.mean(axis=1)))
        bound.append(weights @ np.log(w).mean(axis=1))
        counted = w * weights[:, None]
        sizes.append(counted.sum() ** 2 / (counted**2).sum())
        within.append(math.sqrt(weights**2 @ np.log(w).var(axis=1, ddof=1) / 50))
    assert found.published.mean == pytest.approx(np.mean(published), abs=1e-10)
    assert found.pooled.mean == pytest.approx(np.mean(pooled), abs=1e-10)
    assert found.elbo == pytest.approx(np.mean(bound), abs=1e-10)
    assert found.effective_sample_size == pytest.approx(np.mean(sizes), rel=1e-9)
    error = within[0] if repeats == 1 else np.std(bound, ddof=1) / math.sqrt(repeats)
    assert found.elbo_standard_error == pytest.approx(error, rel=1e-6)


def test_a_state_has_the_weights_and_goes_to_its_like_only():
    mixture, other = make_mixture(), make_mixture((0.2, 0.3, 0.5))
    other.load_state_dict(mixture.state_dict())
    np.testing.assert_allclose(other.shares, WEIGHTS, rtol=1e-12)
    uniform = PhyloMixture(SUPPORT, 3, generator=torch.Generator(), base=make_base("gamma"))
    assert uniform.log_shares is None
    np.testing.assert_array_equal(uniform.shares, np.full(3, 1 / 3))
    with pytest.raises(CheckpointError, match="learned mixture weights"):
        uniform.load_state_dict(mixture.state_dict())
    with pytest.raises(CheckpointError, match="of another support or number of components"):
        other.load_state_dict(make_mixture((0.5, 0.5)).state_dict())


# Fits


ALIGNMENT = small_alignment(5, 7)
CHOICES = {"weights": "learned", "components": 3, "sampled": 1, "seed": 2, "threads": 1, "init": "flat", "learning_rate": 0.003}


def fit(place, **choices):
    even = np.full(15, 1 / 15)
    sample = TreeSample(ALIGNMENT.taxa, TOPOLOGIES, even, np.arange(15), even, None, ())
    return vbpi_mix.fit(ALIGNMENT, sample, out=place, force=True, **{**CHOICES, **choices})


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("weights") / "five.vbpi", iterations=600, answer_draws=40_000)


def test_a_fit_has_the_exact_posterior_and_says_its_weights(fitted):
    patterns = compress(ALIGNMENT)
    log_joint = np.array([jukes_cantor.exact_log_marginal(c, patterns.states, patterns.weights) for c in TOPOLOGIES])
    log_joint -= math.log(15)
    log_z = np.logaddexp.reduce(log_joint)
    weights = np.array(fitted.summary["weights"])
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    assert np.ptp(weights) > 0.005
    np.testing.assert_array_equal(weights, fitted.mixture.shares)
    answer = fitted.answer()
    assert (answer.source, answer.draws) == ("weighted", 40_000)
    _, number = unique_topologies(np.concatenate([TOPOLOGIES, answer.children]))
    expected, found = np.exp(log_joint - log_z)[number[15:]], answer.topologies
    assert (np.abs(found.probabilities - expected) < 4 * found.errors).all()
    assert np.abs(found.probabilities - expected).max() < 0.01
    evidence = fitted.importance.evidence
    assert evidence.value == pytest.approx(log_z, abs=4 * evidence.error)
    result = fitted.evaluate(importance_samples=500, repeats=40, seed=3, threads=1)
    assert result.elbo < log_z
    assert result.pooled.mean == pytest.approx(log_z, abs=4 * result.pooled.sd / math.sqrt(40) + result.pooled.sd**2)


def test_config_page_and_a_loaded_run_say_the_weights(fitted):
    again = vbpi_mix.load(fitted.path)
    assert again.model.weights == "learned"
    assert again.config["model"]["weights"] == "learned"
    np.testing.assert_array_equal(again.mixture.shares, fitted.mixture.shares)
    assert again.consensus() == fitted.consensus()
    said = weights_in_words(again.config, again.summary)
    largest = max(again.summary["weights"])
    assert said.startswith(f"learned: {largest:.3f}, ")
    entropy = -sum(w * math.log(w) for w in again.summary["weights"])
    assert said.endswith(f"; as even as {math.exp(entropy):.1f} equal ones")
    assert said in (fitted.path / "report.html").read_text(encoding="utf-8")
    assert f"weights of components {said}" in screen(again)
    assert weights_in_words({"model": {"weights": "uniform"}}, again.summary) == ""
    many = weights_in_words(again.config, {"weights": [0.1] * 10})
    assert many == f"learned: {', '.join(['0.100'] * 6)} and 4 more; as even as 10.0 equal ones"
    exported = again.export(fitted.path.parent / "exported", trees=50, weighted=False)
    assert exported.trees == 50
    changed = again.save(fitted.path.parent / "changed.vbpi", force=True).path
    text = (changed / "config.yaml").read_text(encoding="utf-8")
    (changed / "config.yaml").write_text(text.replace("weights: learned", "weights: uniform"), encoding="utf-8")
    with pytest.raises(RunDirectoryError, match=r"model: weights of its config\.yaml"):
        vbpi_mix.load(changed)


@pytest.mark.parametrize(("layout", "count"), [(None, 3), (torch.float32, 9)])
def test_a_resumed_training_gives_the_same_digits(tmp_path, layout, count):
    """What is expected of the components' bounds is resumed too."""

    def parts():
        problem = MixtureProblem(
            "phylo", target(), make_mixture((1 / count,) * count, layout), estimator=Estimator.S2A, sampled=2, particles=3,
            direct=True,
        )  # fmt: skip
        optimiser = make_adam(problem.parameter_groups())
        optimiser.set_learning_rate(0.02)
        return problem, optimiser

    def steps(problem, optimiser, generator):
        for iteration in range(4):
            optimiser.step(problem.objective(iteration, 1.0, generator).backward())

    (problem, optimiser), generator = parts(), torch.Generator().manual_seed(4)
    steps(problem, optimiser, generator)
    torch.save([dict(problem.state_dict()), optimiser.state_dict(), generator.get_state()], tmp_path / "state")
    steps(problem, optimiser, generator)

    state, moments, numbers = torch.load(tmp_path / "state", weights_only=True)
    resumed, other = parts()
    with pytest.raises(ValueError, match=f"expected bounds of shape \\[1\\] for A={count}"):
        resumed.load_state_dict({**state, "expected_bounds": torch.zeros(1)})
    resumed.load_state_dict(state)
    other.load_state_dict(moments)
    generator.set_state(numbers)
    steps(resumed, other, generator)
    final, before = problem.state_dict(), state
    for name in ("log_weights", "expected_bounds", "logits", "features"):
        assert torch.equal(resumed.state_dict()[name], final[name])
        assert not torch.equal(final[name], before[name])


def test_weights_that_nothing_depends_on_are_refused():
    with pytest.raises(ConfigError, match="S of at least 2"):
        ModelConfig(weights="learned", estimator="s2s", components=3, sampled=1).resolve()
    ModelConfig(weights="learned", estimator="s2s", components=3, sampled=2).resolve()
