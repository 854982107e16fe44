"""The variational family: its densities written out, its gradients by differences, its draws by seed."""

import math

import numba
import numpy as np
import pytest
import torch
from scipy import stats

from vbpi_mix.errors import CheckpointError, ConfigError
from vbpi_mix.estimators import Estimator, draw_components
from vbpi_mix.gradients import RowGradient
from vbpi_mix.phylo.branches.base import BASES, make_base
from vbpi_mix.phylo.branches.flows import FLOWS, make_flow
from vbpi_mix.phylo.branches.tabular import LOG_LENGTH_SHIFT
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.models.priors import ExponentialLengths
from vbpi_mix.phylo.models.topology_prior import TopologyPrior
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.topology import enumerate_topologies, random_topologies

# Layers and hidden units of the flows that have them.
SIZE = {"planar": (3, None), "realnvp": (3, 5)}


def make_mixture(n_taxa=6, n_components=3, branch_model="psp", seed=1, flow="none", base="lognormal"):
    topologies = enumerate_topologies(n_taxa) if n_taxa < 7 else random_topologies(n_taxa, 20, np.random.default_rng(2))
    support = build_support(topologies)
    generator = torch.Generator().manual_seed(seed)
    mixture = PhyloMixture(
        support,
        n_components,
        generator=generator,
        branch_model=branch_model,
        base=make_base(base),
        flow=make_flow(flow, support, generator, *SIZE.get(flow, (None, None)), torch.float64),
    )
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        mixture.logits.copy_(torch.from_numpy(rng.normal(size=mixture.logits.shape)))
        mixture.features.copy_(torch.from_numpy(0.5 * rng.normal(size=mixture.features.shape)))
    if mixture.flow is not None:
        state = mixture.flow.state_dict()
        mixture.flow.load_state_dict(
            {name: torch.from_numpy(0.2 * rng.normal(size=value.shape)) for name, value in state.items()}
        )
    return mixture


def sample(mixture, estimator="a2a", sampled=None, particles=4, seed=3):
    generator = torch.Generator().manual_seed(seed)
    draw = draw_components(Estimator.parse(estimator), mixture.n_components, sampled, generator)
    return draw, mixture.sample(draw, particles, generator)


@pytest.mark.parametrize("branch_model", ["psp", "split"])
@pytest.mark.parametrize("base", BASES)
def test_density_is_that_of_its_parts(branch_model, base):
    """log q_j = log of the topology's probability + a density of log-length per edge, for every evaluated component."""
    mixture = make_mixture(branch_model=branch_model, base=base)
    draw, draws = sample(mixture)
    encoded = mixture.support.encode(draws.topologies.children)
    topology = mixture.log_topology_probability(encoded)
    features = mixture.features.detach().numpy()
    x = draws.log_lengths.detach().numpy().reshape(len(encoded), -1) - LOG_LENGTH_SHIFT
    log_q = draws.log_q.detach().numpy().reshape(len(encoded), -1)
    for t in range(len(encoded)):
        for r in draw.evaluated.tolist():
            expected = topology[t, r]
            for edge, rows in enumerate(encoded.rows[t]):
                used = [row for row in rows if row >= 0][: None if branch_model == "psp" else 1]
                one, other = (sum(features[r, row, k] for row in used) for k in (0, 1))
                if base == "lognormal":
                    expected += stats.norm.logpdf(x[t, edge], one, math.exp(other))
                else:
                    shape = math.exp(other)
                    expected += stats.loggamma.logpdf(x[t, edge], shape, loc=one - other)
            assert log_q[t, r] == pytest.approx(expected, abs=1e-9)
    own = draw.sampled.repeat_interleave(4).numpy()
    np.testing.assert_allclose(
        draws.log_q_score.detach().numpy().ravel(), topology[np.arange(len(encoded)), own], atol=1e-12
    )


