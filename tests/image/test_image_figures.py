"""Pictures of images: the right pixels in the right places, and files that are PNG."""

import io

import numpy as np
import pytest
import torch
from matplotlib import image as png

from vbpi_mix.image.figures import (
    BACKGROUND,
    GAP,
    Point,
    Quantity,
    draw_comparison,
    draw_grid,
    share_single,
    square_grid,
    tile,
)


def pixels(content):
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    return png.imread(io.BytesIO(content), format="png")[:, :, :3]


def test_tiles_are_enlarged_images_in_order():
    images = torch.rand(2, 3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    canvas = tile(images)
    size = 8 * 7
    assert canvas.shape == (2 * (size + GAP) + GAP, 3 * (size + GAP) + GAP, 3)
    top, left = GAP + size + GAP, GAP + 2 * (size + GAP)
    found = canvas[top : top + size : 7, left : left + size : 7, 0]
    assert np.allclose(found, images[1, 2, 0].numpy())


def test_colours_keep_their_channels():
    images = torch.zeros(1, 1, 3, 4, 4)
    images[0, 0, 1] = 1.0
    assert np.array_equal(tile(images)[GAP, GAP], [0, 1, 0])


def test_a_grid_shows_every_pixel_of_every_image():
    """No resampling: all dots of the enlarged images are found in the file, and those of one pixel are alike."""
    images = torch.rand(2, 2, 1, 8, 8, generator=torch.Generator().manual_seed(1)).round()
    canvas = tile(images)
    content = pixels(draw_grid(images, "a title", ("one", "two")))
    height, width = canvas.shape[:2]
    top, left = content.shape[0] - 10 - height, 110
    found = content[top : top + height, left : left + width]
    assert np.abs(found - canvas).max() < 0.01


@pytest.mark.parametrize(("count", "shape"), [(64, (8, 8)), (10, (3, 4)), (5, (2, 3)), (3, (2, 2)), (2, (1, 2)), (1, (1, 1))])
def test_square_grids_show_every_image_and_leave_the_rest_empty(count, shape):
    images = torch.rand(count, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    grid = square_grid(images)
    assert grid.shape == (*shape, 1, 2, 2)
    assert torch.equal(grid.flatten(0, 1)[:count], images)
    empty = tile(grid)[-2 - GAP, -2 - GAP]
    assert np.array_equal(empty, [BACKGROUND] * 3) == (count < grid.flatten(0, 1).shape[0])


def test_a_comparison_draws_what_there_is():
    points = [Point("S2A", A, {"nll": 20.0 / A + seed, "time": None}) for A in (1, 4, 16) for seed in (0, 1)]
    points.append(Point("A2A", 4, {"nll": 6.0}))
    quantities = [Quantity("nll", "NLL"), Quantity("time", "ms")]
    one = pixels(draw_comparison(points, quantities))
    two = pixels(draw_comparison(points, [*quantities, Quantity("nll", "again", logarithmic=True)]))
    assert one.std() > 0.05
    assert two.shape[1] > 1.8 * one.shape[1]
    assert draw_comparison(points, quantities) == draw_comparison(points, quantities)


def test_runs_of_one_component_are_on_every_line():
    points = [Point("A2A", 1, {"nll": 3.0}), Point("S2A", 4, {"nll": 2.0}), Point("A2A", 4, {"nll": 1.0})]
    found = [(point.series, point.A, point.values["nll"]) for point in share_single(points)]
    assert found == [("S2A", 1, 3.0), ("S2A", 4, 2.0), ("A2A", 1, 3.0), ("A2A", 4, 1.0)]
    assert share_single(points[:1]) == points[:1]
