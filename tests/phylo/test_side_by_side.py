"""Tables with the components side by side: what they give is what tables by component give; what they move, and when."""

import numba
import numpy as np
import pytest
import torch

from vbpi_mix.estimators import Estimator, draw_components
from vbpi_mix.gradients import RowGradient
from vbpi_mix.phylo.branches.base import BASES, make_base
from vbpi_mix.phylo.branches.flows import make_flow
from vbpi_mix.phylo.branches.kernels.gamma_function import HIGH_LOG_SHAPE
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.topology import random_topologies
from vbpi_mix.training.adam import make_adam

TAXA, COMPONENTS = 9, 11
SUPPORT = build_support(random_topologies(TAXA, 12, np.random.default_rng(2)))


def make_mixture(side_by_side, base="gamma", branch_model="psp", flow="none", components=COMPONENTS, dtype=torch.float64):
    """The same parameters in either layout; one log shape is beyond its limits in some components."""
    generator, rng = torch.Generator().manual_seed(1), np.random.default_rng(3)
    mixture = PhyloMixture(
        SUPPORT, components, generator=generator, branch_model=branch_model, base=make_base(base),
        logits=rng.normal(size=(components, SUPPORT.n_params)) * 2.0,
        flow=make_flow(flow, SUPPORT, generator, dtype=torch.float64), side_by_side=dtype if side_by_side else None,
    )  # fmt: skip
    with torch.no_grad():
        mixture.features.copy_(torch.from_numpy(0.5 * rng.normal(size=mixture.features.shape)))
        mixture.features[::4, 3, 1] = HIGH_LOG_SHAPE + 1.0
    return mixture


def gradients(mixture, estimator, sampled, particles=5):
    """Of a random linear function of all outputs, by component: logits [A, n_params] and features [A, n_features, 2]."""
    generator = torch.Generator().manual_seed(5)
    draw = draw_components(Estimator.parse(estimator), mixture.n_components, sampled, generator)
    with torch.no_grad():
        draws = mixture.sample(draw, particles, generator)
    outputs = draws.log_q, draws.log_q_score, draws.log_lengths
    weights = torch.Generator().manual_seed(6)
    upstream = [torch.randn(v.shape, generator=weights, dtype=torch.float64) for v in outputs]
    points = upstream[2].reshape(-1, upstream[2].shape[2]).numpy()
    return outputs, mixture.pull_back(draws, upstream[0], upstream[1], points)