def test_pendant_edges_have_one_primary_subsplit_pair_and_internal_ones_two():
    mixture = make_mixture()
    _, draws = sample(mixture)
    pairs = (draws.topologies.rows[..., 1:] >= 0).sum(axis=2)
    sizes = mixture.support.split_size[draws.topologies.rows[..., 0]]
    pendant = (sizes == 1) | (sizes == 5)
    np.testing.assert_array_equal(pairs, np.where(pendant, 1, 2))


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize(("estimator", "sampled"), [("a2a", 3), ("s2a", 2), ("s2s", 2), ("s2a", 1)])
def test_gradients_equal_differences(estimator, sampled, flow, base):
    """Of a random linear function of every output, with the random numbers held fixed."""
    mixture = make_mixture(flow=flow, base=base)
    parameters = [tensor for group in mixture.parameter_groups() for tensor in group["params"]]
    rng = torch.Generator().manual_seed(9)
    _, first = sample(mixture, estimator, sampled)
    weights = [torch.randn(v.shape, generator=rng, dtype=torch.float64) for v in outputs(first)]

    def value():
        _, draws = sample(mixture, estimator, sampled)
        return sum((w * v).sum() for w, v in zip(weights, outputs(draws), strict=True))

    value().backward()
    picks = np.random.default_rng(10)
    checked = 0
    for parameter in parameters:
        touched = parameter.grad.nonzero()
        for index in map(tuple, touched[picks.permutation(len(touched))[:40]].tolist()):
            with torch.no_grad():
                parameter[index] += 1e-6
                above = value().item()
                parameter[index] -= 2e-6
                below = value().item()
                parameter[index] += 1e-6
            assert parameter.grad[index].item() == pytest.approx((above - below) / 2e-6, rel=1e-5, abs=1e-6)
            checked += 1
    assert checked > 80 if flow != "none" else checked == 80


def outputs(draws):
    return draws.log_q, draws.log_q_score, draws.log_lengths


@pytest.mark.parametrize("base", BASES)
def test_components_that_are_not_evaluated_get_no_gradient(base):
    mixture = make_mixture(base=base)
    draw, draws = sample(mixture, "s2s", 1)
    (draws.log_q.sum() + draws.log_lengths.sum()).backward()
    others = [a for a in range(3) if a not in draw.sampled.tolist()]
    assert mixture.logits.grad[others].abs().max() == 0
    assert mixture.features.grad[others].abs().max() == 0
    assert mixture.features.grad[draw.sampled].abs().max() > 0


@pytest.mark.parametrize("base", BASES)
def test_threads_change_no_digit_of_draws_and_gradients(base):
    results = []
    before = numba.get_num_threads()
    try:
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            mixture = make_mixture(12, 4, base=base)
            _, draws = sample(mixture, particles=16)
            sum(v.sum() for v in outputs(draws)).backward()
            results.append([*(v.detach() for v in outputs(draws)), mixture.logits.grad, mixture.features.grad])
    finally:
        numba.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


def test_target_is_likelihood_and_prior_written_out():
    from reference import jukes_cantor

    from vbpi_mix.phylo.data.site_patterns import SitePatterns

    states = np.array([[1, 2], [1, 4], [2, 4], [8, 15], [1, 1]], np.uint8)
    target = Posterior(SitePatterns(states, np.array([2.0, 1.0])), branch_prior=ExponentialLengths(7.0))
    mixture = make_mixture(5, 1)
    _, draws = sample(mixture, particles=3)
    likelihood, prior = target.log_likelihood(draws), target.log_prior(draws)
    x = draws.log_lengths.detach().numpy()[0]
    for k in range(3):
        expected = jukes_cantor.log_likelihood_by_summation(
            draws.topologies.children[k], np.exp(x[k]), states, [2.0, 1.0]
        )
        assert likelihood[0, k].item() == pytest.approx(expected, abs=1e-10)
        # Uniform over 15 topologies; exponential density of each length times the Jacobian of its logarithm.
        density = sum(math.log(7.0) - 7.0 * math.exp(v) + v for v in x[k])
        assert prior[0, k].item() == pytest.approx(-math.log(15) + density, abs=1e-10)


