"""A trained mixture with its data and its folder: all that can be asked of it, and written out for others."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from vbpi_mix.phylo.answers import Answers
from vbpi_mix.phylo.config import ModelConfig
from vbpi_mix.phylo.export import (
    TREES,
    Export,
    ExportChoices,
    check_places,
    check_trained,
    check_trees,
    draw_sample,
    export,
    places,
)
from vbpi_mix.phylo.importance import ImportancePass
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.parts import describe_target
from vbpi_mix.phylo.problem import PhyloProblem
from vbpi_mix.phylo.report.answer import Answer
from vbpi_mix.phylo.report.certainty import Certainty
from vbpi_mix.phylo.report.consensus import Consensus
from vbpi_mix.phylo.report.libraries import to_arviz
from vbpi_mix.phylo.report.parameters import ParameterSummary
from vbpi_mix.phylo.report.rooting import Rooting
from vbpi_mix.phylo.report.tree_drawing import Drawing, check_picture, draw_picture
from vbpi_mix.phylo.report.tree_figure import draw_tree
from vbpi_mix.phylo.results import SampledTree, Split, Topology, sampled_trees, split_values, topology_values
from vbpi_mix.phylo.sbn.splits import SplitFrequencies
from vbpi_mix.training.config import TrainingConfig
from vbpi_mix.training.run_directory import RunDirectory


class Fitted:
    """A mixture trained on an alignment, and the folder that keeps it: what can be asked of it. Run has the rest.

    path      the folder
    config    what config.yaml holds; `model` and `training` are its parts as checked choices
    taxa, patterns, support, mixture, target   what was fitted to what
    """

    def __init__(
        self,
        directory: RunDirectory,
        config: Mapping[str, Any],
        problem: PhyloProblem,
        of_sample: SplitFrequencies | None = None,
    ) -> None:
        """of_sample: the splits of the tree sample that was made for the run; None to read them where they are wanted."""
        self.directory = directory
        self.config = config
        self.problem = problem
        self.model = ModelConfig.from_dict(config["model"], str(directory.path), directory.version)
        self.training = TrainingConfig.from_dict(config["training"])
        self._of_sample = of_sample
        self._answers = self._unanswered()

    @property
    def path(self) -> Path:
        """The run's folder; a temporary one, removed with this object, if the fit was given no place."""
        return self.directory.path

    @property
    def taxa(self) -> tuple[str, ...]:
        """Names of the taxa, in the order of the alignment."""
        return self.problem.taxa

    @property
    def mixture(self) -> PhyloMixture:
        """The variational family with what it has learned."""
        return self.problem.trees

    @property
    def target(self) -> Posterior:
        """The posterior that it approximates."""
        target: Posterior = self.problem.target  # type: ignore[assignment]
        return target

    def describe_target(self) -> str:
        """What log p(Y) refers to, in a line: the model, and the priors of its parameters, of branch lengths and of topologies.

        >>> import vbpi_mix
        >>> run = vbpi_mix.fit("examples/eight.nex", "examples/eight.nwk", iterations=20, threads=1)
        >>> run.describe_target()
        'JC; branch lengths exp:10; all topologies alike'
        """
        return describe_target(self.problem.parts, self.target, self.model)

    @property
    def summary(self) -> dict[str, Any]:
        """What summary.json holds: how training went, and of `evaluate` what it found last."""
        return self.directory.read_summary()

    def __repr__(self) -> str:
        return f"<Run {self.path}: {len(self.taxa)} taxa, A={self.model.components}>"

    def consensus(self, weighted: bool = True) -> Consensus:
        """The majority-rule consensus of the answer, which is that of the run's consensus.nwk.

        weighted: take weighted draws if the verdict allows; False: the fit's own splits.

        >>> import vbpi_mix
        >>> run = vbpi_mix.fit("examples/eight.nex", "examples/eight.nwk", iterations=20, threads=1)
        >>> run.consensus().newick().startswith("(t01:")
        True
        """
        return self._answers.rooted(self.answer(weighted)).tree

    def split_frequencies(self, weighted: bool = True) -> tuple[Split, ...]:
        """The internal splits with their probabilities and mean branch lengths, the most probable first.

        weighted: from weighted draws if the verdict allows; False: of the fit itself, all that its support has, exact.

        >>> import vbpi_mix
        >>> run = vbpi_mix.fit("examples/eight.nex", "examples/eight.nwk", support="fixed", iterations=20, threads=1)
        >>> first = run.split_frequencies()[0]
        >>> len(run.split_frequencies()), len(first.members) >= 2, round(first.frequency, 6)
        (5, True, 1.0)
        """
        return split_values(self.answer(weighted), self.taxa)

    def topologies(self, weighted: bool = True) -> tuple[Topology, ...]:
        """The topologies met in draws with their probabilities, the most probable first; at most 10,000.

        weighted: from weighted draws if the verdict allows; False: exact probabilities under the fit itself.

        >>> import vbpi_mix
        >>> run = vbpi_mix.fit("examples/eight.nex", "examples/eight.nwk", support="fixed", iterations=20, threads=1)
        >>> [round(each.probability, 6) for each in run.topologies()]
        [1.0]
        """
        return topology_values(self.answer(weighted), self.taxa)

    def parameters(self, weighted: bool = True) -> tuple[ParameterSummary, ...]:
        """Tree length and the parameters of the substitution model: posterior mean, sd and 95% interval of each.

        weighted: from weighted draws if the verdict allows; False: of the fit itself.

        >>> import vbpi_mix
        >>> run = vbpi_mix.fit("examples/eight.nex", "examples/eight.nwk", model="HKY", iterations=20, threads=1)
        >>> [each.name for each in run.parameters()]
        ['TL', 'kappa', 'pi(A)', 'pi(C)', 'pi(G)', 'pi(T)']
        """
        return self.answer(weighted).parameters

    def answer(self, weighted: bool = True) -> Answer:
        """Splits, branch lengths and topologies as arrays, with Monte Carlo errors.

        weighted: from weighted draws if the verdict allows; False: the fit's own. Draws are made anew from the run's seed.

        >>> import vbpi_mix
        >>> run = vbpi_mix.fit("examples/eight.nex", "examples/eight.nwk", iterations=20, threads=1)
        >>> run.answer().source == run.summary["answer"], run.answer(weighted=False).source
        (True, 'fit')
        """
        return self._answers.given(weighted)

    def certainty(self) -> Certainty:
        """How certain the answer is of the topology: entropy, sizes of credible sets, what each taxon costs; and the most
        probable topology of the fit, with the bound that proves it.

        >>> import vbpi_mix
        >>> run = vbpi_mix.fit("examples/eight.nex", "examples/eight.nwk", support="fixed", iterations=20, threads=1)
        >>> found = run.certainty()
        >>> found.best.proven, round(found.entropy, 6), found.sizes[1].topologies
        (True, 0.0, 1.0)
        """
        return self._answers.certainty

    def report(self, outgroup: str | Sequence[str] | None = None, midpoint: bool = False) -> str:
        """The page of this run, as in its report.html: one file of HTML that needs nothing else.

        outgroup: names of taxa, in a sequence or with commas between them, that the tree is drawn rooted by; midpoint: at the
        middle of its longest path. ConfigError for both, for what is no taxon, and for all taxa.

        >>> import vbpi_mix
        >>> run = vbpi_mix.fit("examples/eight.nex", "examples/eight.nwk", iterations=20, threads=1)
        >>> run.report(outgroup="t03").count("<svg")
        3
        """
        check_trained(self.directory)
        return self._answers.page(Rooting.of(outgroup, midpoint, self.taxa))

    def tree_picture(self, outgroup: str | Sequence[str] | None = None, midpoint: bool = False) -> str:
        """The consensus drawn as SVG, rooted as `report` has it: the text of a file.

        >>> import vbpi_mix
        >>> run = vbpi_mix.fit("examples/eight.nex", "examples/eight.nwk", iterations=20, threads=1)
        >>> run.tree_picture(midpoint=True).startswith("<svg")
        True
        """
        check_trained(self.directory)
        return draw_tree(self._answers.rooted(self.answer(), Rooting.of(outgroup, midpoint, self.taxa)).tree)

    def draw(
        self,
        out: str | os.PathLike[str],
        outgroup: str | Sequence[str] | None = None,
        midpoint: bool = False,
        *,
        by: str | None = None,
        force: bool = False,
    ) -> Drawing:
        """Write the consensus as a picture, PDF, PNG or SVG by the ending of `out`, rooted as `report` has it.

        by: ete3 or matplotlib; by default ETE 3 if it is installed (`pip install 'vbpi-mix[ete3]'`). ConfigError for a root or
        picture that cannot be, a file that exists unless `force`, and a place that cannot be written; RunDirectoryError for a
        run that was never trained.

        >>> import tempfile, vbpi_mix
        >>> run = vbpi_mix.fit("examples/eight.nex", "examples/eight.nwk", iterations=20, threads=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run.draw(f"{folder}/tree.pdf", outgroup="t03", by="matplotlib").path.name
        'tree.pdf'
        """
        check_trained(self.directory)
        rooting, place = Rooting.of(outgroup, midpoint, self.taxa), Path(out)
        check_picture(place, by, force)
        return draw_picture(self._answers.rooted(self.answer(), rooting), place, by)

    @property
    def importance(self) -> ImportancePass:
        """The weighted draws that end the fit, with the verdict on them; made anew from the run's seed."""
        return self._answers.importance

    def sample_trees(self, count: int, seed: int = 1) -> tuple[SampledTree, ...]:
        """Independent draws of trees with branch lengths from the mixture, in random order.

        >>> import vbpi_mix
        >>> run = vbpi_mix.fit("examples/eight.nex", "examples/eight.nwk", iterations=20, threads=1)
        >>> trees = run.sample_trees(3, seed=1)
        >>> len(trees), trees[0].newick.count("t0"), trees[0].lengths.size
        (3, 8, 13)
        """
        return sampled_trees(self.mixture, self.taxa, count, torch.Generator().manual_seed(seed))

    def export(
        self,
        out: str | os.PathLike[str] | None = None,
        *,
        outgroup: str | Sequence[str] | None = None,
        midpoint: bool = False,
        trees: int = TREES,
        form: str = "mrbayes",
        weighted: bool = True,
        force: bool = False,
    ) -> Export:
        """Write the answer for other programs into the folder `out`, else beside the run: all files or none (docs/files.md).

        outgroup: names, or one text with commas between them. trees: in the sample. form: mrbayes, beast, newick or nexml.
        ConfigError for a choice that cannot be, or a place that cannot be written; RunDirectoryError for a run that was never
        trained.

        >>> import tempfile, vbpi_mix
        >>> run = vbpi_mix.fit("examples/eight.nex", "examples/eight.nwk", iterations=20, threads=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     done = run.export(folder, outgroup="t01,t02", trees=10)
        ...     len(done.paths), done.trees
        (7, 10)
        """
        check_trained(self.directory)
        choices = ExportChoices(trees, form, Rooting.of(outgroup, midpoint, self.taxa), weighted)
        paths = places(self.path, out, form)
        check_places(paths, force)
        return export(self._answers, self.problem, self.training.seed, paths, choices)

    def to_arviz(self, draws: int = TREES, weighted: bool = True) -> Any:
        """Tree length and the model's parameters as ArviZ has them, one chain of equally weighted draws; LnL and LnPr
        are `sample_stats`. ConfigError if arviz is not installed.

        weighted: resampled by importance weights if the verdict allows; False: of the fit itself.

        >>> import vbpi_mix
        >>> run = vbpi_mix.fit("examples/eight.nex", "examples/eight.nwk", model="HKY", iterations=20, threads=1)
        >>> float(run.to_arviz(500).posterior["kappa"].mean()) > 0  # doctest: +SKIP
        True
        """
        check_trees(draws)
        _, own = self._answers.with_draws(draws, weighted)
        _, columns = draw_sample(own, self.problem, self.training.seed, draws)
        return to_arviz(columns.names, columns.values)

    def _unanswered(self) -> Answers:
        return Answers(self.problem, self.directory, self.config, self.model, self.training.seed, self._of_sample)
