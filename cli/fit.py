"""`vbpi-mix fit`: from an alignment and a tree sample to a run directory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vbpi_mix.phylo.branches.flows.registry import FLOWS, default_sizes
from vbpi_mix_cli.options import burn_in

if TYPE_CHECKING:
    from vbpi_mix.phylo.data.alignment import Alignment
    from vbpi_mix.phylo.trees.sample import TreeSample
    from vbpi_mix.training.config import TrainingConfig
    from vbpi_mix.training.run_directory import RunDirectory
    from vbpi_mix_cli.phylo_runs import PhyloProblem

POSTERIOR_TREES = 10_000
MAY_CHANGE_ON_RESUME = ("resume", "iterations", "seconds", "threads", "quiet")
EPILOG = """\b
Examples:
  vbpi-mix fit DS1.nex --trees 'ufboot/*.gz' --A 4 --S 2 --estimator s2a
  vbpi-mix fit primates.fasta --trees primates.run1.t --burn-in 0.25 --seconds 60
  vbpi-mix fit --resume DS1.vbpi
"""


def _sizes(size: str) -> str:
    """The flows that have that size, each with its default."""
    return ", ".join(f"{flow} {default}" for flow, default in default_sizes(size).items())


@click.command("fit", epilog=EPILOG)
@click.argument("alignment", required=False)
@click.option("--trees", multiple=True, metavar="FILES", help="Tree sample: files or quoted globs; may be repeated.")
@click.option("--trees-from", default="auto", show_default=True, metavar="auto|mcmc|mrbayes|iqtree|FILES",
              help="Where trees come from if none are named or found: what makes them, or files.")
@click.option("--trees-seconds", type=float, default=None, help="Time for making trees.  [default: 60]")
@click.option("--widen", type=click.Choice(["none", "nni"]), default="none", show_default=True,
              help="nni: also hold the NNI neighbours of the most frequent topologies.")
@click.option("--burn-in", default="0", callback=burn_in, show_default=True,
              help="Trees dropped from the front of each file of unweighted trees: a fraction or a number.")
@click.option("--hpd", default=1.0, show_default=True,
              help="Share of each file kept, by its most frequent topologies (published: 0.95).")
@click.option("--A", "n_components", default=None, type=int, help="Components of the mixture.  [default: 4]")
@click.option("--S", "n_sampled", default=None, type=int,
              help="Components sampled in an iteration.  [default: 2; all under a2a]")
@click.option("--K", "particles", default=10, show_default=True, help="Particles of each sampled component.")
@click.option("--estimator", type=click.Choice(["a2a", "s2a", "s2s"], case_sensitive=False), default="s2a",
              show_default=True, help="How the bound of the mixture is estimated.")
@click.option("--branch", type=click.Choice(["psp", "split"]), default="psp", show_default=True,
              help="Features of the branch model.")
@click.option("--flow", type=click.Choice(FLOWS), default="none", show_default=True,
              help="Normalising flow of the branch lengths, shared by the components.")
@click.option("--flow-layers", type=int, default=None, help=f"Layers of the flow.  [default: {_sizes('layers')}]")
@click.option("--flow-hidden", type=int, default=None, help=f"Hidden units of a layer.  [default: {_sizes('hidden')}]")
@click.option("--init", type=click.Choice(["warm", "em", "average", "flat"]), default=None,
              help="Start. warm: branch lengths and topology weights from gamma approximations of the posterior; the others: "
                   "networks fitted to the tree sample by EM or by simple averages, or flat.  [default: warm; paper: flat]")
@click.option("--schedule", type=click.Choice(["default", "paper"]), default="default", show_default=True,
              help="paper: 400,000 iterations with the published learning rates and tempering.")
@click.option("--iterations", type=int, default=None, help="Stop after this many in all; otherwise when the bound is flat.")
@click.option("--seconds", type=float, default=None, help="Time budget of the training in all.")
@click.option("--learning-rate", type=float, default=None,
              help="Learning rate of the networks at the start; branches and flow have shares of it (docs/flows.md).  "
                   "[default: 0.003; not warm: 0.002; paper: 0.001]")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--threads", type=int, default=None, help="Threads of the kernels.  [default: all cores]")
@click.option("--out", type=click.Path(path_type=Path), default=None, metavar="DIR",
              help="Run directory.  [default: the alignment's name with .vbpi]")
@click.option("--force", is_flag=True, help="Replace an earlier run at the same place.")
@click.option("--resume", type=click.Path(path_type=Path), default=None, metavar="DIR",
              help="Continue a run with its own configuration; --iterations and --seconds extend it.")
@click.option("--quiet", is_flag=True, help="Print only the result.")
def command(resume: Path | None, quiet: bool, **options: Any) -> None:
    """Learn the posterior of trees and branch lengths of ALIGNMENT (FASTA, NEXUS or PHYLIP).

    Without --trees, files beside the alignment that are plainly its tree sample are used; where there are none, a
    sample is made (--trees-from). Writes a run directory: config.yaml, checkpoint.pt, trace.csv, log.txt, summary.json,
    topologies.trprobs and consensus.nwk, and the tree sample if it was made here.
    """
    if resume is not None:
        from vbpi_mix_cli.console import check_only_resume

        check_only_resume(MAY_CHANGE_ON_RESUME)
        _resume(resume, options, quiet)
        return
    if options["alignment"] is None:
        raise click.UsageError("name an alignment, or a run to go on with: --resume DIR")
    _start(options, quiet)


def _start(options: dict[str, Any], quiet: bool) -> None:
    import torch

    from vbpi_mix.errors import ConfigError
    from vbpi_mix.estimators import Estimator, draw_components
    from vbpi_mix.phylo.branches.flows import flow_size
    from vbpi_mix.training.config import TrainingConfig
    from vbpi_mix.training.provenance import use_threads
    from vbpi_mix.training.run_directory import RunDirectory
    from vbpi_mix_cli.phylo_start import build_problem, learning_rates

    estimator = Estimator.parse(options["estimator"])
    n_components, n_sampled = _components(options["n_components"], options["n_sampled"], estimator.value)
    draw_components(estimator, n_components, n_sampled, torch.Generator())
    if options["particles"] < 1:
        raise ConfigError(f"--K {options['particles']}: each sampled component needs at least 1 particle")
    flow_layers, flow_hidden = flow_size(options["flow"], options["flow_layers"], options["flow_hidden"])
    init = options["init"] or ("flat" if options["schedule"] == "paper" else "warm")
    rates = learning_rates(options["schedule"], options["flow"], init)
    training = TrainingConfig(
        # A warm start is near the posterior already: tempering would lead away from it first.
        tempering_iterations=0 if init == "warm" else None,
        iterations=options["iterations"],
        seconds=options["seconds"],
        schedule=options["schedule"],
        learning_rate=rates.learning_rate if options["learning_rate"] is None else options["learning_rate"],
        learning_rate_multipliers=rates.multipliers,
        seed=options["seed"],
        threads=options["threads"],
    ).resolve()
    path = _alignment_path(options["alignment"], quiet)
    out = options["out"] or Path(f"{_stem(path)}.vbpi")
    RunDirectory.check_free(out, options["force"])
    use_threads(training.threads or 1, torch_threads=1)
    alignment, sample, source = _read(path, options, training.threads or 1, quiet)
    trust = _held_out(sample, options)
    config = {
        "command": "fit",
        "alignment": {"file": str(options["alignment"]), "taxa": len(alignment.taxa), "sites": alignment.states.shape[1]},
        "trees": {**source, "burn_in": options["burn_in"], "hpd": options["hpd"], "widen": options["widen"]},
        "model": {
            "A": n_components,
            "S": n_sampled,
            "K": options["particles"],
            "estimator": estimator.value,
            "branch": options["branch"],
            "flow": options["flow"],
            "flow_layers": flow_layers,
            "flow_hidden": flow_hidden,
            "init": init,
            "pair_rate": rates.pairs,
        },
        "training": training.to_dict(),
    }
    widened = sample
    if options["widen"] == "nni":
        from vbpi_mix.phylo.sampling.widen import widen_sample

        widened = widen_sample(sample)
    begin = time.perf_counter()
    problem = build_problem(alignment, widened, config["model"], training.seed)
    setup_seconds = time.perf_counter() - begin
    if not quiet:
        support = problem.support
        click.echo(
            f"{len(alignment.taxa)} taxa, {alignment.states.shape[1]} sites, {problem.patterns.weights.size} patterns; "
            f"{sample.tree_weights.size:,} trees, {sample.weights.size:,} topologies, "
            f"{support.n_params:,} support elements; start ({init}) found in {setup_seconds:.1f} s",
            err=True,
        )
    if trust["warning"] and not quiet:
        click.echo(f"warning: {trust['warning']}", err=True)
    with RunDirectory.create(out, options["force"]) as run:
        if "made" in source:
            from vbpi_mix.phylo.sampling.sources import describe_source, write_trprobs

            write_trprobs(sample, run.path / "tree_sample.trprobs", describe_source(source["made"]))
        run.update_summary({"held_out_coverage": trust["share"], "setup_seconds": setup_seconds})
        run.commit(config)
        _train_and_export(problem, training, run, config, quiet)


def _components(n_components: int | None, n_sampled: int | None, estimator: str) -> tuple[int, int]:
    """A and S with their defaults; what does not fit is left for the estimators to refuse."""
    a = 4 if n_components is None else n_components
    if n_sampled is not None:
        return a, n_sampled
    return a, a if estimator == "a2a" else min(2, max(a, 1))


def _alignment_path(name: str, quiet: bool) -> Path:
    """The file itself, or the benchmark data set of that name."""
    path = Path(name)
    if path.exists() or len(path.parts) > 1:
        return path
    from vbpi_mix.phylo.data.benchmarks import find_benchmark

    found = find_benchmark(name)
    if found is None:
        return path
    if not quiet:
        click.echo(f"no file {name} here: using the benchmark data set, {found}", err=True)
    return found


def _stem(path: Path) -> str:
    name = path.name[:-3] if path.name.endswith(".gz") else path.name
    return Path(name).stem


def _read(
    path: Path, options: dict[str, Any], threads: int, quiet: bool
) -> tuple[Alignment, TreeSample, dict[str, Any]]:
    """The alignment, its tree sample, and where that came from: files, or what made it."""
    from vbpi_mix.phylo.data.alignment import read_alignment
    from vbpi_mix.phylo.sampling.sources import SOURCES, describe_source, obtain_tree_sample
    from vbpi_mix.phylo.trees.sample import expand_paths, find_tree_samples, read_tree_sample
    from vbpi_mix_cli.progress import SamplerProgress

    alignment = read_alignment(path)
    maker = options["trees_from"]
    named = [*options["trees"], *([] if maker in SOURCES else [maker])]
    files = expand_paths(named) if named else []
    if not named and maker == "auto":
        files = find_tree_samples(path)
        if files and not quiet:
            shown = str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
            click.echo(f"tree sample found beside the alignment: {shown}", err=True)
    if files:
        sample = read_tree_sample(files, alignment.taxa, burn_in=options["burn_in"], hpd=options["hpd"])
        return alignment, sample, {"files": list(sample.sources)}
    if not quiet:
        click.echo(f"no tree sample beside {path}: making one ({maker}); --trees names your own", err=True)
    with SamplerProgress(quiet) as progress:
        sample, facts = obtain_tree_sample(
            alignment, maker, seconds=options["trees_seconds"], seed=options["seed"], threads=threads, progress=progress
        )
    if not quiet:
        click.echo(f"tree sample made: {describe_source(facts)}", err=True)
    return alignment, sample, {"made": facts}


def _held_out(sample: TreeSample, options: dict[str, Any]) -> dict[str, Any]:
    """How much of the sample a support built from part of it holds, and a warning where that is little."""
    from vbpi_mix.phylo.assess.coverage import held_out_coverage

    if sample.tree_topology.size < 2:
        return {"share": None, "warning": "the tree sample is a single tree: the fit can find no other topology"}
    found = held_out_coverage(sample, widen_topologies=0 if options["widen"] == "nni" else None)
    return {"share": found.share, "warning": found.warning()}


def _resume(place: Path, options: dict[str, Any], quiet: bool) -> None:
    """Go on with a run, for longer if that is asked for."""
    from dataclasses import replace

    from vbpi_mix.estimators import Estimator
    from vbpi_mix.training.config import TrainingConfig
    from vbpi_mix.training.extension import extend, standing_of
    from vbpi_mix.training.provenance import use_threads
    from vbpi_mix.training.run_directory import RunDirectory
    from vbpi_mix_cli.phylo_runs import KIND, PhyloProblem, load_run

    run = RunDirectory.open(place)
    loaded = load_run(place)
    model = loaded.config["model"]
    training = TrainingConfig.from_dict(loaded.config["training"])
    if options["threads"] is not None:
        training = replace(training, threads=options["threads"])
    training = extend(
        training.resolve(), standing_of(run, KIND), iterations=options["iterations"], seconds=options["seconds"]
    )
    use_threads(training.threads or 1, torch_threads=1)
    problem = PhyloProblem(
        loaded.taxa, loaded.patterns, loaded.mixture, estimator=Estimator.parse(model["estimator"]), sampled=model["S"],
        particles=model["K"],
    )  # fmt: skip
    config = {**loaded.config, "training": training.to_dict()}
    _train_and_export(problem, training, run, config, quiet, resume=True)


def _train_and_export(
    problem: PhyloProblem,
    training: TrainingConfig,
    run: RunDirectory,
    config: dict[str, Any],
    quiet: bool,
    resume: bool = False,
) -> None:
    from vbpi_mix.training.provenance import environment, versions
    from vbpi_mix_cli.console import describe_elbo, shown_path, train
    from vbpi_mix_cli.evaluate import EVALUATED

    result = train(problem, training, run, config, quiet, resume, EVALUATED)
    model = config["model"]
    run.update_summary(
        {
            **{name: model[name] for name in ("A", "S", "K", "estimator")},
            "seed": training.seed,
            "iterations": result.iterations,
            "seconds": result.seconds,
            "seconds_per_iteration": result.seconds_per_iteration,
            "training_bound": result.bound,
            "stop_reason": result.stop_reason,
            "support_elements": problem.support.n_params,
            "versions": versions(),
            "environment": environment(),
        }
    )
    summary = _export(problem, run, training.seed)
    run.update_summary(summary)
    click.echo(
        f"{run.destination.name}: {result.stop_reason} after {result.iterations:,} iterations and {result.seconds:.0f} s, "
        f"bound {result.bound:.2f}, {describe_elbo(summary['elbo'], summary['elbo_standard_error'])}"
    )
    if not quiet:
        place = shown_path(run.destination)
        click.echo(f"wrote {place}/: consensus.nwk, topologies.trprobs, summary.json, trace.csv", err=True)
        click.echo(f"next: vbpi-mix eval {place}", err=True)


def _export(problem: PhyloProblem, run: RunDirectory, seed: int) -> dict[str, float]:
    """Write trees and topologies; the single-sample bound of the final mixture (A2A) with its standard error."""
    import torch

    from vbpi_mix.estimators import Estimator, draw_components
    from vbpi_mix.evaluation import evaluate
    from vbpi_mix.phylo.report.summaries import consensus_newick, draw_trees, topology_probabilities
    from vbpi_mix.phylo.trees.nexus import trprobs

    mixture = problem.trees
    generator = torch.Generator().manual_seed(seed)
    draw = draw_components(Estimator.A2A, mixture.n_components, None, generator)
    trees = draw_trees(mixture, draw, POSTERIOR_TREES, generator)
    run.write_text("consensus.nwk", consensus_newick(trees, mixture.support, problem.taxa))
    children, probabilities = topology_probabilities(mixture, trees.children)
    comment = (
        f"Topologies met in {trees.children.shape[0]:,} draws from a mixture fitted by vbpi-mix, with their exact "
        "probabilities under it (p) and the cumulative probability (P)"
    )
    run.write_text("topologies.trprobs", trprobs(children, probabilities, problem.taxa, comment))
    evaluation = evaluate(mixture, problem.target, importance_samples=1000, repeats=10, generator=generator)
    return {"elbo": evaluation.elbo, "elbo_standard_error": evaluation.elbo_standard_error}
