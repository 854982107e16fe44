"""Importance-sampling estimates of log p(x): against quadrature, and the same however they are computed."""

import json
import math

import pytest
import torch
from tiny_models import all_images, exact_log_evidence, tiny_model

from vbpi_mix.errors import ConfigError
from vbpi_mix.image import evaluation
from vbpi_mix.image.evaluation import (
    COLUMNS,
    EvaluationPlan,
    affordable_images,
    evaluate_block,
    evaluate_images,
)


def make_plan(L=20, images=16, seed=3, **changes):
    return EvaluationPlan(importance_samples=L, images=images, available=16, seed=seed, model="m", **changes)


def columns(results):
    return torch.tensor([results.values[name] for name in COLUMNS], dtype=torch.float64)


@pytest.mark.parametrize(("A", "d"), [(1, 1), (3, 1), (2, 2)])
def test_the_pooled_estimate_is_unbiased_for_the_evidence_by_quadrature(A, d):
    """exp(pooled) is unbiased; its mean over seeds is held to p(x), for all images."""
    model = tiny_model(A, d)
    x = all_images()
    exact = exact_log_evidence(model, x)
    assert float(torch.logsumexp(exact, 0)) == pytest.approx(0.0, abs=1e-5)
    repeats = torch.stack([evaluate_block(model, x, list(range(16)), 500, seed)[1] for seed in range(12)])
    ratio = torch.exp(repeats - exact)
    error = ratio.std(0) / math.sqrt(len(ratio))
    assert error.max() < 0.05
    assert ((ratio.mean(0) - 1).abs() < 4.5 * error + 1e-5).all()
    spread = (exact.max() - exact.min()).item()
    assert spread > 0.3


def test_the_published_form_stays_below_the_evidence_where_components_differ():
    model = tiny_model(4, 1, seed=2)
    x = all_images()
    published, pooled, elbo, diversity = evaluate_block(model, x, list(range(16)), 4000, 1)
    exact = exact_log_evidence(model, x)
    assert (pooled - exact).abs().max() < 0.02
    assert ((exact - published) > 0.01).any()
    assert (elbo < published).all()
    assert diversity.min() > 0.02


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("L", [1, 2, 30])
def test_pooled_is_never_below_published_and_diversity_within_its_bounds(seed, L):
    A = 1 + 2 * seed
    model = tiny_model(A, 2, seed=seed)
    published, pooled, elbo, diversity = evaluate_block(model, all_images(), list(range(16)), L, seed)
    assert (pooled >= published - 1e-12).all()
    assert (published >= elbo - 1e-12).all()
    assert (diversity >= 0).all()
    assert (diversity <= math.log(A)).all()
    if A == 1:
        assert torch.equal(published, pooled)
        assert diversity.abs().max() == 0


def test_diversity_is_the_mean_of_log_q_a_less_log_q():
    """The same expectation as the published definition of Jensen-Shannon divergence, from other draws."""
    model = tiny_model(4, 2, seed=1)
    x = all_images()[:4]
    found = evaluate_block(model, x, list(range(4)), 3000, 1)[3]
    with torch.no_grad():
        q = model.encode(x)
        components = torch.distributions.Independent(
            torch.distributions.Normal(q.mean.double(), torch.exp(0.5 * q.log_variance.double())), 1
        )
        torch.manual_seed(5)
        z = components.sample((20_000,))
        log_q = torch.stack([components.log_prob(z[:, a].unsqueeze(1).expand_as(z)) for a in range(4)])
    own = torch.stack([log_q[a, :, a] for a in range(4)])
    values = own - torch.logsumexp(log_q, 2) + math.log(4)
    reference, error = values.mean((0, 1)), values.std((0, 1)) / math.sqrt(80_000)
    assert ((found - reference).abs() < 5 * error + 3e-3).all()
    assert reference.max() > 0.05


def test_results_do_not_depend_on_what_is_evaluated_together(monkeypatch):
    model, x = tiny_model(3, 2), all_images()
    reference = columns(evaluate_images(model, x, make_plan()))
    for at_once in (1, 5, 16):
        assert torch.allclose(
            columns(evaluate_images(model, x, make_plan(images_at_once=at_once))), reference, atol=1e-5
        )
    backwards = evaluate_block(model, x.flip(0), list(range(15, -1, -1)), 20, 3)
    assert torch.allclose(backwards.flip(1), reference, atol=1e-5)
    for entries in (1, 700, 10**7):
        monkeypatch.setattr(evaluation, "ENTRIES_AT_ONCE", entries)
        assert torch.allclose(columns(evaluate_images(model, x, make_plan())), reference, atol=1e-5)


