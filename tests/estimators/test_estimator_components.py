"""Draws of components: sizes, frequencies, designs, errors."""

import math
from collections import Counter
from fractions import Fraction

import pytest
import reference_estimators as reference
import torch

from vbpi_mix.errors import ConfigError
from vbpi_mix.estimators import Estimator, draw_components, inclusion_probabilities, outer_weights
from vbpi_mix.estimators.components import effective_components, systematic_positions

BATCHES = [(), (7,), (2, 3)]
# Statistical checks accept 5 standard deviations: a false alarm in fewer than 1 in a million frequencies.
SIGMAS = 5.0


def _assert_frequency(count, n, probability):
    sd = math.sqrt(n * probability * (1 - probability))
    assert abs(count - n * probability) <= SIGMAS * sd + 1e-9


@pytest.mark.parametrize("estimator", [Estimator.S2A, Estimator.S2S])
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("S", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_shapes_and_distinctness(estimator, batch, S, weighted, generator):
    A = 5
    inclusion = inclusion_probabilities(torch.tensor([5.0, 1, 1, 2, 1]), S) if weighted else None
    draw = draw_components(estimator, A, S, generator, batch, inclusion)
    R = estimator.n_evaluated(A, S)
    assert draw.sampled.shape == (S, *batch)
    assert draw.own.shape == (S, *batch)
    assert draw.evaluated.shape in {(R,), (R, *batch)}
    for tensor in (draw.sampled, draw.evaluated, draw.own):
        assert tensor.dtype == torch.int64
    assert bool(((draw.sampled >= 0) & (draw.sampled < A)).all())
    ordered = draw.sampled.sort(0).values
    assert bool((ordered[1:] > ordered[:-1]).all())
    evaluated = draw.evaluated.reshape(
        R, *([1] * (len(batch) + 1 - draw.evaluated.ndim)), *draw.evaluated.shape[1:]
    )
    assert torch.equal(evaluated.expand(R, *batch).gather(0, draw.own), draw.sampled)


@pytest.mark.parametrize("estimator", list(Estimator))
def test_all_of_all_needs_no_random_numbers(estimator):
    draw = draw_components(estimator, 4, 4, None, (6,))
    for tensor in (draw.sampled, draw.evaluated, draw.own):
        assert tensor.tolist() == [0, 1, 2, 3]
    assert draw_components(Estimator.A2A, 3, None, None).sampled.tolist() == [0, 1, 2]


@pytest.mark.parametrize("S", [1, 2, 3])
@pytest.mark.parametrize("per_point", [False, True])
def test_uniform_subsets_are_equally_likely(S, per_point, generator):
    A, n = 4, 3000
    if per_point:
        drawn = draw_components(Estimator.S2A, A, S, generator, (n,)).sampled.T.tolist()
    else:
        drawn = [draw_components(Estimator.S2A, A, S, generator).sampled.tolist() for _ in range(n)]
    counts = Counter(tuple(sorted(subset)) for subset in drawn)
    for subset in reference.subsets(A, S):
        _assert_frequency(counts[subset], n, 1 / math.comb(A, S))


@pytest.mark.parametrize("S", [1, 2, 3])
def test_systematic_design_is_the_enumerated_one(S, generator):
    weights = [1, 4, 2, 3]
    exact = reference.capped_inclusion(weights, S)
    inclusion = inclusion_probabilities(torch.tensor(weights, dtype=torch.float64), S)
    assert inclusion.tolist() == pytest.approx([float(v) for v in exact], abs=1e-15)
    design = reference.systematic_design(exact)
    for a in range(4):
        assert sum(chance for subset, chance in design.items() if a in subset) == exact[a]
    n = 20_000
    drawn = draw_components(Estimator.S2S, 4, S, generator, (n,), inclusion).sampled.T.tolist()
    counts = Counter(tuple(sorted(subset)) for subset in drawn)
    assert set(counts) <= set(design)
    for subset, chance in design.items():
        _assert_frequency(counts[subset], n, float(chance))


def test_systematic_positions_on_a_grid_of_starts():
    inclusion = torch.tensor([0.5, 1.0, 0.25, 0.25], dtype=torch.float64)
    starts = (torch.arange(400, dtype=torch.float64) + 0.5).unsqueeze(1) / 400
    picked = systematic_positions(inclusion.expand(400, 4).contiguous(), starts, 2)
    frequency = torch.nn.functional.one_hot(picked, 4).sum(1).double().mean(0)
    assert torch.allclose(frequency, inclusion, atol=1e-12)


def test_the_last_start_of_all_picks_components_that_are_there():
    """The last of its points rounds to S, the end of the last component."""
    inclusion = torch.full((1, 4), 0.75, dtype=torch.float64)
    last = torch.tensor([[math.nextafter(1.0, 0.0)]], dtype=torch.float64)
    assert systematic_positions(inclusion, last, 3).tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(("weights", "expected"), [([3, 3, 3, 3], 4.0), ([1, 1e-300], 1.0), ([1, 2, 1], 2 * math.sqrt(2))])
def test_effective_components_by_hand(weights, expected):
    assert effective_components(torch.tensor(weights, dtype=torch.float64).log()) == pytest.approx(expected)


@pytest.mark.parametrize("weights", [[1, 1, 1, 1], [10, 1, 1, 1], [100, 50, 2, 1], [8, 4, 2, 1]])
@pytest.mark.parametrize("S", [1, 2, 3, 4])
def test_inclusion_probabilities_equal_the_twin(weights, S):
    got = inclusion_probabilities(torch.tensor(weights, dtype=torch.float32), S)
    assert got.tolist() == pytest.approx(
        [float(v) for v in reference.capped_inclusion(weights, S)], abs=1e-12
    )
    assert float(got.sum()) == pytest.approx(S)


def test_a_generator_reproduces_draws_and_is_the_only_source():
    def draws(seed):
        g = torch.Generator().manual_seed(seed)
        inclusion = inclusion_probabilities(torch.arange(1.0, 7.0), 3)
        return [
            draw_components(e, 6, 3, g, batch, i).sampled
            for e in (Estimator.S2A, Estimator.S2S)
            for batch in ((), (50,))
            for i in (None, inclusion)
        ]

    torch.manual_seed(0)
    first = draws(1)
    before = torch.get_rng_state()
    again = draws(1)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, draws(2), strict=True))


