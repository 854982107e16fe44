"""Models of parts: their numbers of parameters, flow, levels and priors by their definitions, bounds below exact evidences."""

import itertools
import math

import pytest
import torch
from image_models import colour_model, grey_model, images_for
from linear_gaussian import exact_log_evidence, gaussian_images, linear_gaussian_model
from reference import image_levels
from torch.distributions import Independent, Normal

from vbpi_mix.errors import ConfigError
from vbpi_mix.estimators import Estimator, draw_components, log_importance_weights, miselbo
from vbpi_mix.image.config import Execution
from vbpi_mix.image.datasets import load_images
from vbpi_mix.image.fit import make_model
from vbpi_mix.image.flow import AutoregressiveFlow
from vbpi_mix.image.mixture import ImageMixture
from vbpi_mix.image.model import build_model
from vbpi_mix.image.networks import Gaussians
from vbpi_mix.image.posterior import Posterior
from vbpi_mix.image.spec import FAMILIES, ModelSpec, preset
from vbpi_mix.image.target import ImageTarget

PARTS = {
    **{name: parts for name, parts in FAMILIES.items() if parts},
    "learned": {"prior": "learned"},
    "dense": {"features": "dense", "decoder": "dense", "hidden": 9},
}
BOTH = list(itertools.product(PARTS, ("shared", "separate")))


def counts(A, depth=3, encoder="separate", **parts):
    return build_model(preset("mnist", A, encoder=encoder, **parts)).parameter_counts(depth)


# With a shared flow; published counts with one for each component are larger.
@pytest.mark.parametrize(
    ("family", "published"),
    [
        ("vanilla", [553_181, 781_785, 1_010_389, 1_238_993]),
        ("vamp", [945_965, 1_174_569, 1_403_173, 1_631_777]),
        ("hierarchical", [1_385_821, 2_152_921, 2_920_021, 3_687_121]),
        ("iaf", [836_221, 1_064_825, 1_293_429, 1_522_033]),
        ("composite", [2_061_645, 2_828_745, 3_595_845, 4_362_945]),
    ],
)
def test_models_have_the_published_numbers_of_parameters(family, published):
    assert [counts(A, **FAMILIES[family])["total"] for A in (1, 2, 3, 4)] == published


def test_every_part_has_the_published_number_of_parameters():
    A = 2
    found = counts(A, **FAMILIES["composite"])

    def of(*names):
        return sum(n for name, n in found.items() if name != "total" and name.startswith(names))

    layers = counts(A, depth=4, **FAMILIES["composite"])
    convolutions = [640, 18_496, 36_992, 73_856, 6_924]
    assert [layers[f"lower_encoder.features.layers.{k}"] for k in range(5)] == [A * n for n in convolutions]
    assert of("lower_encoder.upper") == A * 24_108
    assert of("lower_encoder.joint") == A * 353_400
    assert of("lower_encoder.mean", "lower_encoder.log_variance") == A * 24_080
    assert of("lower_encoder") == A * 538_496
    assert of("lower_prior") == 24_600 + 180_600 + 24_080
    assert of("decoder", "lower_prior") == 618_721
    assert of("decoder.projection") == of("decoder.upper_projection") == 64_288
    assert found["decoder.layers.0"] + found["decoder.layers.1"] == 1_728 + 128
    assert of("flow") == 2 * 141_520
    assert [counts(1, 5, flow="iaf")[f"flow.steps.0.layers.{k}"] for k in range(3)] == [13_120, 102_720, 25_680]
    assert of("pseudo_inputs") == 392_784
    learned = counts(1, prior="learned")
    assert learned["upper_prior.mean"] == learned["upper_prior.log_variance"] == 40


def test_dense_networks_have_the_published_numbers_of_parameters():
    dense = {"features": "dense", "decoder": "dense"}
    assert [counts(A, **dense)["total"] for A in (1, 2, 3, 4, 12)] == [1_116_864, 1_792_544, 2_468_224, 3_143_904, 8_549_344]
    found = counts(1, **dense)
    assert [found["encoder.features.layers"], sum(n for name, n in found.items() if name.startswith("decoder"))] == [
        471_000 + 180_600, 441_184,
    ]  # fmt: skip


