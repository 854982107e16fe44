"""`vbpi-mix fit`: from an alignment and a tree sample to a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vbpi_mix.phylo.config import FitConfig, resumable_choices
from vbpi_mix_cli.config_options import config_options
from vbpi_mix_cli.fit_options import SPECIAL
from vbpi_mix_cli.numbers import Number

MAY_CHANGE_ON_RESUME = ("resume", "quiet", *resumable_choices())
EPILOG = """\b
Examples:
  vbpi-mix fit DS1.nex --trees 'ufboot/*.gz' --A 4 --S 2 --estimator s2a
  vbpi-mix fit DS1.nex --A 16 --weights learned
  vbpi-mix fit primates.fasta --trees primates.run1.t --burn-in 0.25 --seconds 60
  vbpi-mix fit apes.nex --outgroup Lemur_catta --constraint '(Homo_sapiens,Pan,Gorilla)' --prior-lengths gammadir:1,0.1,1,1
  vbpi-mix fit primates.nex --model GTR+G4
  vbpi-mix fit cynmix.nex --partitions scheme.nex --link alpha
  vbpi-mix fit primates.nex --replicates 2
  vbpi-mix fit --resume DS1.vbpi --seconds 600
"""


@click.command("fit", epilog=EPILOG)
@click.argument("alignment", required=False)
@click.option("--trees", multiple=True, metavar="FILES", help="Tree sample: files or quoted globs; may be repeated.")
@config_options(FitConfig, SPECIAL)
@click.option("--out", type=click.Path(path_type=Path), default=None, metavar="DIR",
              help="Run directory.  [default: the alignment's name with .vbpi]")
@click.option("--force", is_flag=True, help="Replace an earlier run at the same place.")
@click.option("--resume", type=click.Path(path_type=Path), default=None, metavar="DIR",
              help="Continue a run, or replicates, with its own configuration; --iterations and --seconds extend it.")
@click.option("--replicates", type=Number("replicates"), default=None, metavar="N",
              help="Fit N times, with seeds and tree samples of their own, and pool the answers.")
@click.option("--quiet", is_flag=True, help="Print only the result.")
def command(
    alignment: str | None,
    trees: tuple[str, ...],
    replicates: int | None,
    out: Path | None,
    force: bool,
    resume: Path | None,
    quiet: bool,
    **choices: Any,
) -> None:
    """Learn the posterior of trees and branch lengths of ALIGNMENT (FASTA, NEXUS or PHYLIP).

    Without --trees, files beside the alignment that are plainly its tree sample are used; where there are none, a
    sample is made (--trees-from). Writes a run directory: config.yaml, checkpoint.pt, trace.csv, log.txt, summary.json,
    topologies.trprobs, splits.csv, consensus.nwk and report.html, and the tree sample if it was made here. With --replicates
    each fit is a run in that folder, and the files beside them are of all together. Under torchrun its processes share the work.
    """
    from vbpi_mix_cli.console import check_only_resume
    from vbpi_mix_cli.fit_progress import FitProgress
    from vbpi_mix_cli.fit_screen import screen

    if resume is not None:
        check_only_resume(MAY_CHANGE_ON_RESUME)
        from vbpi_mix.phylo.replicate_fits import resume_any

        with FitProgress(quiet) as progress:
            found = resume_any(resume, **{name: choices[name] for name in resumable_choices()}, progress=progress)
    elif alignment is None:
        raise click.UsageError("name an alignment, or a run to resume: --resume DIR")
    elif replicates is not None:
        from vbpi_mix.phylo.fit import run_name
        from vbpi_mix.phylo.replicate_fits import fit_replicates

        config = FitConfig.of(**choices)
        with FitProgress(quiet) as progress:
            found = fit_replicates(
                alignment, trees, replicates=replicates, out=out or run_name(alignment), force=force, config=config,
                progress=progress,
            )  # fmt: skip
    else:
        from vbpi_mix.phylo.fit import fit, run_name

        config = FitConfig.of(**choices)
        with FitProgress(quiet) as progress:
            found = fit(
                alignment, trees, out=out or run_name(alignment), force=force, config=config, progress=progress
            )
    click.echo("\n".join(screen(found)))
    _files(found.path, quiet)


def _files(path: Path, quiet: bool) -> None:
    """Where to look next."""
    from vbpi_mix_cli.console import shown_path

    if not quiet:
        names = "consensus.nwk (the tree), splits.csv, topologies.trprobs, summary.json"
        click.echo(f"wrote {shown_path(path.absolute())}/: report.html to look at,\n  {names}", err=True)
