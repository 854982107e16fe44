"""One battery for every flow of branch lengths, against twins in plain torch (tests/reference/branch_flows.py)."""

import subprocess
import sys
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from reference import branch_flows as twins

from vbpi_mix.errors import CheckpointError, ConfigError
from vbpi_mix.phylo.branches.flows import FLOWS, make_flow
from vbpi_mix.phylo.branches.flows.contract import BranchFlow
from vbpi_mix.phylo.branches.flows.registry import SPECS
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.topology import parse_newick, random_topologies, to_newick

# Of every flow in the registry: its twin, the twin's inverse, and sizes. Hidden units and layers that fill whole vectors and
# that do not, an even and an odd number of layers.
SIZES = {"planar": [(16, None), (3, None)], "realnvp": [(4, 8), (5, 11), (1, 3)]}
CASES = [(name, *sizes) for name in SPECS for sizes in SIZES.get(name, [(None, None)])]


@dataclass
class Case:
    flow: BranchFlow
    encoded: object
    draws: np.ndarray
    twin: object
    inverse: object

    @property
    def parameters(self):
        """Weights and biases for the twin, as doubles with gradients."""
        state = self.flow.state_dict()
        return [state[name].double().requires_grad_() for name in ("weights", "biases")]


def make_case(name, layers, hidden, dtype=torch.float64, n_taxa=9, trees=7, start=False):
    rng = np.random.default_rng(5)
    topologies = random_topologies(n_taxa, trees, rng)
    support = build_support(topologies)
    flow = make_flow(name, support, torch.Generator().manual_seed(2), layers, hidden, dtype)
    if not start:
        shapes = {key: value.shape for key, value in flow.state_dict().items()}
        flow.load_state_dict({key: torch.from_numpy(0.15 * rng.normal(size=shape)) for key, shape in shapes.items()})
    encoded = support.encode(topologies)
    return Case(flow, encoded, rng.normal(size=(trees, 2 * n_taxa - 3)), *twins_of(name))


def twins_of(name):
    return getattr(twins, name), getattr(twins, f"{name}_inverse")


@pytest.fixture(params=CASES, ids=lambda case: "-".join(map(str, case)))
def case(request):
    return make_case(*request.param)


def test_values_are_those_of_the_twin(case):
    done = case.flow.forward(case.encoded.rows, case.draws)
    assert done.values.shape == case.draws.shape
    assert done.log_det.shape == case.draws.shape[:1]
    for t, rows in enumerate(case.encoded.rows):
        values, log_det = case.twin(*case.parameters, rows, torch.from_numpy(case.draws[t]))
        np.testing.assert_allclose(done.values[t], values.detach().numpy(), rtol=0, atol=1e-8)
        assert done.log_det[t] == pytest.approx(log_det.item(), abs=1e-8)


def test_gradients_are_those_of_the_twin(case):
    rng = np.random.default_rng(6)
    upstream, of_log_det = rng.normal(size=case.draws.shape), rng.normal(size=case.draws.shape[0])
    done = case.flow.forward(case.encoded.rows, case.draws)
    found = case.flow.backward(done, upstream, of_log_det)

    parameters, z = case.parameters, torch.from_numpy(case.draws).requires_grad_()
    total = 0.0
    for t, tree in enumerate(case.encoded.rows):
        values, log_det = case.twin(*parameters, tree, z[t])
        total = total + values @ torch.from_numpy(upstream[t]) + log_det * of_log_det[t]
    total.backward()
    np.testing.assert_allclose(found.draws, z.grad.numpy(), rtol=0, atol=1e-8)
    state = as_state(case.flow, found)
    np.testing.assert_allclose(state["weights"], parameters[0].grad.numpy(), rtol=0, atol=1e-8)
    np.testing.assert_allclose(state["biases"], parameters[1].grad.numpy(), rtol=0, atol=1e-8)