def test_a_shared_encoder_has_codes_in_the_joint_layer_and_the_heads():
    few, many = (counts(A, encoder="shared", **FAMILIES["hierarchical"])["total"] for A in (1, 11))
    assert many - few == 10 * (240 + 600 + 2 * 40)
    plain = counts(1, encoder="shared")["total"]
    assert few - plain == 538_496 + 600 + 80 + (618_721 - 324_577)


def test_composite_is_the_sum_of_its_parts():
    assert FAMILIES["composite"] == {**FAMILIES["hierarchical"], **FAMILIES["iaf"], **FAMILIES["vamp"]}
    assert preset("mnist", 2, **FAMILIES["composite"]).parts_label == "two levels, IAF, VampPrior"
    assert preset("mnist", 2).parts_label == ""
    for family in FAMILIES:
        for name in ("digits", "mnist", "fashion_mnist", "cifar10"):
            spec = preset(name, 2, **FAMILIES[family])
            assert ModelSpec.from_dict(spec.to_dict()) == spec


@pytest.mark.parametrize("d", [1, 2, 5])
def test_the_flow_is_triangular_and_inverted_and_its_jacobian_is_that_of_autograd(d):
    torch.manual_seed(d)
    flow = AutoregressiveFlow(d, 40, 3).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.mul_(2.0)
    z = torch.randn(4, d, dtype=torch.float64)
    moved, log_determinant = flow(z)
    for point, found in zip(z, log_determinant, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda x: flow(x)[0], point)
        assert float(jacobian.triu(1).abs().max()) == 0.0
        torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], found)
        below = jacobian.tril(-1)[*torch.tril_indices(d, d, -1)]
        assert bool((below != 0).all())
    torch.testing.assert_close(flow.inverse(moved), z, atol=1e-8, rtol=0.0)