def test_target_gradients_equal_differences():
    from vbpi_mix.phylo.data.site_patterns import SitePatterns

    states = np.random.default_rng(4).choice(np.array([1, 2, 4, 8], np.uint8), (6, 12))
    target = Posterior(SitePatterns(states, np.ones(12)))
    _, draws = sample(make_mixture(), particles=2)
    x = draws.log_lengths.detach().clone().requires_grad_()
    weights = torch.tensor([[0.3, -1.2], [0.5, 2.0], [1.0, 0.1]], dtype=torch.float64)

    def value(v):
        from types import SimpleNamespace

        at = SimpleNamespace(topologies=draws.topologies, log_lengths=v)
        return (weights * target.log_likelihood(at)).sum() + (weights * target.log_prior(at)).sum()

    value(x).backward()
    for index in [(0, 0, 0), (1, 1, 4), (2, 0, 8), (0, 1, 3)]:
        shift = torch.zeros_like(x)
        shift[index] = 1e-6
        difference = (value(x.detach() + shift) - value(x.detach() - shift)) / 2e-6
        assert x.grad[index].item() == pytest.approx(difference.item(), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(("n_taxa", "count"), [(4, 3), (5, 15), (8, 10395), (10, 2027025)])
def test_topology_prior_counts_the_unrooted_topologies(n_taxa, count):
    assert TopologyPrior(n_taxa).log_probability == pytest.approx(-math.log(count), abs=1e-12)


def test_state_of_another_shape_is_refused():
    mixture = make_mixture()
    mixture.load_state_dict(make_mixture(seed=5).state_dict())
    with pytest.raises(CheckpointError, match="another support or number of components"):
        mixture.load_state_dict(make_mixture(n_components=2).state_dict())
    with pytest.raises(CheckpointError, match="only one of the checkpoint and this model has a flow"):
        mixture.load_state_dict(make_mixture(flow="planar").state_dict())


def test_unknown_branch_model_is_refused():
    with pytest.raises(ConfigError, match="give psp or split"):
        make_mixture(branch_model="tips")


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("estimator", "sampled"), [("a2a", 3), ("s2a", 2), ("s2s", 2), ("s2s", 1)])
@pytest.mark.parametrize(
    ("beta", "flow"), [(1.0, "none"), (0.3, "none"), (0.3, "planar"), (1.0, "realnvp"), (0.3, "spline")]
)
def test_direct_objective_equals_the_one_that_is_differentiated(estimator, sampled, beta, flow, base):
    """The training step carries gradients back without a graph: same bound, same gradients as torch finds."""
    from vbpi_mix.estimators import direct_vimco_objective, log_importance_weights, vimco_objective
    from vbpi_mix.phylo.data.site_patterns import SitePatterns

    states = np.random.default_rng(4).choice(np.array([1, 2, 4, 8], np.uint8), (6, 12))
    target = Posterior(SitePatterns(states, np.ones(12)))
    mixture = make_mixture(flow=flow, base=base)
    _, draws = sample(mixture, estimator, sampled)
    log_w = log_importance_weights(target.log_likelihood(draws), target.log_prior(draws), draws.log_q, beta=beta)
    expected = vimco_objective(log_w, draws.log_q_score)
    expected.backward()
    gradients = [mixture.logits.grad.clone(), mixture.features.grad.clone()]
    if mixture.flow is not None:
        gradients += [mixture.flow.weights.grad.clone(), mixture.flow.shared[0].grad.clone()]
    with torch.no_grad():
        _, draws = sample(mixture, estimator, sampled)
    objective = direct_vimco_objective(target, mixture, draws, beta)
    assert objective.bound.item() == pytest.approx(expected.bound.item(), abs=1e-12)
    found = [*dense(objective.backward()).values()]
    assert len(found) == len(gradients)
    for one, two in zip(found, gradients, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)


