"""Inception-v3: its published size and shapes, blocks written out by hand, and what is refused as a file of parameters."""

import warnings

import pytest
import torch
import torch.nn.functional as F

from vbpi_mix.errors import ConfigError
from vbpi_mix.image.inception import Inception, read_inception


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = Inception()
        for name, value in module.state_dict().items():
            if "bn" in name and value.is_floating_point():
                value.uniform_(0.5, 1.5)
    return module.eval()


@pytest.fixture(scope="module")
def parameter_file(network, tmp_path_factory):
    place = tmp_path_factory.mktemp("inception") / "inception.pth"
    torch.save({**network.state_dict(), "fc.weight": torch.zeros(2, 2), "AuxLogits.fc.bias": torch.zeros(2)}, place)
    return place


def test_parameters_are_those_of_the_published_network(network):
    # 23,834,568 of the network without its auxiliary head, less 2048 x 1000 + 1000 of its classes.
    assert sum(parameter.numel() for parameter in network.parameters()) == 23_834_568 - 2_049_000
    state = network.state_dict()
    assert state["Conv2d_1a_3x3.conv.weight"].shape == (32, 3, 3, 3)
    assert state["Mixed_5b.branch5x5_2.conv.weight"].shape == (64, 48, 5, 5)
    assert state["Mixed_6c.branch7x7dbl_4.conv.weight"].shape == (160, 160, 7, 1)
    assert state["Mixed_7c.branch3x3dbl_3b.bn.running_var"].shape == (384,)


def test_blocks_have_the_published_sizes(network):
    """35 x 35, 17 x 17 and 8 x 8."""
    shapes = {}
    hooks = [
        module.register_forward_hook(lambda _, given, found, name=name: shapes.update({name: tuple(found.shape[1:])}))
        for name, module in network.named_children()
    ]
    with torch.no_grad():
        assert network(torch.rand(1, 1, 28, 28)).shape == (1, 2048)
    for hook in hooks:
        hook.remove()
    wanted = {
        "Conv2d_2b_3x3": (64, 147, 147), "Conv2d_4a_3x3": (192, 71, 71), "Mixed_5b": (256, 35, 35), "Mixed_5d": (288, 35, 35),
        "Mixed_6a": (768, 17, 17), "Mixed_6e": (768, 17, 17), "Mixed_7a": (1280, 8, 8), "Mixed_7c": (2048, 8, 8),
    }  # fmt: skip
    assert {name: shapes[name] for name in wanted} == wanted


def by_hand(module, x, name, padding):
    """One unit from its parameters."""
    state = {key.removeprefix(f"{name}."): value for key, value in module.state_dict().items() if key.startswith(f"{name}.")}
    y = F.conv2d(x, state["conv.weight"], padding=padding)
    y = (y - state["bn.running_mean"].view(-1, 1, 1)) / (state["bn.running_var"].view(-1, 1, 1) + 1e-3).sqrt()
    return F.relu(y * state["bn.weight"].view(-1, 1, 1) + state["bn.bias"].view(-1, 1, 1))


def test_first_and_last_blocks_by_hand(network):
    """Channels in the published order; the mean leaves out the padding, and the last block takes the maximum."""
    with torch.no_grad():
        block, x = network.Mixed_5b, torch.rand(1, 192, 5, 5)
        five = by_hand(block, by_hand(block, x, "branch5x5_1", 0), "branch5x5_2", 2)
        double = by_hand(block, by_hand(block, x, "branch3x3dbl_1", 0), "branch3x3dbl_2", 1)
        double = by_hand(block, double, "branch3x3dbl_3", 1)
        inside = F.conv2d(F.pad(torch.ones(1, 1, 5, 5), (1, 1, 1, 1)), torch.ones(1, 1, 3, 3))
        sums = F.conv2d(F.pad(x, (1, 1, 1, 1)), torch.ones(192, 1, 3, 3), groups=192)
        pooled = by_hand(block, sums / inside, "branch_pool", 0)
        wanted = torch.cat([by_hand(block, x, "branch1x1", 0), five, double, pooled], 1)
        torch.testing.assert_close(block(x), wanted, rtol=1e-4, atol=1e-4)
        block, x = network.Mixed_7c, torch.rand(1, 2048, 4, 4)
        three = by_hand(block, x, "branch3x3_1", 0)
        double = by_hand(block, by_hand(block, x, "branch3x3dbl_1", 0), "branch3x3dbl_2", 1)
        wide = F.unfold(F.pad(x, (1, 1, 1, 1), value=-9.0), 3).view(1, 2048, 9, 4, 4).amax(2)
        ends = [
            by_hand(block, x, "branch1x1", 0),
            by_hand(block, three, "branch3x3_2a", (0, 1)), by_hand(block, three, "branch3x3_2b", (1, 0)),
            by_hand(block, double, "branch3x3dbl_3a", (0, 1)), by_hand(block, double, "branch3x3dbl_3b", (1, 0)),
            by_hand(block, wide, "branch_pool", 0),
        ]  # fmt: skip
        torch.testing.assert_close(block(x), torch.cat(ends, 1), rtol=1e-4, atol=1e-4)


def test_a_file_of_parameters_gives_the_network(network, parameter_file):
    found = read_inception(parameter_file)
    images = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        assert (found(images) == network(images).double().numpy()).all()
    assert found.name.startswith("Inception-v3 of inception.pth (2048 pooled features, SHA-256 ")
    assert (found.size, found.accuracy) == (2048, None)


def test_a_program_is_refused_before_it_runs(tmp_path):
    place = tmp_path / "program.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather have another format than TorchScript
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), place)
    with pytest.raises(ConfigError, match="TorchScript, which is a program: give its parameters"):
        read_inception(place)


def test_other_files_are_refused_in_one_line(tmp_path):
    place = tmp_path / "given.pth"
    with pytest.raises(ConfigError, match="no such file of Inception parameters"):
        read_inception(place)
    place.write_bytes(b"nothing of the kind")
    with pytest.raises(ConfigError, match=r"given.pth is not a state dict of Inception-v3: give"):
        read_inception(place)
    torch.save({"fc.weight": torch.zeros(1)}, place)
    with pytest.raises(ConfigError, match="weight is missing"):
        read_inception(place)
    torch.save({"Conv2d_1a_3x3.conv.weight": torch.zeros(1)}, place)
    with pytest.raises(ConfigError, match="is not a state dict of Inception-v3: give"):
        read_inception(place)
