"""The kernel Adam against torch's own, step by step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vbpi_mix.gradients import RowGradient
from vbpi_mix.kernels.adam import LONG_ROW
from vbpi_mix.training.adam import KernelAdam, TorchAdam, make_adam


def parameters(dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    shapes = [(4, 37), (3, 5, 2), (1,)]
    return [torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def give_gradients(tensors: list[torch.Tensor], step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for index, tensor in enumerate(tensors):
        gradient = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        tensor.grad = None if index == 2 and step % 2 else gradient * 10.0 ** (step % 5 - 3)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_equals_torch(dtype, tolerance):
    ours, theirs = parameters(dtype), parameters(dtype)
    adam = make_adam([{"params": ours[:1]}, {"params": ours[1:], "multiplier": 0.5}])
    assert isinstance(adam, KernelAdam)
    reference = torch.optim.Adam([{"params": theirs[:1], "lr": 0.1}, {"params": theirs[1:], "lr": 0.05}])
    adam.set_learning_rate(0.1)
    for step in range(20):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        adam.step()
        reference.step()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=tolerance, atol=tolerance)


def test_torch_wrapper_is_the_same_optimiser():
    ours, theirs = parameters(torch.float64), parameters(torch.float64)
    for tensors, adam in ((ours, KernelAdam([{"params": ours}])), (theirs, TorchAdam([{"params": theirs}]))):
        adam.set_learning_rate(0.1)
        for step in range(5):
            give_gradients(tensors, step)
            adam.step()
        adam.zero_grad()
        assert all(tensor.grad is None for tensor in tensors)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


def test_gradients_that_are_not_contiguous():
    tensor = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    gradient = torch.tensor([[1.0, -1.0], [0.5, 2.0], [-3.0, 1.0]], dtype=torch.float64)
    adam = make_adam([{"params": [tensor]}])
    adam.set_learning_rate(0.1)
    tensor.grad = gradient.T
    adam.step()
    torch.testing.assert_close(tensor.detach(), -0.1 * gradient.T.sign())


def test_parameters_given_new_memory_are_still_updated():
    tensor = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    adam = make_adam([{"params": [tensor]}])
    adam.set_learning_rate(0.1)
    tensor.data = torch.ones(3, dtype=torch.float64)
    tensor.grad = torch.ones(3, dtype=torch.float64)
    adam.step()
    torch.testing.assert_close(tensor.detach(), torch.full((3,), 0.9, dtype=torch.float64))


def test_state_round_trip_is_exact():
    whole, split = parameters(torch.float64), parameters(torch.float64)
    first, resumed = make_adam([{"params": split}]), make_adam([{"params": split}])
    reference = make_adam([{"params": whole}])
    for step in range(6):
        adam = first if step < 3 else resumed
        if step == 3:
            resumed.load_state_dict(first.state_dict())
        for tensors, optimiser in ((whole, reference), (split, adam)):
            give_gradients(tensors, step)
            optimiser.set_learning_rate(0.01)
            optimiser.step()
    assert all(torch.equal(one, other) for one, other in zip(whole, split, strict=True))


def test_state_of_other_parameters_is_refused():
    state = make_adam([{"params": parameters(torch.float64)}]).state_dict()
    with pytest.raises(ValueError, match="parameters"):
        make_adam([{"params": parameters(torch.float64)[:2]}]).load_state_dict(state)


def test_a_parameter_in_two_groups_is_refused():
    tensor = torch.zeros(2, requires_grad=True)
    with pytest.raises(ValueError, match="twice"):
        make_adam([{"params": [tensor]}, {"params": [tensor]}])


def test_multipliers_of_rows_need_a_gradient_by_rows():
    with pytest.raises(ValueError, match="gradient by rows"):
        make_adam([{"params": [torch.zeros(2, 3, requires_grad=True)], "row_multipliers": np.ones(2)}])


def random_rows(step: int, dtype: np.dtype, columns: int = 3, most: int = 6) -> RowGradient:
    rng = np.random.default_rng(step)
    rows = rng.permutation(8)[: rng.integers(0, most + 1)]
    return RowGradient(rows, (rng.normal(size=(rows.size, columns)) * 10.0 ** (step % 5 - 3)).astype(dtype))


class RowTraining:
    """Steps whose gradients touch some of the 8 rows of a tensor [2, 4, columns]."""

    def __init__(self, tensor: torch.Tensor, **group: object) -> None:
        self.dtype, self.columns, self.tensor = tensor.detach().numpy().dtype, tensor.shape[-1], tensor
        self.adam = make_adam([{"params": [tensor], "by_row": True, **group}])

    def run(self, steps: range) -> None:
        self.adam.set_learning_rate(0.1)
        for step in steps:
            self.adam.step({self.tensor: random_rows(step, self.dtype, self.columns)})


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("least", [0, 1_000_000])
@pytest.mark.parametrize(("columns", "vectors"), [(3, False), (LONG_ROW + 8, False), (LONG_ROW + 8, True)])
def test_every_row_goes_through_adam_on_a_clock_of_its_own(dtype, tolerance, least, columns, vectors, monkeypatch):
    """Twin: torch's Adam of each row alone, stepped when the row is touched; on one thread and on all."""
    monkeypatch.setattr("vbpi_mix.training.adam.PARALLEL_ELEMENTS", least)
    monkeypatch.setattr("numba.get_num_threads", lambda: 2)
    start = torch.arange(8 * columns, dtype=dtype).view(2, 4, columns) / 10
    tensor = start.clone().requires_grad_()
    scales = np.linspace(0.2, 1.6, 8)
    RowTraining(tensor, row_multipliers=scales, vectors=vectors).run(range(20))
    rows = [row.clone().requires_grad_() for row in start.reshape(8, columns)]
    twins = [torch.optim.Adam([row], lr=0.1 * scale) for row, scale in zip(rows, scales, strict=True)]
    touched = 0
    for step in range(20):
        given = random_rows(step, start.numpy().dtype, columns)
        for row, gradient in zip(given.rows, given.values, strict=True):
            rows[row].grad = torch.from_numpy(gradient)
            twins[row].step()
            touched += 1
    assert 20 < touched < 160
    torch.testing.assert_close(
        tensor.detach().reshape(8, columns), torch.stack(rows).detach(), rtol=tolerance, atol=tolerance
    )


