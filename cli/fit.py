"""`vbpi-mix fit`: from an alignment and a tree sample to a run directory."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vbpi_mix.phylo.config import FitConfig, resumable_choices
from vbpi_mix_cli.config_options import config_options
from vbpi_mix_cli.fit_options import SPECIAL

if TYPE_CHECKING:
    from vbpi_mix.phylo.run import Run

MAY_CHANGE_ON_RESUME = ("resume", "quiet", *resumable_choices())
EPILOG = """\b
Examples:
  vbpi-mix fit DS1.nex --trees 'ufboot/*.gz' --A 4 --S 2 --estimator s2a
  vbpi-mix fit primates.fasta --trees primates.run1.t --burn-in 0.25 --seconds 60
  vbpi-mix fit apes.nex --outgroup Lemur_catta --constraint '(Homo_sapiens,Pan,Gorilla)' --prior-lengths gammadir:1,0.1,1,1
  vbpi-mix fit primates.nex --model GTR+G4
  vbpi-mix fit cynmix.nex --partitions scheme.nex --link alpha
  vbpi-mix fit --resume DS1.vbpi
"""


@click.command("fit", epilog=EPILOG)
@click.argument("alignment", required=False)
@click.option("--trees", multiple=True, metavar="FILES", help="Tree sample: files or quoted globs; may be repeated.")
@config_options(FitConfig, SPECIAL)
@click.option("--out", type=click.Path(path_type=Path), default=None, metavar="DIR",
              help="Run directory.  [default: the alignment's name with .vbpi]")
@click.option("--force", is_flag=True, help="Replace an earlier run at the same place.")
@click.option("--resume", type=click.Path(path_type=Path), default=None, metavar="DIR",
              help="Continue a run with its own configuration; --iterations and --seconds extend it.")
@click.option("--quiet", is_flag=True, help="Print only the result.")
def command(
    alignment: str | None,
    trees: tuple[str, ...],
    out: Path | None,
    force: bool,
    resume: Path | None,
    quiet: bool,
    **choices: Any,
) -> None:
    """Learn the posterior of trees and branch lengths of ALIGNMENT (FASTA, NEXUS or PHYLIP).

    Without --trees, files beside the alignment that are plainly its tree sample are used; where there are none, a
    sample is made (--trees-from). Writes a run directory: config.yaml, checkpoint.pt, trace.csv, log.txt, summary.json,
    topologies.trprobs, splits.csv and consensus.nwk, and the tree sample if it was made here.
    """
    from vbpi_mix_cli.console import check_only_resume
    from vbpi_mix_cli.fit_progress import FitProgress

    if resume is not None:
        check_only_resume(MAY_CHANGE_ON_RESUME)
        from vbpi_mix.phylo.run import load

        with FitProgress(quiet) as progress:
            given = {name: choices[name] for name in resumable_choices()}
            run = load(resume).resume(**given, progress=progress)
    elif alignment is None:
        raise click.UsageError("name an alignment, or a run to resume: --resume DIR")
    else:
        from vbpi_mix.phylo.fit import fit, run_name

        config = FitConfig.of(**choices)
        with FitProgress(quiet) as progress:
            run = fit(
                alignment, trees, out=out or run_name(alignment), force=force, config=config, progress=progress
            )
    _report(run, quiet)


def _report(run: Run, quiet: bool) -> None:
    """What was done, what was found, how far to trust it, and where to look next."""
    from vbpi_mix_cli.console import describe_elbo, shown_path

    facts = run.summary
    place = shown_path(run.path.absolute())
    click.echo(
        f"{place.name}: {facts['stop_reason']} after {facts['iterations']:,} iterations and {facts['seconds']:.0f} s, "
        f"bound {facts['training_bound']:.2f}, {describe_elbo(facts['elbo'], facts['elbo_standard_error'])}"
    )
    for line in _describe_answer(run, facts):
        click.echo(line)
    if not quiet:
        click.echo(
            f"wrote {place}/: consensus.nwk, splits.csv, topologies.trprobs, summary.json, trace.csv", err=True
        )
        click.echo(f"next: vbpi-mix eval {place}", err=True)


def _describe_answer(run: Run, facts: dict[str, Any]) -> list[str]:
    """Evidence, the trees, the parameters of the model, and the verdict with its reasons."""
    from vbpi_mix_cli.console import parameter_table

    evidence = next(each for each in facts["marginal_log_likelihood"] if each["form"] == "weighted")
    k, size = facts["pareto_k"], facts["effective_sample_size"]
    tail = "" if k is None else f", Pareto k {k:.2f}"
    answer = run.answer()
    best = f"{answer.topologies.probabilities[0]:.4f}"
    if answer.source == "weighted":
        best += f" (error {answer.topologies.errors[0]:.4f})"
    found = (
        "log p(Y) unknown: no draw has any weight"
        if evidence["mean"] is None
        else f"log p(Y) {evidence['mean']:.2f} (error {evidence['error']:.2f})"
    )
    lines = [
        f"{found}; {evidence['draws']:,} weighted draws, worth {size or 0:,.0f} independent ones{tail}",
        f"this is of {run.describe_target()}",
        f"most probable topology {best}, {answer.children.shape[0]:,} met; the consensus has {answer.resolved} of "
        f"{answer.n_taxa - 3} splits",
    ]
    given = "that of the weighted draws" if answer.source == "weighted" else "the fit's own, not weighted"
    if "rooting" in facts:
        lines.append(facts["rooting"])
    lines.append(f"verdict: {facts['verdict']}; the answer given is {given}")
    if len(answer.parameters) > 1:
        lines += ["", *parameter_table(answer.parameters), ""]
    wrapped = (textwrap.wrap(reason, 100, initial_indent="- ", subsequent_indent="  ") for reason in facts["reasons"])
    return [*lines, *(line for reason in wrapped for line in reason)]