def test_results_do_not_depend_on_the_number_of_threads():
    model, x = tiny_model(3, 2), all_images()
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(columns(evaluate_images(model, x, make_plan())))
    torch.set_num_threads(1)
    assert torch.equal(found[0], found[1])


def test_another_seed_and_another_image_have_other_noise():
    model = tiny_model(2, 2)
    x = all_images()[5:6].expand(3, -1, -1, -1)
    first, same, other = evaluate_block(model, x, [4, 4, 5], 10, 1)[1]
    assert first == pytest.approx(float(same), abs=1e-6)
    assert abs(float(first - other)) > 1e-6
    assert abs(float(evaluate_block(model, x, [4, 4, 5], 10, 2)[1, 0] - first)) > 1e-6


def test_an_interrupted_evaluation_goes_on_bit_for_bit(tmp_path, monkeypatch):
    model, x, plan = tiny_model(3, 1), all_images(), make_plan(images_at_once=3)
    whole = evaluate_images(model, x, plan)
    path = tmp_path / plan.file_name
    original, calls = evaluation.evaluate_block, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(evaluation, "evaluate_block", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate_images(model, x, plan, path)
    assert [p.name for p in tmp_path.iterdir()] == [plan.file_name]
    assert len(json.loads(path.read_text())["published"]) == 6
    told = []
    resumed = evaluate_images(model, x, plan, path, lambda done, total: told.append((done, total)))
    assert resumed.values == whole.values
    assert told == [(9, 16), (12, 16), (15, 16), (16, 16)]
    assert len(calls) == 3 + 4
    assert evaluate_images(model, x, plan, path).values == whole.values
    assert len(calls) == 7


@pytest.mark.parametrize("spoil", ["cut", "other model", "other columns", "no file"])
def test_results_that_are_not_of_this_plan_are_made_anew(tmp_path, spoil):
    model, x, plan = tiny_model(2, 1), all_images(), make_plan(L=3)
    path = tmp_path / "results.json"
    reference = evaluate_images(model, x, plan, path)
    content = json.loads(path.read_text())
    if spoil == "cut":
        path.write_text(path.read_text()[:100])
    elif spoil == "other model":
        content["plan"]["model"] = "n"
        content["published"] = [0.0] * 16
        path.write_text(json.dumps(content))
    elif spoil == "other columns":
        content["pooled"] = content["pooled"][:4]
        path.write_text(json.dumps(content))
    else:
        path.unlink()
    assert evaluate_images(model, x, plan, path).values == reference.values


def test_a_subset_is_drawn_at_random_and_a_longer_one_begins_with_it():
    plan = EvaluationPlan(importance_samples=1, images=10, available=1000, seed=1, model="m")
    longer = EvaluationPlan(importance_samples=1, images=50, available=1000, seed=1, model="m")
    assert longer.indices[:10] == plan.indices
    assert len(set(longer.indices)) == 50
    assert sorted(plan.indices) != list(range(10))
    assert make_plan().indices == list(range(16))


def test_budgets_and_their_refusals():
    assert affordable_images(100, 4, 10, None) == 100
    assert affordable_images(100, 4, 10, 4000) == 100
    assert affordable_images(100, 4, 10, 3999) == 99
    with pytest.raises(ConfigError, match="not enough for 2 images of A L = 40"):
        affordable_images(100, 4, 10, 79)
    for changes in ({"images": 1}, {"images": 17}, {"L": 0}, {"images": 0}, {"images_at_once": 0}, {"seed": -1}):
        with pytest.raises(ConfigError):
            make_plan(**changes)


def test_standard_errors_are_over_images():
    results = evaluate_images(tiny_model(), all_images(), make_plan(L=2))
    values = torch.tensor(results.values["pooled"], dtype=torch.float64)
    assert results.mean("pooled") == pytest.approx(float(values.mean()))
    assert results.standard_error("pooled") == pytest.approx(float(values.std() / 4))
