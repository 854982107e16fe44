"""A model in MrBayes's words: lines of a MrBayes block. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.models.strings import ModelSpec

NST: dict[tuple[int, ...], int] = {(0, 0, 0, 0, 0, 0): 1, (1, 0, 1, 1, 0, 1): 2, (0, 1, 2, 3, 4, 5): 6}
AMINO_ACID_MODELS = {
    "Poisson": "poisson", "JTT": "jones", "Dayhoff": "dayhoff", "mtREV": "mtrev", "mtMAM": "mtmam", "WAG": "wag",
    "rtREV": "rtrev", "cpREV": "cprev", "VT": "vt", "Blosum62": "blosum", "LG": "lg", "GTR20": "gtr",
}  # fmt: skip
# Digits; it reads no SYMBOLS.
MOST_CHARACTER_STATES = 10


def mrbayes_lines(spec: ModelSpec, priors: Mapping[str, str], partition: int | None = None) -> tuple[str, ...]:
    """lset and prset lines for a partition, counted from 1, or for all characters. spec: frequencies that are counted in the
    data are numbers in it. priors: of what is free, at least.

    ConfigError for a model or a prior that MrBayes does not have.
    """
    priors = {name: priors[name] for name in spec.free}
    applied = "" if partition is None else f"applyto=({partition}) "
    lset, prset = {"dna": _nucleotides, "protein": _amino_acids, "standard": _characters}[spec.alphabet](spec, priors)
    site_lset, site_prset = _sites(spec, priors)
    lines = [f"lset {applied}{' '.join([*lset, *site_lset])};"]
    settings = [*prset, *site_prset]
    return (*lines, f"prset {applied}{' '.join(settings)};") if settings else tuple(lines)


Settings = tuple[list[str], list[str]]


def _nucleotides(spec: ModelSpec, priors: Mapping[str, str]) -> Settings:
    nst = NST.get(spec.classes)
    if nst is None:
        raise ConfigError(f"model {spec.text}: MrBayes has no {spec.name}, only models with 1, 2 or 6 kinds of rates")
    prset = [f"statefreqpr={_frequencies(spec, priors)}"]
    if nst == 2:
        prset.append(f"tratiopr={_prior(priors, 'kappa') or _fixed(spec.exchangeabilities or (), 1)}")
    if nst == 6:
        prset.append(f"revmatpr={_rates(spec, priors)}")
    return [f"nst={nst}"], prset


def _amino_acids(spec: ModelSpec, priors: Mapping[str, str]) -> Settings:
    own = {"Poisson": "equal", "GTR20": spec.frequencies}.get(spec.name, "model")
    if spec.name not in AMINO_ACID_MODELS or spec.frequencies != own:
        raise ConfigError(f"model {spec.text}: MrBayes has no such model of amino acids")
    prset = [f"aamodelpr=fixed({AMINO_ACID_MODELS[spec.name]})"]
    if spec.name == "GTR20":
        prset.append(f"aarevmatpr={_rates(spec, priors)}")
        prset.append(f"statefreqpr={_frequencies(spec, priors)}")
    return [], prset


def _characters(spec: ModelSpec, priors: Mapping[str, str]) -> Settings:
    if spec.frequencies != "equal" or 0.0 in (spec.exchangeabilities or ()):
        raise ConfigError(f"model {spec.text}: lines for MrBayes are written for unordered characters of equal frequencies")
    if spec.n_states > MOST_CHARACTER_STATES:
        raise ConfigError(f"model {spec.text}: MrBayes has at most {MOST_CHARACTER_STATES} states, not {spec.n_states}")
    return [f"coding={'variable' if spec.ascertainment else 'all'}"], ["symdirihyperpr=fixed(infinity)"]


def _sites(spec: ModelSpec, priors: Mapping[str, str]) -> Settings:
    """Rates of sites."""
    if spec.ascertainment and spec.alphabet != "standard":
        raise ConfigError(f"model {spec.text}: MrBayes corrects ascertainment in discrete characters alone")
    gamma, invariant = spec.alpha is not None, spec.invariant is not None
    kind = {(False, False): "equal", (True, False): "gamma", (False, True): "propinv", (True, True): "invgamma"}
    lset, prset = [f"rates={kind[gamma, invariant]}"], []
    if gamma:
        lset.append(f"ngammacat={spec.categories}")
        prset.append(f"shapepr={_shape(priors) or f'fixed({spec.alpha:g})'}")
    if invariant:
        prset.append(f"pinvarpr={_uniform(priors) or f'fixed({spec.invariant:g})'}")
    return lset, prset


def _rates(spec: ModelSpec, priors: Mapping[str, str]) -> str:
    """Of the pairs of states."""
    given = spec.exchangeabilities
    return dirichlet(priors["rates"], spec.n_classes) if given is None else _fixed(given)


def _frequencies(spec: ModelSpec, priors: Mapping[str, str]) -> str:
    if isinstance(spec.frequencies, tuple):
        return _fixed(spec.frequencies)
    return "fixed(equal)" if spec.frequencies == "equal" else dirichlet(priors["frequencies"], spec.n_states)


def _fixed(values: Iterable[float], most: int | None = None) -> str:
    return f"fixed({','.join(f'{value:.10g}' for value in list(values)[:most])})"


def _prior(priors: Mapping[str, str], name: str) -> str:
    """density:numbers as density(numbers); nothing for what is not free."""
    kind, _, numbers = priors.get(name, "").partition(":")
    return f"{kind}({numbers})" if kind else ""


def dirichlet(density: str, size: int) -> str:
    """A density such as dirichlet:1 or dirichlet:1,2,1, with a number for each of `size` proportions."""
    kind, _, numbers = density.partition(":")
    given = numbers.split(",")
    return f"{kind}({','.join(given * size if len(given) == 1 else given)})"


def _shape(priors: Mapping[str, str]) -> str:
    kind, _, numbers = priors.get("alpha", "").partition(":")
    if kind == "gamma":
        raise ConfigError(f"prior alpha={priors['alpha']}: MrBayes has no gamma prior of the shape")
    return f"exponential({numbers})" if kind else ""


def _uniform(priors: Mapping[str, str]) -> str:
    text = priors.get("pinvar", "")
    if text and text not in ("uniform:0,1", "beta:1,1"):
        raise ConfigError(f"prior pinvar={text}: MrBayes has uniform priors of invariant sites alone")
    return "uniform(0,1)" if text else ""
