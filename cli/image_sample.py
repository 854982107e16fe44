"""`vbpi-mix image sample`: pictures drawn from an image run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from vbpi_mix.image.sampling import Panels
    from vbpi_mix.training.run_directory import RunDirectory

EPILOG = """\b
Examples:
  vbpi-mix image sample digits.vbpi
  vbpi-mix image sample mnist.vbpi --count 100 --originals 16 --components 20
"""


@click.command("sample", epilog=EPILOG, short_help="Grids of samples and reconstructions, as PNG.")
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--count", default=64, show_default=True, help="Samples from the prior.")
@click.option("--originals", default=12, show_default=True, help="Test images to start the other grids from.")
@click.option("--components", default=10, show_default=True, help="At most so many rows of components.")
@click.option("--seed", default=1, show_default=True)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--threads", type=int, help="Threads on the CPU.  [default: all cores]")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the data files.")
@click.option("--quiet", is_flag=True, help="Print only the result.")
def command(
    run: Path | None,
    count: int,
    originals: int,
    components: int,
    seed: int,
    device: str,
    threads: int | None,
    data: Path | None,
    quiet: bool,
) -> None:
    """Draw images from RUN (by default the newest image run in or below this folder), pixel by pixel.

    Writes three pictures into the run. samples.png: latents from the prior. components.png: test images above, and below
    them, row by row, one draw from the decoder with the latent from one component at that image. reconstructions.png: the
    same with a component drawn at random for each image.
    """
    import torch

    from vbpi_mix.errors import ConfigError
    from vbpi_mix.image.sampling import draw_panels
    from vbpi_mix.training.provenance import available_cores
    from vbpi_mix.training.run_directory import find_newest
    from vbpi_mix_cli.console import shown_path
    from vbpi_mix_cli.image_runs import KIND, check_device, likelihood_note, load_run
    from vbpi_mix_cli.progress import CountProgress
    from vbpi_mix_cli.torchrun import check_one_process

    for option, value in (("count", count), ("originals", originals), ("components", components), ("threads", threads)):
        if value is not None and value < 1:
            raise ConfigError(f"--{option} {value}: give at least 1")
    if not 0 <= seed < 2**63:
        raise ConfigError(f"--seed {seed}: give a whole number from 0 to 2^63 - 1")
    check_one_process("image sample")
    loaded = load_run(find_newest(command=KIND).path if run is None else run)
    torch.set_num_threads(threads or available_cores())
    model = loaded.model.to(check_device(device))
    images = loaded.images(data)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(images.test), generator=generator)[:originals]
    A = model.spec.components
    shown = tuple(torch.linspace(0, A - 1, min(A, components)).round().long().tolist())
    with CountProgress("pixels", quiet) as progress:
        panels = draw_panels(model, images.held_out_input(images.test[chosen]), count, shown, generator, progress)
    names = _write(loaded.directory, panels, images.name, A, likelihood_note(model))
    click.echo(f"wrote {', '.join(names)} in {shown_path(loaded.directory.path.absolute())}")


def _write(run: RunDirectory, panels: Panels, data: str, A: int, note: str) -> list[str]:
    """The three pictures; returns their names."""
    import torch

    from vbpi_mix.image.figures import draw_grid, square_grid

    remark = f" (trained with batch statistics: {note})" if note else ""
    labels = ["test images", *(f"component {a + 1}" for a in panels.shown)]
    drawn = {
        "samples.png": draw_grid(square_grid(panels.prior), f"{data}, A = {A}: samples{remark}"),
        "components.png": draw_grid(
            torch.cat([panels.originals[None], panels.components]), f"{data}, A = {A}: by component{remark}", labels
        ),
        "reconstructions.png": draw_grid(
            torch.stack([panels.originals, panels.reconstructions]),
            f"{data}, A = {A}: reconstructions{remark}",
            ["test images", "reconstructed"],
        ),
    }
    for name, content in drawn.items():
        run.write_bytes(name, content)
    return list(drawn)
