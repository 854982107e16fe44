"""What a fit of trees is asked to be: every choice, its default and its check, in one place.

The command line's options, the checks of config.yaml, what a resumed run may change and the arguments of
`vbpi_mix.fit` are all read from the fields here. Nothing numerical is imported, so that `--help` answers at once;
`resolve` imports what it needs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vbpi_mix.errors import ConfigError, RunDirectoryError
from vbpi_mix.options import check_options, option, options_of, same_as
from vbpi_mix.phylo.branches.flows.registry import FLOWS, default_sizes, flow_size
from vbpi_mix.phylo.learning_rates import learning_rates
from vbpi_mix.sizes import check_memory
from vbpi_mix.training.config import TrainingConfig

ESTIMATORS = ("a2a", "s2a", "s2s")
WEIGHTS = ("uniform", "learned")
BRANCH_MODELS = ("psp", "split")
STARTS = ("warm", "em", "average", "flat")
WIDENINGS = ("none", "nni")
LENGTHS = ("gamma", "lognormal")
# Parameters of models that parts of the data can share.
SHAREABLE = ("rates", "kappa", "frequencies", "alpha", "pinvar", "multipliers")
SUPPORTS = ("growing", "fixed")
TYPES = ("dna", "protein", "standard", "binary", "mixed")

SHORT_PLATEAUS = {"plateau_window": 400, "plateau_reductions": 2, "plateau_standard_errors": 2.0}
# A fit with a shorter budget of training than this starts with less work, in proportion, but with no less than the share.
FULL_START_SECONDS, LEAST_EFFORT = 20.0, 0.1


def _sizes(size: str) -> str:
    """The flows that have that size, each with its default."""
    return ", ".join(f"{flow} {default}" for flow, default in default_sizes(size).items())


@dataclass(frozen=True)
class ModelConfig:
    """The variational family and how its bound is estimated. ConfigError, one line, for a value out of range.

    What is None is not chosen yet; `resolve` fills it in. A flow that has no layers or hidden units keeps None for them.
    """

    substitution: str | None = option(
        None, str, letter="model", unset="JC69; proteins: LG; discrete characters: MK",
        help="Substitution model in IQ-TREE's syntax, such as HKY, GTR+I+G4, LG+G4 or 'HKY{3}+F{0.3,0.2,0.2,0.3}'. Numbers in "
        "braces are held, what has none is learned.",
    )  # fmt: skip
    prior: str = option(
        "", metavar="NAME=DENSITY",
        help="Prior of a model parameter, such as alpha=exp:1 or frequencies=dirichlet:1,1,1,1; may be repeated.",
    )  # fmt: skip
    link: str = option(
        "", metavar="NAMES",
        help="What all parts of the data share, separated by commas: rates, kappa, frequencies, alpha, pinvar, multipliers.",
    )  # fmt: skip
    components: int = option(4, letter="A", least=1, help="Components of the mixture.")
    sampled: int | None = option(
        None, int, letter="S", least=1, help="Components sampled in an iteration.", unset="2; all under a2a"
    )
    particles: int = option(10, letter="K", least=1, help="Particles of each sampled component.")
    estimator: str = option("s2a", choices=ESTIMATORS, help="How the bound of the mixture is estimated.")
    weights: str = option(
        "uniform", choices=WEIGHTS,
        help="Weights of the components in the mixture. learned: with the rest; components are then sampled by their weights.",
    )  # fmt: skip
    branch: str = option("psp", choices=BRANCH_MODELS, help="Features of the branch model.")
    lengths: str | None = option(
        None, str, choices=LENGTHS, unset="gamma; paper: lognormal", help="Base density of the branch lengths."
    )
    flow: str = option(
        "none", choices=FLOWS, help="Normalising flow of the branch lengths, shared by the components."
    )
    flow_layers: int | None = option(None, int, least=1, help="Layers of the flow.", unset=_sizes("layers"))
    flow_hidden: int | None = option(None, int, least=1, help="Hidden units of a layer.", unset=_sizes("hidden"))
    init: str | None = option(
        None, str, choices=STARTS, unset="warm; paper: flat",
        help="Start. warm: branch lengths and topology weights from gamma approximations of the posterior; the others: "
        "networks fitted to the tree sample by EM or by simple averages, or flat.",
    )  # fmt: skip
    pair_rate: float | None = option(None, float, above=0)

    def __post_init__(self) -> None:
        check_options(self)
        self.priors()
        self.shared()

    def priors(self) -> dict[str, str]:
        """Priors of model parameters by name, as text. ConfigError if an entry is not NAME=DENSITY, or is there twice."""
        found: dict[str, str] = {}
        for entry in filter(None, (each.strip() for each in self.prior.split(";"))):
            name, sign, density = (part.strip() for part in entry.partition("="))
            if not (name and sign and density):
                raise ConfigError(f"prior {entry!r}: give NAME=DENSITY, such as alpha=exp:1")
            if name in found:
                raise ConfigError(f"prior {name}: given twice; give it once")
            found[name] = density
        return found

    def shared(self) -> tuple[str, ...]:
        """Names of parameters that all parts share. ConfigError for a name that is none."""
        names = tuple(filter(None, (each.strip() for each in self.link.split(","))))
        for name in names:
            if name not in SHAREABLE:
                raise ConfigError(f"link {name}: parts can share {', '.join(SHAREABLE)}")
        return names

    def resolve(self, schedule: str = "default") -> ModelConfig:
        """The same with every value explicit. ConfigError if two do not fit."""
        import torch

        from vbpi_mix.estimators import Estimator, draw_components

        sampled = self.sampled
        if sampled is None:
            sampled = self.components if self.estimator == "a2a" else min(2, self.components)
        if self.weights == "learned" and self.estimator == "s2s" and sampled == 1 < self.components:
            raise ConfigError(
                "weights learned: a bound of S=1 component (s2s) does not depend on them; give S of at least 2, or s2a"
            )
        check_memory(self.least_memory(sampled), f"A={self.components:,}, S={sampled:,}, K={self.particles:,}")
        # What the estimators refuse is refused before anything is read or made.
        draw_components(Estimator.parse(self.estimator), self.components, sampled, torch.Generator())
        layers, hidden = flow_size(self.flow, self.flow_layers, self.flow_hidden)
        init = self.init or ("flat" if schedule == "paper" else "warm")
        lengths = self.lengths or ("lognormal" if schedule == "paper" else "gamma")
        pairs = self.pair_rate or learning_rates(schedule, self.flow, init, lengths).pairs
        return dataclasses.replace(
            self, sampled=sampled, lengths=lengths, flow_layers=layers, flow_hidden=hidden, init=init, pair_rate=pairs
        )

    def least_memory(self, sampled: int, n_taxa: int = 4, n_params: int = 12) -> float:
        """Bytes that parameters with gradients and moments, and the draws of an iteration, take at least."""
        draws, edges = sampled * self.particles, 2 * n_taxa - 3
        return 8.0 * (4 * self.components * n_params + draws * (self.components + 12) * edges)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for config.yaml, under the paper's letters."""
        return {each.letter or name: getattr(self, name) for name, each in options_of(self).items()}

    @classmethod
    def from_dict(cls, values: object, where: str, version: int = 2) -> ModelConfig:
        """The model part of a configuration file, resolved. RunDirectoryError, naming the entry, if it is missing or no good.

        where: the run, for messages. version: of the file. In the first one, runs from before there were flows lack the
        entries of flows and `pair_rate`, and those from before there were gamma lengths that of `lengths`. Where weights of
        components could not be learned yet, no entry says that they are uniform.
        """
        known = options_of(cls)
        early = ("components", "sampled", "particles", "estimator", "branch")
        names = early if version == 1 else tuple(name for name in known if name != "weights")
        needed = [known[name].letter or name for name in names]
        missing = [name for name in needed if not isinstance(values, Mapping) or name not in values]
        if missing or not isinstance(values, Mapping):
            raise RunDirectoryError(f"{where}: its config.yaml lacks model: {', '.join(missing)}")
        given: dict[str, Any] = {"pair_rate": 1.0, "lengths": "lognormal"}
        for name, each in known.items():
            entry = each.letter or name
            if entry in values:
                # A run that has begun has chosen, but for what does not apply to it.
                applies = name not in ("substitution", "flow_layers", "flow_hidden", "init")
                wanted = dataclasses.replace(each, optional=False) if applies else each
                wanted.check(f"{where}: model: {entry} of its config.yaml", values[entry], RunDirectoryError)
                given[name] = values[entry]
        return cls(**given)