def as_state(flow, gradient):
    """A gradient in the shape of the flow's state, found by putting it in the place of the parameters."""
    parameters = [flow.weights, *flow.shared]
    stored = [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        for parameter, value in zip(parameters, [gradient.weights.dense(flow.weights), *gradient.shared], strict=True):
            parameter.copy_(value)
        state = {name: value.clone() for name, value in flow.state_dict().items()}
        for parameter, value in zip(parameters, stored, strict=True):
            parameter.copy_(value)
    return state


def test_a_gradient_reaches_every_parameter_that_the_batch_touches(case):
    """Of some row each of its weights, and of each touched row some, over draws near and far."""
    rng = np.random.default_rng(1)
    upstream, state = rng.normal(size=case.draws.shape), {}
    touched = np.unique(case.encoded.rows)
    for draws in (case.draws, rng.uniform(-10.0, 4.0, case.draws.shape)):
        done = case.flow.forward(case.encoded.rows, draws)
        found = case.flow.backward(done, upstream, np.ones(case.draws.shape[0]))
        assert sorted(found.weights.rows) == touched[touched >= 0].tolist()
        for name, value in as_state(case.flow, found).items():
            state[name] = state.get(name, 0.0) + value.abs().double()
    assert (state["biases"] != 0.0).all()
    of_rows = state["weights"].reshape(state["weights"].shape[0], -1)
    assert (of_rows != 0.0).any(0).all()
    assert (of_rows != 0.0).any(1).nonzero().ravel().tolist() == touched[touched >= 0].tolist()


@pytest.mark.parametrize(("name", "layers", "hidden"), [case for case in CASES if case[0] in ("planar", "realnvp")])
def test_a_row_has_weights_for_its_own_class_of_edges(name, layers, hidden):
    case = make_case(name, layers, hidden)
    done = case.flow.forward(case.encoded.rows, case.draws)
    upstream = np.random.default_rng(1).normal(size=case.draws.shape)
    gradient = as_state(case.flow, case.flow.backward(done, upstream, np.ones(case.draws.shape[0])))
    for t, e, k in np.argwhere(case.encoded.rows >= 0):
        of_row = gradient["weights"][case.encoded.rows[t, e, k]]
        used = of_row.shape[0]
        if case.flow.name == "realnvp":
            pendant = twins.is_pendant(e, case.draws.shape[1])
            used = sum(1 if pendant == (layer % 2 == 0) else 2 for layer in range(gradient["biases"].shape[0]))
        assert (of_row[:used] != 0.0).all()
        assert (of_row[used:] == 0.0).all()


def test_log_det_is_that_of_the_jacobian_of_the_values(case):
    """Autograd through the twin, whose values the kernel has: nothing of the twin's own log|det| is used."""
    done = case.flow.forward(case.encoded.rows, case.draws)
    parameters = [value.detach() for value in case.parameters]
    for t, rows in enumerate(case.encoded.rows):
        jacobian = torch.autograd.functional.jacobian(
            lambda z, rows=rows: case.twin(*parameters, rows, z)[0], torch.from_numpy(case.draws[t])
        )
        assert done.log_det[t] == pytest.approx(torch.linalg.slogdet(jacobian).logabsdet.item(), abs=1e-8)


def test_realnvp_has_the_log_det_of_scales_whose_product_is_no_number():
    """Scales of about exp(-s) each, nine in a layer: from s = 100 on doubles do not hold their product."""
    case = make_case("realnvp", 3, 8)
    state = case.flow.state_dict()
    for s in (20.0, 60.0, 130.0):
        weights, biases = torch.zeros_like(state["weights"]), torch.zeros_like(state["biases"])
        # Hidden units are 1, of each edge's split alone; the last block of a moved edge is that of its s.
        biases[:] = 1.0
        n_splits = int(case.encoded.rows[:, :, 0].max()) + 1
        weights[:n_splits] = -s / weights.shape[-1]
        for row in range(n_splits):
            for layer in range(biases.shape[0]):
                for pendant in (True, False):
                    twins.blocks_of(weights[row], pendant, layer)[:-1] = 0.0
                    if pendant == (layer % 2 == 0):
                        twins.blocks_of(weights[row], pendant, layer)[:] = 0.0
        case.flow.load_state_dict({"weights": weights, "biases": biases})
        done = case.flow.forward(case.encoded.rows, case.draws)
        for t, rows in enumerate(case.encoded.rows):
            _, log_det = case.twin(weights.double(), biases.double(), rows, torch.from_numpy(case.draws[t]))
            assert done.log_det[t] == pytest.approx(log_det.item(), rel=1e-9)
            assert done.log_det[t] < -5 * s


def test_the_inverse_leads_back_to_the_draws(case):
    done = case.flow.forward(case.encoded.rows, case.draws)
    with torch.no_grad():
        for t, rows in enumerate(case.encoded.rows):
            back = case.inverse(*case.parameters, rows, torch.from_numpy(done.values[t]))
            np.testing.assert_allclose(back, case.draws[t], atol=1e-7)


@pytest.mark.parametrize(("name", "layers", "hidden"), CASES)
def test_starts_as_the_identity(name, layers, hidden):
    case = make_case(name, layers, hidden, start=True)
    done = case.flow.forward(case.encoded.rows, case.draws)
    np.testing.assert_allclose(done.values, case.draws, rtol=0, atol=1e-12)
    np.testing.assert_allclose(done.log_det, 0.0, atol=1e-12)
    # And not at a point that it cannot leave.
    found = case.flow.backward(done, np.ones(case.draws.shape), np.ones(case.draws.shape[0]))
    assert (as_state(case.flow, found)["weights"] != 0.0).any()


def feature_keys(support, names):
    """What each feature is, in words that depend on neither numbering nor rooting: a split, or the two clades that a
    subsplit divides its own into; names[k] is what taxon k is called.
    """
    everyone = frozenset(names)

    def clade(split):
        bits = int(support.split_bits[split].reshape(-1)[0])
        return frozenset(name for k, name in enumerate(names) if bits >> k & 1)

    keys = [frozenset((clade(s), everyone - clade(s))) for s in range(support.n_splits)]
    for t in range(support.n_tripartitions):
        up, first, second = (clade(split) for split in support.legs[3 * t : 3 * t + 3])
        up = everyone - up
        keys += [frozenset(("pair", a, b)) for a, b in ((first, second), (up, second), (up, first))]
    return keys


@pytest.mark.parametrize(("name", "layers", "hidden"), CASES)
def test_relabelling_and_rerooting_change_nothing(name, layers, hidden):
    """The same trees with taxa numbered otherwise, so hung from another taxon, with other numbers of every edge."""
    case = make_case(name, layers, hidden)
    n_taxa = 9
    order = np.random.default_rng(8).permutation(n_taxa)
    children = relabelled(case.encoded.children, order)
    support, other = build_support(case.encoded.children), build_support(children)
    ours = feature_keys(support, list(range(n_taxa)))
    theirs = feature_keys(other, list(np.argsort(order)))
    assert sorted(map(str, map(sorted_words, ours))) == sorted(map(str, map(sorted_words, theirs)))
    state = case.flow.state_dict()
    number = {key: i for i, key in enumerate(ours)}
    flow = make_flow(name, other, torch.Generator(), layers, hidden, torch.float64)
    flow.load_state_dict({**state, "weights": state["weights"][[number[key] for key in theirs]]})

    encoded = other.encode(children)
    done = case.flow.forward(case.encoded.rows, case.draws)
    edge_of = [{ours[row]: e for e, row in enumerate(tree[:, 0])} for tree in case.encoded.rows]
    pairs = np.array([[edge_of[t][theirs[row]] for row in tree[:, 0]] for t, tree in enumerate(encoded.rows)])
    assert any((row != np.arange(row.size)).any() for row in pairs)
    moved = flow.forward(encoded.rows, np.take_along_axis(case.draws, pairs, 1))
    np.testing.assert_allclose(moved.values, np.take_along_axis(done.values, pairs, 1), atol=1e-9)
    np.testing.assert_allclose(moved.log_det, done.log_det, atol=1e-9)


def sorted_words(key):
    return sorted(sorted(map(str, part)) if isinstance(part, frozenset) else [part] for part in key)


def relabelled(children, order):
    """Topologies with taxon k called order[k], hung from the new taxon 0."""
    names = [f"t{k}" for k in range(order.size)]
    renumbered = [names[k] for k in np.argsort(order)]
    return np.stack([parse_newick(to_newick(tree, names), renumbered)[0] for tree in children])


def test_single_precision_is_the_same_flow_with_rounded_weights():
    exact = make_case("realnvp", 4, 8)
    rounded = make_case("realnvp", 4, 8, torch.float32)
    with torch.no_grad():
        exact.flow.weights.copy_(rounded.flow.weights)
    one, two = (case.flow.forward(case.encoded.rows, case.draws) for case in (exact, rounded))
    assert np.array_equal(one.values, two.values)
    assert np.array_equal(one.log_det, two.log_det)


def assert_same(one, two):
    """Gradients, digit for digit."""
    assert np.array_equal(one.draws, two.draws)
    assert np.array_equal(one.weights.rows, two.weights.rows)
    assert np.array_equal(one.weights.values, two.weights.values)
    assert all(torch.equal(a, b) for a, b in zip(one.shared, two.shared, strict=True))


def test_an_earlier_pass_has_its_own_gradient_however_often_and_late(case):
    """After later passes forward and back, a step of the parameters, and once more; and nothing handed out changes."""
    ones = np.ones(case.draws.shape[0])
    done = case.flow.forward(case.encoded.rows, case.draws)
    values = done.values.copy()
    first = case.flow.backward(done, case.draws, ones)
    kept = deepcopy(first)
    assert_same(case.flow.backward(done, case.draws, ones), kept)
    later = case.flow.forward(case.encoded.rows[2:], 2.0 * case.draws[2:])
    case.flow.backward(later, case.draws[2:], ones[2:])
    with torch.no_grad():
        for parameter in (case.flow.weights, *case.flow.shared):
            parameter += 0.1
    for _ in range(2):
        assert_same(case.flow.backward(done, case.draws, ones), kept)
    assert_same(first, kept)
    assert np.array_equal(done.values, values)
    assert not np.array_equal(case.flow.forward(case.encoded.rows, case.draws).values, values)


def test_threads_change_no_digit(case, monkeypatch):
    """Also where they do not divide the trees, profiles and rows evenly; the parallel kernels run on any number of cores."""
    results = []
    for threads in (1, 2, 3, 7):
        monkeypatch.setattr("numba.get_num_threads", lambda threads=threads: threads)
        done = case.flow.forward(case.encoded.rows, case.draws)
        found = case.flow.backward(done, case.draws, np.ones(case.draws.shape[0]))
        shared = [gradient.numpy() for gradient in found.shared]
        results.append([done.values, done.log_det, found.draws, found.weights.rows, found.weights.values, *shared])
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert np.array_equal(one, two)


@pytest.mark.parametrize(("name", "layers", "hidden"), CASES)
def test_state_goes_from_one_flow_to_another(name, layers, hidden):
    case, other = make_case(name, layers, hidden), make_case(name, layers, hidden, start=True)
    assert not np.array_equal(
        other.flow.forward(case.encoded.rows, case.draws).values,
        case.flow.forward(case.encoded.rows, case.draws).values,
    )
    other.flow.load_state_dict({name: value.clone() for name, value in case.flow.state_dict().items()})
    one, two = (flow.forward(case.encoded.rows, case.draws) for flow in (case.flow, other.flow))
    assert np.array_equal(one.values, two.values)


def test_states_and_choices_that_do_not_fit_are_refused():
    case = make_case("realnvp", 4, 8)
    with pytest.raises(CheckpointError, match="another support or another flow"):
        case.flow.load_state_dict(make_case("realnvp", 4, 9).flow.state_dict())
    with pytest.raises(CheckpointError, match="nothing"):
        case.flow.load_state_dict({})
    support = build_support(case.encoded.children)
    with pytest.raises(ConfigError, match="give none, planar, realnvp, spline"):
        make_flow("radial", support, torch.Generator())
    for layers, hidden in ((0, 5), (2, 0)):
        with pytest.raises(ConfigError, match="at least 1"):
            make_flow("realnvp", support, torch.Generator(), layers, hidden)
    with pytest.raises(ConfigError, match="5 hidden units for flow planar, which has none: leave them out, or give realnvp"):
        make_flow("planar", support, torch.Generator(), 2, 5)
    for name in ("none", "spline"):
        with pytest.raises(ConfigError, match=f"2 layers for flow {name}.* give planar or realnvp"):
            make_flow(name, support, torch.Generator(), 2)


def test_published_defaults():
    support = build_support(random_topologies(9, 5, np.random.default_rng(1)))
    flow = make_flow("realnvp", support, torch.Generator())
    # Ten layers of 100 units: a row has in-weights for half of them and twice as many out-weights for the other half.
    assert flow.n_parameters == support.n_features * 5 * 300 + 10 * 100
    assert make_flow("planar", support, torch.Generator()).n_parameters == support.n_features * 2 * 16 + 16
    assert make_flow("none", support, torch.Generator()) is None


def test_the_registry_is_read_without_torch_and_numba():
    """The command line reads it to print its help."""
    code = (
        "import sys, vbpi_mix.phylo.branches.flows as flows;"
        "print(*flows.FLOWS, 'torch' in sys.modules, 'numba' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.split() == [*FLOWS, "False", "False"]


@pytest.mark.parametrize(("name", "layers", "hidden"), CASES)
def test_a_flow_of_splits_only_has_no_rows_of_pairs_and_is_the_same_without_them(name, layers, hidden):
    case = make_case(name, layers, hidden)
    support = build_support(case.encoded.children)
    flow = make_flow(name, support, torch.Generator(), layers, hidden, torch.float64, split_only=True)
    assert flow.weights.shape[0] == support.n_splits < case.flow.weights.shape[0]
    state = case.flow.state_dict()
    flow.load_state_dict({**state, "weights": state["weights"][: support.n_splits]})
    rows = np.where(np.arange(3) > 0, -1, case.encoded.rows).astype(np.int32)
    assert np.array_equal(flow.forward(rows, case.draws).values, case.flow.forward(rows, case.draws).values)