def test_outer_weights(generator):
    log_weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()
    inclusion = inclusion_probabilities(log_weights.exp(), 2)
    draw = draw_components(Estimator.S2A, 3, 2, generator, (4,), inclusion)
    pi = log_weights.exp()[draw.sampled]
    close = torch.testing.assert_close
    close(outer_weights(Estimator.S2A, draw, log_weights, inclusion), pi / inclusion[draw.sampled])
    close(outer_weights(Estimator.S2A, draw, log_weights), pi * 3 / 2)
    close(outer_weights(Estimator.S2A, draw, None, inclusion), 1 / 3 / inclusion[draw.sampled])
    close(outer_weights(Estimator.S2S, draw, log_weights, inclusion), pi / pi.sum(0))
    assert outer_weights(Estimator.S2A, draw) is None
    assert outer_weights(Estimator.S2S, draw, None, inclusion) is None
    everything = draw_components(Estimator.A2A, 3, None, None)
    close(outer_weights(Estimator.A2A, everything, log_weights + 1.7), log_weights.exp())


def test_estimator_names():
    assert Estimator.parse("S2A") is Estimator.S2A
    with pytest.raises(ConfigError, match="'s3s' is unknown: give one of a2a, s2a, s2s"):
        Estimator.parse("s3s")


HALF = torch.full((4,), 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((Estimator.S2A, 0, 1), "A=0 components: give at least 1"),
        ((Estimator.S2A, 3, 0), "S=0 components are to be sampled: give at least 1, at most A=3"),
        ((Estimator.S2S, 3, 4), "S=4 components are to be sampled of A=3: lower S or raise A"),
        ((Estimator.A2A, 3, 2), "a2a samples all A=3 components, not S=2: leave S out, or use s2a or s2s"),
        ((Estimator.S2A, 3, None), "S is missing: s2a needs 1 <= S <= A=3"),
        ((Estimator.S2A, 4, 1, None, (), HALF), "sum to 2, not to S=1: make them with"),
        ((Estimator.S2A, 3, 2, None, (), HALF), r"have shape \[4\]: give one per component, \[3\]"),
        (
            (Estimator.S2A, 4, 2, None, (), torch.tensor([0.0, 1, 0.5, 0.5])),
            r"lie in \[0, 1\], not in \(0, 1\]",
        ),
        ((Estimator.S2A, 4, 2, None, (), torch.tensor([1.5, 0.3, 0.1, 0.1])), r"lie in \[0.1, 1.5\]"),
        ((Estimator.S2A, 4, 2), "needs random numbers: give a torch.Generator"),
    ],
)
def test_draw_errors(arguments, message):
    arguments = arguments if len(arguments) > 3 else (*arguments, None)
    with pytest.raises(ConfigError, match=message):
        draw_components(*arguments)


@pytest.mark.parametrize(
    ("weights", "S", "message"),
    [
        ([1.0, 0.0], 1, "is not positive: drop the component"),
        ([1.0, math.nan], 1, "is not positive"),
        ([1.0, 2.0], 3, "S=3 components are to be sampled of A=2"),
        ([[1.0]], 1, r"have shape \[1, 1\]: give one weight per component"),
    ],
)
def test_inclusion_errors(weights, S, message):
    with pytest.raises(ConfigError, match=message):
        inclusion_probabilities(torch.tensor(weights), S)


def test_the_twin_caps_exactly():
    assert reference.capped_inclusion([4, 1, 1], 2) == [1, Fraction(1, 2), Fraction(1, 2)]