@dataclass(frozen=True)
class FitConfig:
    """Every choice of a fit, with its default: `FitConfig()` is what `vbpi-mix fit` does without options.

    ConfigError, one line, for a value out of range.

    >>> import vbpi_mix
    >>> config = vbpi_mix.FitConfig.of(components=2, iterations=500)
    >>> config.model.components, config.iterations, config.seed
    (2, 500, 1)
    """

    trees_from: str = option(
        "auto", help="Where trees come from if none are named or found: what makes them, or files."
    )
    trees_seconds: float | None = option(None, float, above=0, help="Time for making trees.", unset="60")
    prior_lengths: str = option(
        "exp:10", metavar="DENSITY",
        help="Prior of branch lengths: exp:RATE, or gammadir:AT,BT,A,C as MrBayes has it (its default is 1,0.1,1,1).",
    )  # fmt: skip
    constraint: str = option(
        "", metavar="GROUP",
        help="Taxa that are a group in every tree, (A,B,C), or a file of such groups; may be repeated.",
    )  # fmt: skip
    fix_topology: str | None = option(
        None, str, metavar="TREE",
        help="A tree, or a file with one, whose topology is not to be learned; its polytomies are.",
    )  # fmt: skip
    outgroup: str | None = option(
        None, str, metavar="TAXA", help="Taxa, with commas between them, on whose edge consensus.nwk is rooted."
    )
    type: str | None = option(
        None, str, choices=TYPES, help="What the characters are.", unset="found from the alignment"
    )
    partitions: str | None = option(
        None, str, metavar="FILE",
        help="Parts of the data with models of their own: a NEXUS file with charsets and a charpartition, or lines such as "
        "'GTR+G, gene1 = 1-500'.",
    )  # fmt: skip
    partitions_partial: bool = option(False, help="Leave out the sites that the partition file does not name.")
    widen: str = option(
        "none", choices=WIDENINGS, help="nni: also hold the NNI neighbours of the most frequent topologies."
    )
    support: str = option(
        "growing", choices=SUPPORTS,
        help="growing: topologies that the sample lacks are added while they matter (warm start only). fixed: those of the "
        "sample.",
    )  # fmt: skip
    burn_in: float | None = option(
        None, float, least=0, unset="0; 0.25 of traces that lie beside the alignment and are not named",
        help="Trees dropped from the front of each file of unweighted trees: a fraction or a number.",
    )  # fmt: skip
    prune: bool = option(False, help="Leave out of the trees the taxa that the alignment lacks.")
    hpd: float = option(
        1.0, above=0, most=1,
        help="Share of each file kept, by its most frequent topologies (published: 0.95).",
    )  # fmt: skip
    model: ModelConfig = field(default_factory=ModelConfig)
    schedule: str = same_as(
        TrainingConfig, "schedule",
        help="paper: 400,000 iterations with the published learning rates and tempering.",
    )  # fmt: skip
    iterations: int | None = same_as(TrainingConfig, "iterations", resumable=True)
    seconds: float | None = same_as(TrainingConfig, "seconds", resumable=True)
    learning_rate: float | None = same_as(
        TrainingConfig, "learning_rate", unset="0.0001; lognormal: 0.003; not warm: 0.002; paper: 0.001",
        help="Learning rate of the networks at the start; branches and flow have shares of it (docs/flows.md).",
    )  # fmt: skip
    answer_draws: int | None = option(
        None, int, least=1, help="Weighted draws that the answer is made of.", unset="100,000, or what a short fit allows"
    )
    seed: int = same_as(TrainingConfig, "seed")
    threads: int | None = same_as(TrainingConfig, "threads", resumable=True)
    device: str | None = option(
        None, str, choices=("cpu", "cuda"), unset="cpu", resumable=True,
        help="Where likelihoods are computed; cuda: those of nucleotides, for large alignments. A resumed run is told again.",
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_options(self)

    @classmethod
    def of(cls, base: FitConfig | None = None, **choices: Any) -> FitConfig:
        """`base` (by default `FitConfig()`) with these choices, named as the fields here and of ModelConfig.

        ConfigError for a name that is not a choice.
        """
        base = cls() if base is None else base
        if isinstance(choices.get("model"), str):
            # As on the command line: the substitution model.
            choices["substitution"] = choices.pop("model")
        own, of_model = set(options_of(cls)) | {"model"}, set(options_of(ModelConfig))
        unknown = sorted(set(choices) - own - of_model)
        if unknown:
            known = ", ".join([*options_of(ModelConfig), *options_of(cls)])
            raise ConfigError(f"{unknown[0]} is not an option of a fit; the options are {known}")
        model = dataclasses.replace(
            choices.pop("model", base.model), **{name: choices.pop(name) for name in of_model & set(choices)}
        )
        return dataclasses.replace(base, model=model, **choices)

    def resolve(self) -> FitConfig:
        """The same with the model's values explicit. ConfigError if two do not fit, or the prior of lengths is no density."""
        from vbpi_mix.phylo.models.priors import parse_length_prior

        parse_length_prior(self.prior_lengths)
        return dataclasses.replace(self, model=self.model.resolve(self.schedule))

    @property
    def start_effort(self) -> float:
        """How much work the start does, of what is usual: less in a fit that is given only seconds."""
        return 1.0 if self.seconds is None else min(1.0, max(LEAST_EFFORT, self.seconds / FULL_START_SECONDS))

    def training(self, parameters: bool = False) -> TrainingConfig:
        """How to train, every value explicit. parameters: whether the substitution model has any."""
        model = self.model.resolve(self.schedule)
        rates = learning_rates(
            self.schedule, model.flow, model.init or "warm", model.lengths or "gamma", parameters, model.weights == "learned"
        )
        # A start that is nearly the posterior needs a tenth of the iterations that one of log-normals does.
        short = model.init == "warm" and model.lengths == "gamma"
        plateaus: dict[str, Any] = SHORT_PLATEAUS if short else {}
        return TrainingConfig(
            **plateaus,
            # A warm start is near the posterior already: tempering would lead away from it first.
            tempering_iterations=0 if model.init == "warm" else None,
            iterations=self.iterations,
            seconds=self.seconds,
            schedule=self.schedule,
            learning_rate=rates.learning_rate if self.learning_rate is None else self.learning_rate,
            learning_rate_multipliers=rates.multipliers,
            seed=self.seed,
            threads=self.threads,
        ).resolve()


def resumable_choices() -> tuple[str, ...]:
    """The choices of a fit that a resumed run may be given anew."""
    return tuple(name for name, each in options_of(FitConfig).items() if each.resumable)