def by_component(mixture, found):
    """Dense gradients of tables as [A, n_params] and [A, n_features, 2]."""
    tables = []
    for leaf, gradient in list(found.items())[:2]:
        tables.append(gradient.dense(leaf) if isinstance(gradient, RowGradient) else gradient)
    logits, features = tables
    if logits.shape[0] == SUPPORT.n_params:
        assert logits[:, mixture.n_components :].abs().max() == 0.0
        logits = logits[:, : mixture.n_components].T
    if features.ndim == 2:
        features = features.view(features.shape[0], 2, -1)
        assert features[:, :, mixture.n_components :].abs().max() == 0.0
        features = features[:, :, : mixture.n_components].permute(2, 0, 1)
    return logits, features


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(
    ("estimator", "sampled", "branch_model", "flow"),
    [("s2a", 1, "psp", "none"), ("a2a", None, "split", "none"), ("s2s", 3, "psp", "planar")],
)
def test_draws_densities_and_gradients_are_those_of_tables_by_component(base, estimator, sampled, branch_model, flow):
    kinds = [make_mixture(wide, base, branch_model, flow) for wide in (False, True)]
    (ours, gradient), (theirs, expected) = (gradients(kind, estimator, sampled) for kind in reversed(kinds))
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-11)
    for one, two in zip(by_component(kinds[1], gradient), by_component(kinds[0], expected), strict=True):
        assert two.abs().max() > 1e-3
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("base", BASES)
def test_through_torch_the_gradient_is_the_same(base):
    mixture = make_mixture(True, base)
    generator = torch.Generator().manual_seed(5)
    draw = draw_components(Estimator.S2A, COMPONENTS, 2, generator)
    draws = mixture.sample(draw, 4, generator)
    outputs = draws.log_q, draws.log_q_score, draws.log_lengths
    sum(v.sum() for v in outputs).backward()
    points = np.ones((8, 2 * TAXA - 3))
    direct = mixture.pull_back(draws, torch.ones_like(outputs[0]), torch.ones_like(outputs[1]), points)
    for leaf, gradient in direct.items():
        torch.testing.assert_close(gradient.dense(leaf), leaf.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("components", [COMPONENTS, 64])
def test_threads_change_no_digit(components):
    before, results = numba.get_num_threads(), []
    try:
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            mixture = make_mixture(True, components=components)
            outputs, found = gradients(mixture, "s2a", 1, particles=24)
            results.append([*outputs, *(gradient.dense(leaf) for leaf, gradient in found.items())])
    finally:
        numba.set_num_threads(before)
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


def test_a_step_moves_the_groups_that_its_trees_touch_and_no_others():
    mixture = make_mixture(True)
    optimiser = make_adam(mixture.parameter_groups())
    optimiser.set_learning_rate(0.01)
    before = mixture.logits.clone(), mixture.features.clone()
    _, found = gradients(mixture, "s2a", 1, particles=2)
    touched = next(iter(found.values())).rows
    optimiser.step(found)
    moved = np.flatnonzero((mixture.logits != before[0]).any(0).numpy())
    np.testing.assert_array_equal(np.sort(touched), moved)
    assert 0 < moved.size < SUPPORT.n_params
    # Whole groups, and no parameter that is alone in its own.
    assert (SUPPORT.group_of[moved] >= 0).all()
    sizes = np.diff(SUPPORT.groups, axis=1)[:, 0]
    counts = np.bincount(SUPPORT.group_of[moved], minlength=sizes.size)
    np.testing.assert_array_equal(counts[counts > 0], sizes[counts > 0])
    assert (mixture.features != before[1]).any(2).any(0).sum() < SUPPORT.n_features


def test_a_row_goes_through_adam_as_if_steps_that_do_not_touch_it_had_not_happened():
    """Against torch's own Adam, for each row with a clock of its own, over steps that touch one set of rows or another."""
    mixture = make_mixture(True)
    leaf = mixture.parameter_groups()[0]["params"][0]
    optimiser = make_adam(mixture.parameter_groups())
    optimiser.set_learning_rate(0.02)
    rng, start = np.random.default_rng(8), leaf.detach().clone()
    steps = [np.sort(rng.choice(SUPPORT.n_params, 6, replace=False)) for _ in range(5)]
    slopes = [rng.normal(size=(6, leaf.shape[1])) for _ in steps]
    for rows, slope in zip(steps, slopes, strict=True):
        optimiser.step({leaf: RowGradient(rows, slope)})
    for row in np.unique(np.concatenate(steps)):
        twin = start[row].clone().requires_grad_()
        adam = torch.optim.Adam([twin], lr=0.02)
        for rows, slope in zip(steps, slopes, strict=True):
            if row in rows:
                twin.grad = torch.from_numpy(slope[np.flatnonzero(rows == row)[0]].copy())
                adam.step()
        torch.testing.assert_close(leaf[row].detach(), twin.detach(), rtol=1e-13, atol=1e-13)


def test_a_state_goes_from_one_layout_to_the_other():
    one, other = make_mixture(True), make_mixture(False)
    with torch.no_grad():
        other.logits.zero_()
        other.features.zero_()
    other.load_state_dict(one.state_dict())
    assert torch.equal(other.logits, one.logits)
    back = make_mixture(True, components=COMPONENTS)
    with torch.no_grad():
        back.features.zero_()
    back.load_state_dict(other.state_dict())
    assert torch.equal(back.features, other.features)
    encoded = SUPPORT.encode(random_topologies(TAXA, 12, np.random.default_rng(2)))
    np.testing.assert_array_equal(back.log_topology_probability(encoded), other.log_topology_probability(encoded))


def test_single_precision_gives_the_same_to_its_own_rounding():
    one, two = make_mixture(True), make_mixture(True, dtype=torch.float32)
    one.load_state_dict(two.state_dict())
    (first, expected), (second, found) = gradients(one, "s2a", 1), gradients(two, "s2a", 1)
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    for a, b in zip(by_component(two, found), by_component(one, expected), strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))


def test_a_resumed_training_gives_the_same_digits(tmp_path):
    def steps(mixture, optimiser, count, generator):
        for _ in range(count):
            with torch.no_grad():
                draws = mixture.sample(draw_components(Estimator.S2A, COMPONENTS, 1, generator), 3, generator)
            points = np.ones((3, 2 * TAXA - 3))
            optimiser.step(mixture.pull_back(draws, 0.1 * draws.log_q, 0.1 * draws.log_q_score, points))

    whole = make_mixture(True, dtype=torch.float32)
    optimiser, generator = make_adam(whole.parameter_groups()), torch.Generator().manual_seed(4)
    optimiser.set_learning_rate(0.01)
    steps(whole, optimiser, 3, generator)
    torch.save([dict(whole.state_dict()), optimiser.state_dict(), generator.get_state()], tmp_path / "state")
    steps(whole, optimiser, 3, generator)

    state, moments, numbers = torch.load(tmp_path / "state", weights_only=True)
    resumed = make_mixture(True, dtype=torch.float32)
    with torch.no_grad():
        resumed.logits.zero_()
    resumed.load_state_dict(state)
    optimiser = make_adam(resumed.parameter_groups())
    optimiser.load_state_dict(moments)
    optimiser.set_learning_rate(0.01)
    generator.set_state(numbers)
    steps(resumed, optimiser, 3, generator)
    assert not torch.equal(resumed.logits, state["logits"])
    assert torch.equal(resumed.logits, whole.logits)
    assert torch.equal(resumed.features, whole.features)