def dense(gradients):
    """Copies, those of rows with their zeros."""
    return {p: (g.dense(p) if isinstance(g, RowGradient) else g.clone()) for p, g in gradients.items()}


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("flow", FLOWS)
def test_an_objective_goes_back_twice_and_after_a_newer_one(flow, base):
    """Digit for digit, also when the parameters have moved since; and what the first gave stays as it was."""
    from vbpi_mix.estimators import direct_vimco_objective
    from vbpi_mix.phylo.data.site_patterns import SitePatterns
    from vbpi_mix.phylo.models.posterior import Posterior

    states = np.random.default_rng(4).choice(np.array([1, 2, 4, 8], np.uint8), (6, 12))
    target, mixture = Posterior(SitePatterns(states, np.ones(12))), make_mixture(flow=flow, base=base)

    def objective(seed):
        with torch.no_grad():
            return direct_vimco_objective(target, mixture, sample(mixture, "s2a", 2, seed=seed)[1], 0.7)

    older = objective(3)
    first = older.backward()
    kept = dense(first)
    newer = objective(4)
    of_newer = dense(newer.backward())
    with torch.no_grad():
        for parameter in kept:
            parameter += 0.05
    for again in (older.backward(), older.backward(), first):
        for parameter, gradient in dense(again).items():
            assert torch.equal(gradient, kept[parameter])
    assert all(torch.equal(gradient, of_newer[parameter]) for parameter, gradient in dense(newer.backward()).items())
    assert not torch.equal(of_newer[mixture.features], kept[mixture.features])


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("flow", FLOWS)
def test_a_graph_goes_back_twice_and_after_a_newer_one(flow, base):
    mixture = make_mixture(flow=flow, base=base)
    parameters = [tensor for group in mixture.parameter_groups() for tensor in group["params"]]
    _, older = sample(mixture, "s2s", 2, seed=3)
    _, newer = sample(mixture, "s2s", 2, seed=4)
    value = sum(v.square().sum() for v in outputs(older))
    results = [torch.autograd.grad(value, parameters, retain_graph=True)]
    torch.autograd.grad(sum(v.sum() for v in outputs(newer)), parameters)
    results += [torch.autograd.grad(value, parameters, retain_graph=True) for _ in range(2)]
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("flow", FLOWS[1:])
def test_with_a_flow_that_is_the_identity_the_model_is_that_of_the_base(flow, base):
    plain = make_mixture(n_components=1, base=base)
    with_flow = make_mixture(n_components=1, flow=flow, base=base)
    start = make_flow(flow, plain.support, torch.Generator().manual_seed(1), *SIZE.get(flow, (None, None)), torch.float64)
    with_flow.flow.load_state_dict(start.state_dict())
    one, two = (sample(mixture, particles=20)[1] for mixture in (plain, with_flow))
    np.testing.assert_array_equal(one.topologies.children, two.topologies.children)
    torch.testing.assert_close(one.log_lengths, two.log_lengths, rtol=0, atol=1e-14)
    torch.testing.assert_close(one.log_q, two.log_q, rtol=0, atol=1e-14)


@pytest.mark.parametrize("flow", ["none", "planar", "realnvp"])
@pytest.mark.parametrize("n_components", [1, 3])
def test_the_density_of_the_family_integrates(flow, n_components):
    """Importance sampling of a density with constant 1, over the 3 topologies of 4 taxa and all lengths, gives 1."""
    mixture = make_mixture(4, n_components, flow=flow)
    with torch.no_grad():
        mixture.features *= 0.3
        mixture.features[..., 1] += 0.2
        _, draws = sample(mixture, particles=60_000 // n_components)
        centre, sd = draws.log_lengths.mean((0, 1)), 0.6
        standard = (draws.log_lengths - centre) / sd
        log_p = -math.log(3) - 0.5 * (standard**2 + math.log(2 * math.pi)).sum(2) - 5 * math.log(sd)
        weights = (log_p - torch.logsumexp(draws.log_q, 2) + math.log(n_components)).exp()
    error = float(weights.std()) / math.sqrt(weights.numel())
    assert error < 0.03
    assert float(weights.mean()) == pytest.approx(1.0, abs=4 * error)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("flow", ["none", "realnvp"])
def test_a_step_moves_only_the_rows_that_it_touched(flow, base):
    from vbpi_mix.training.adam import make_adam

    mixture = make_mixture(12, 3, flow=flow, base=base)
    with torch.no_grad():
        draw, draws = sample(mixture, "s2s", 1)
        before = [tensor.detach().clone() for tensor in (mixture.features, *([mixture.flow.weights] if mixture.flow else []))]
        ones = torch.ones_like(draws.log_q), torch.ones_like(draws.log_q_score)
        adam = make_adam(mixture.parameter_groups())
        adam.set_learning_rate(0.1)
        adam.step(mixture.pull_back(draws, *ones, np.ones((4, 21))))
    touched = np.unique(draws.topologies.rows)
    touched = touched[touched >= 0]
    assert 0 < touched.size < mixture.support.n_features
    moved = (mixture.features != before[0]).any(2)
    for a in range(3):
        expected = touched.tolist() if a in draw.sampled.tolist() else []
        assert moved[a].nonzero().ravel().tolist() == expected
    if mixture.flow is not None:
        assert (mixture.flow.weights != before[1]).any(1).nonzero().ravel().tolist() == touched.tolist()
