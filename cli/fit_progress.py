"""Progress of a whole fit on standard error: notes, the sampler where it makes the trees, the training."""

from __future__ import annotations

from typing import Any

import click

from vbpi_mix_cli.compiling import compilation_shown
from vbpi_mix_cli.progress import Progress, SamplerProgress


class FitProgress:
    """The progress callback of `vbpi_mix.fit`; as a context manager it leaves the terminal tidy on any exit."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._sampling = SamplerProgress(quiet)
        self._training = Progress(quiet)
        self._compilation = compilation_shown(quiet, self._close)

    def __call__(self, event: Any) -> None:
        """Show a note as a line, and hand a report to what shows it."""
        from vbpi_mix.phylo.sampling.sampler import McmcReport
        from vbpi_mix.training.reports import Note

        if isinstance(event, McmcReport):
            self._sampling(event)
            return
        self._sampling.close()
        if not isinstance(event, Note):
            self._training(event)
        elif not self._quiet:
            click.echo(f"warning: {event.text}" if event.warning else event.text, err=True)

    def __enter__(self) -> FitProgress:
        self._compilation.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._compilation.__exit__(None, None, None)
        self._close()

    def _close(self) -> None:
        self._sampling.close()
        self._training.close()