def test_rows_touched_every_time_are_dense_adam():
    tensor, dense = (torch.zeros(2, 4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    gradients = torch.randn(10, 8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    adam = make_adam([{"params": [tensor], "by_row": True}])
    reference = make_adam([{"params": [dense]}])
    for gradient in gradients:
        given = {tensor: RowGradient(np.arange(8), gradient.numpy()), dense: gradient.view(2, 4, 3)}
        for optimiser in (adam, reference):
            optimiser.set_learning_rate(0.01)
            optimiser.step(given)
    torch.testing.assert_close(tensor, dense, rtol=0, atol=1e-14)


def test_a_dense_gradient_of_rows_touches_those_that_are_not_zero():
    """As torch's graph leaves it in `.grad`: the rows of zeros stay, and their clocks stand still."""
    by_row, dense = (torch.zeros(2, 4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    one, two = RowTraining(by_row), RowTraining(dense)
    one.run(range(10))
    for step in range(10):
        dense.grad = random_rows(step, two.dtype).dense(dense)
        two.adam.set_learning_rate(0.1)
        two.adam.step()
    assert torch.equal(by_row, dense)
    assert torch.equal(one.adam.state_dict()["steps"][0], two.adam.state_dict()["steps"][0])


def test_rows_for_an_adam_that_has_none_are_filled_up_with_zeros():
    given = RowGradient(np.array([5, 2]), np.array([[1.0, -2.0, 3.0], [0.5, 0.0, 1.0]]))
    filled = torch.zeros(8, 3, dtype=torch.float64)
    filled[5], filled[2] = torch.from_numpy(given.values[0]), torch.from_numpy(given.values[1])
    for make in (make_adam, TorchAdam):
        by_rows, dense = (torch.ones(2, 4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
        adam = make([{"params": [by_rows]}, {"params": [dense]}])
        adam.set_learning_rate(0.1)
        for _ in range(2):
            adam.step({by_rows: given, dense: filled.view(2, 4, 3)})
        assert torch.equal(by_rows, dense)
        assert (dense != 1.0).any(2).view(-1).nonzero().ravel().tolist() == [2, 5]


def test_state_of_rows_round_trip_is_exact():
    whole, split = (torch.zeros(2, 4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    RowTraining(whole).run(range(12))
    first = RowTraining(split)
    first.run(range(7))
    resumed = RowTraining(split)
    resumed.adam.load_state_dict(first.adam.state_dict())
    resumed.run(range(7, 12))
    assert torch.equal(whole, split)


def test_a_row_gradient_that_is_not_there_changes_nothing():
    tensor = torch.ones(4, 3, requires_grad=True)
    adam = make_adam([{"params": [tensor], "by_row": True}])
    adam.set_learning_rate(0.1)
    adam.step()
    assert torch.equal(tensor, torch.ones(4, 3))