@pytest.mark.parametrize("encoder", ["shared", "separate"])
def test_the_lower_level_equals_its_slow_twin(encoder):
    model = grey_model(A=3, encoder=encoder, levels=2)
    images = images_for(model, 2)
    z2 = torch.randn(2, 2, 2, model.spec.latent, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    q = model.posterior(images).lower(z2)
    for s, k, r, b in itertools.product(range(2), range(2), range(3), range(2)):
        mean, log_variance = image_levels.lower(model, images[b : b + 1], z2[s, k, b], r)
        torch.testing.assert_close(q.mean[s, k, r, b], mean, atol=1e-10, rtol=0.0)
        torch.testing.assert_close(q.log_variance[s, k, r, b], log_variance, atol=1e-10, rtol=0.0)


def sampled(model, images, estimator=Estimator.A2A, S=None, K=2, seed=6, batch_shape=()):
    generator = torch.Generator().manual_seed(seed)
    draw = draw_components(estimator, model.spec.components, S, generator, batch_shape)
    return draw, ImageMixture(model, images).sample(draw, K, generator)


def weights(model, images, draws):
    target = ImageTarget(model, images)
    return log_importance_weights(target.log_likelihood(draws), target.log_prior(draws), draws.log_q)


@pytest.mark.parametrize(("parts", "encoder"), BOTH)
@pytest.mark.parametrize("estimator", [Estimator.S2A, Estimator.S2S])
@pytest.mark.parametrize("per_point", [True, False])
def test_densities_are_those_of_the_point_drawn_under_the_components_evaluated(parts, encoder, estimator, per_point):
    """Found again from the point alone: through the inverse of the flow, all components, then those evaluated."""
    model = grey_model(A=4, encoder=encoder, **PARTS[parts])
    images = images_for(model, 3)
    with torch.no_grad():
        draw, draws = sampled(model, images, estimator, 2, batch_shape=(3,) if per_point else ())
        everything = model.posterior(images).log_density(draws.z)
    for b in range(3):
        rows = draw.evaluated[:, b] if draw.evaluated.ndim == 2 else draw.evaluated
        torch.testing.assert_close(draws.log_q[..., b], everything[:, :, rows, b])


@pytest.mark.parametrize("encoder", ["shared", "separate"])
@pytest.mark.parametrize("levels", [1, 2])
def test_the_vamp_prior_is_the_mean_of_the_encoder_at_its_pseudo_inputs(encoder, levels):
    model = grey_model(A=2, encoder=encoder, prior="vamp", levels=levels)
    pseudo = model.pseudo_inputs()
    assert float(pseudo.detach().min()) == 0.0
    assert float(pseudo.detach().max()) <= 1.0
    z = torch.randn(3, model.spec.dimensions, dtype=torch.float64)
    upper = z[:, -model.spec.latent :]
    parts = []
    for u, a in itertools.product(range(3), range(2)):
        q = model.encode(pseudo[u : u + 1])
        parts.append(Independent(Normal(q.mean[a, 0], torch.exp(0.5 * q.log_variance[a, 0])), 1).log_prob(upper))
    wanted = torch.logsumexp(torch.stack(parts), 0) - math.log(6)
    if levels == 2:
        lower = model.lower_prior(upper)
        own = Independent(Normal(lower.mean, torch.exp(0.5 * lower.log_variance)), 1)
        wanted = wanted + own.log_prob(z[:, : model.spec.latent])
    found = model.prior().log_density(z)
    torch.testing.assert_close(found, wanted)
    found.sum().backward()
    assert all(float(p.grad.abs().max()) > 0 for p in (*model.encoder.parameters(), *model.pseudo_inputs.parameters()))


def test_pseudo_inputs_begin_at_training_images_and_all_their_pixels_learn():
    """PyTorch's start has one dark image in all of them, half of it without a gradient."""
    data = load_images("digits")
    model = make_model(preset("digits", 2, prior="vamp"), 3, Execution(), data)
    started, grey = model.pseudo_inputs().detach(), data.train / 16.0
    nearest = torch.cdist(((started - 0.02) / 0.96).flatten(1), grey.flatten(1)).min(1)
    assert float(nearest.values.max()) < 1e-3
    assert len(nearest.indices.unique()) > 40
    model.prior().log_density(torch.randn(5, 8, generator=torch.Generator().manual_seed(1))).sum().backward()
    assert bool((model.pseudo_inputs.images.weight.grad != 0).all())
    other = make_model(preset("digits", 2, prior="vamp"), 3, Execution())
    assert torch.equal(model.decoder.projection.weight, other.decoder.projection.weight)
    dark = other.pseudo_inputs().detach()
    assert float((dark == 0).float().mean()) > 0.4
    spread = [model.encode(u).mean.detach().std(1).mean() for u in (grey, started, dark)]
    assert float(spread[1]) > 0.8 * float(spread[0]) > 3 * 0.8 * float(spread[2])


@pytest.mark.parametrize(
    ("A", "choices"), [(1, {}), (3, {}), (2, {"encoder": "separate"}), (2, {"features": "dense"}), (1, {"residual": False})]
)
def test_under_a_vamp_prior_means_differ_from_image_to_image_at_the_start(A, choices):
    """With PyTorch's start they differ by a thousandth, and some seeds never learned to tell images apart."""
    data = load_images("digits")
    spec = preset("digits", A, prior="vamp", **choices)
    images, unseen = data.train / 16.0, data.held_out_input(data.validation).float()
    with torch.no_grad():
        q = make_model(spec, 3, Execution(), data).encode(images).mean
        of_unseen = make_model(spec, 3, Execution(), data).encode(unseen).mean
        plain = make_model(spec, 3, Execution()).encode(images).mean
    assert float(plain.std(1).mean()) < 0.02
    within = q.var(1).mean(0).sqrt()
    assert 0.9 < float(within.min()) <= float(within.max()) < 1.1
    assert 0.7 < float(of_unseen.std(1).mean()) < 3.0  # black and white, where the others are grey
    centres = q.mean(1)
    assert float(centres.mean(0).abs().max()) < 0.15
    if A > 1 and spec.encoder == "shared":  # codes still keep the components apart
        assert 0.01 < float(centres.std(0).mean()) < 0.5


def test_means_of_a_resnet_are_rescaled_as_well():
    model = colour_model(A=2, prior="vamp")
    images = images_for(model, 30)
    with torch.no_grad():
        model.standardise_encoder(images)
        within = model.encode(images).mean.var(1, correction=0).mean(0)
    torch.testing.assert_close(within, torch.ones(5, dtype=torch.float64))


def test_what_another_model_starts_with_does_not_depend_on_the_images():
    """Two levels, whose lower latent is not lost with the upper one, and models without a VampPrior."""
    data = load_images("digits")
    for parts in ({"levels": 2, "prior": "vamp"}, {"prior": "learned"}, {}):
        spec = preset("digits", 2, **parts)
        with_data, without = make_model(spec, 3, Execution(), data), make_model(spec, 3, Execution())
        pairs = zip(with_data.encoder.parameters(), without.encoder.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("encoder", ["shared", "separate"])
def test_images_that_are_all_alike_leave_a_start_that_is_finite(encoder):
    model = grey_model(A=2, encoder=encoder, prior="vamp")
    model.standardise_encoder(torch.zeros(5, 1, 8, 8))
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())


@pytest.mark.parametrize("parts", [{}, {"prior": "learned"}, {"prior": "vamp"}, {"levels": 2}, {"levels": 2, "prior": "vamp"}])
def test_draws_from_the_prior_have_its_density(parts):
    """If z comes from p, then E[r(z) / p(z)] = 1 for any narrower density r."""
    prior = linear_gaussian_model(d=1, **parts).prior()
    with torch.no_grad():
        z = prior.sample(40_000, torch.Generator().manual_seed(1)).double()
        r = Independent(Normal(z.mean(0) + 0.1, 0.7 * z.std(0)), 1)
        ratio = torch.exp(r.log_prob(z) - prior.log_density(z))
    error = float(ratio.std()) / math.sqrt(len(ratio))
    assert error < 0.02
    assert float(ratio.mean()) == pytest.approx(1.0, abs=4.5 * error)


@pytest.mark.parametrize(("parts", "encoder"), [("none", "shared"), *BOTH])
def test_bounds_stay_below_the_exact_evidence_and_weights_average_to_it(parts, encoder):
    model = linear_gaussian_model(encoder=encoder, **PARTS.get(parts, {}))
    images = gaussian_images(model, 3)
    exact = exact_log_evidence(model, images)
    with torch.no_grad():
        for estimator, S in ((Estimator.A2A, None), (Estimator.S2A, 2), (Estimator.S2S, 2)):
            log_w = weights(model, images, sampled(model, images, estimator, S, K=6_000)[1])
            error = log_w.std((0, 1)) / math.sqrt(log_w[..., 0].numel())
            assert bool((miselbo(log_w) < exact + 3 * error).all()), estimator
            assert bool((miselbo(log_w, 5) < exact + 3 * error).all()), estimator
            if estimator is Estimator.A2A:
                ratio = torch.exp(log_w - exact)
                error = ratio.std((0, 1)) / math.sqrt(ratio[..., 0].numel())
                assert float(error.max()) < 0.08
                assert bool(((ratio.mean((0, 1)) - 1).abs() < 4.5 * error).all())


def test_with_a_flow_for_each_component_the_bound_would_exceed_the_evidence():
    """Components far apart that their own flows bring to the posterior: log 2 too much. The shared flow never gains."""
    model = linear_gaussian_model(A=2, d=1, flow="iaf")
    images = gaussian_images(model, 1)
    exact, W = exact_log_evidence(model, images), model.weight
    variance = 1.0 / (1.0 + float(W.T @ W))
    mean = variance * float(W.T @ (images.flatten() - model.offset))
    flows = [AutoregressiveFlow(1, 2, 1).double() for _ in range(2)]
    with torch.no_grad():
        for flow, to in zip(flows, (20.0, -20.0), strict=True):
            flow.steps[0].layers[-1].weight.zero_()
            flow.steps[0].layers[-1].bias.copy_(torch.tensor([0.0, to]))  # z / 2 + to / 2
        means = torch.tensor([2 * mean - 20.0, 2 * mean + 20.0], dtype=torch.float64).view(2, 1, 1)
        q = Gaussians(means, torch.full((2, 1, 1), math.log(4 * variance), dtype=torch.float64))
        noise = torch.randn(2, 500, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        base, own = means.unsqueeze(1) + 2 * math.sqrt(variance) * noise, torch.arange(2)
        bounds = []
        for used in (flows, [flows[0]] * 2):
            parts = [Posterior(q, None, flow).complete(own, base, None) for flow in used]
            z = torch.stack([parts[s][0][s] for s in range(2)])
            log_q = torch.stack([parts[s][1][s] for s in range(2)])
            log_w = log_importance_weights(model.decode_log_likelihood(images, z), model.prior().log_density(z), log_q)
            bounds.append(miselbo(log_w))
    torch.testing.assert_close(bounds[0], exact + math.log(2))
    assert float(bounds[1]) < float(exact)


@pytest.mark.parametrize(("parts", "encoder"), BOTH)
def test_the_mixture_gains_between_zero_and_log_a(parts, encoder):
    A = 3
    model = linear_gaussian_model(A=A, encoder=encoder, **PARTS[parts])
    images = gaussian_images(model, 4)
    with torch.no_grad():
        draws = sampled(model, images, K=400)[1]
        own = draws.log_q[torch.arange(A), :, torch.arange(A)]
        gain = float((own - torch.logsumexp(draws.log_q, 2) + math.log(A)).mean())
    assert 0.005 < gain < math.log(A)


@pytest.mark.parametrize(("parts", "encoder"), BOTH)
@pytest.mark.parametrize("training", [True, False])
def test_nothing_of_an_image_depends_on_the_others(parts, encoder, training):
    model = grey_model(A=2, encoder=encoder, **PARTS[parts]).train(training)
    images = images_for(model, 3)
    other = images.clone()
    other[1:] = images_for(model, 2, seed=99)
    found = []
    with torch.no_grad():
        for given in (images, other):
            draws = sampled(model, given)[1]
            found.append((ImageTarget(model, given).log_likelihood(draws), weights(model, given, draws)))
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first[..., 0], second[..., 0], atol=1e-9, rtol=0.0)
        assert float((first[..., 1:] - second[..., 1:]).abs().min()) > 1e-6


@pytest.mark.parametrize("parts", [name for name in PARTS if name != "dense"])
def test_colour_images_take_all_parts(parts):
    model = colour_model(A=2, **PARTS[parts])
    images = images_for(model, 2)
    draws = sampled(model, images)[1]
    assert draws.z.shape == (2, 2, 2, model.spec.dimensions)
    assert bool(torch.isfinite(weights(model, images, draws)).all())


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"levels": 3}, "levels must be 1 or 2, not 3"),
        ({"levels": 2, "lower_layers": ()}, "need lower_layers"),
        ({"lower_layers": ((1, 2),)}, r"lower_layers are \(channels"),
        ({"flow": "maf"}, "flow must be one of none, iaf"),
        ({"prior": "vamps"}, "prior must be one of normal, learned, vamp"),
        ({"decoder": "mlp"}, "decoder must be one of autoregressive, dense"),
        ({"pseudo_inputs": 0}, "pseudo_inputs must be a whole number"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, match):
    with pytest.raises(ConfigError, match=match):
        preset("digits", 2, **changes)
    with pytest.raises(ConfigError, match="VampPrior does not go with batch statistics"):
        preset("cifar10", 2, norm="batch", prior="vamp")
    with pytest.raises(ConfigError, match="the dense decoder is for the Bernoulli likelihood"):
        preset("cifar10", 2, decoder="dense")
