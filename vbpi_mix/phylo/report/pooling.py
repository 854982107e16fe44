"""One answer of several independent fits: the mean of theirs, with errors that their differences show too.

An error is the larger of two: what the Monte Carlo errors of R answers leave in their mean, and the standard deviation of the
answers over sqrt(R), which has whatever differs between fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vbpi_mix.phylo.models.characters import ParameterName
from vbpi_mix.phylo.report.answer import Answer
from vbpi_mix.phylo.report.parameters import ParameterSummary, summarise
from vbpi_mix.phylo.report.weighted import Estimate, SplitEstimates, TopologyEstimates
from vbpi_mix.phylo.sbn.splits import SplitFrequencies, average_standard_deviation, largest_difference, unite
from vbpi_mix.phylo.trees.topology import unique_topologies


def pooled_answer(answers: Sequence[Answer], values: Sequence[np.ndarray], shares: Sequence[np.ndarray]) -> Answer:
    """Of R answers to the same question. values [N, k] and shares [N]: of each, draws of its parameters."""
    n_taxa = answers[0].n_taxa
    tables = [
        unite(*(SplitFrequencies(n_taxa, each.split_bits, getattr(each.splits, name)) for each in answers))
        for name in ("frequencies", "frequency_errors", "lengths", "length_errors")
    ]
    p, p_error, length, length_error = (table.frequencies for table in tables)
    children, topologies = _topologies(answers)
    return Answer(
        answers[0].source,
        sum(each.draws for each in answers),
        tables[0].bits,
        SplitEstimates(p.mean(axis=0), _error(p, p_error), *_lengths(p, length, length_error)),
        children,
        topologies,
        _parameters(answers, values, shares),
    )


def pooled_evidence(estimates: Sequence[Estimate]) -> Estimate:
    """The log of the mean of p(Y); nan if a fit does not know its own. Its error is one of the logarithm."""
    values, errors = np.array([each.value for each in estimates]), np.array([each.error for each in estimates])
    if np.isnan(values).any():
        return Estimate(float("nan"), float("nan"))
    scaled = np.exp(values - values.max())
    error = _error(scaled[:, None], (scaled * errors)[:, None])[0] / scaled.mean()
    return Estimate(float(values.max() + np.log(scaled.mean())), float(error))


def pooled_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of R numbers, with its error."""
    values, errors = (np.array([[getattr(each, name)] for each in estimates]) for name in ("value", "error"))
    return Estimate(float(values.mean()), float(_error(values, errors)[0]))


def agreement(answers: Sequence[Answer]) -> tuple[float, float]:
    """ASDSF of R >= 2 answers, and the largest difference of a split's frequencies."""
    table = unite(*(each.frequencies() for each in answers))
    return average_standard_deviation(table), largest_difference(table)[0]


def _error(values: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Of the mean over rows, from float64 [R, M] each."""
    count = values.shape[0]
    drawn = np.sqrt((errors**2).sum(axis=0)) / count
    if count == 1:
        return np.asarray(drawn)
    return np.asarray(np.maximum(drawn, values.std(axis=0, ddof=1) / np.sqrt(count)))


def _lengths(p: np.ndarray, lengths: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean lengths over all trees that have a split, and errors; nan where no draw has it. All [R, M]."""
    share = np.where(np.isnan(lengths), 0.0, p)
    total = share.sum(axis=0)
    share = np.divide(share, total, out=np.zeros(share.shape), where=total > 0)
    known = np.nan_to_num(lengths)
    mean = (share * known).sum(axis=0)
    drawn = (share**2 * np.nan_to_num(errors) ** 2).sum(axis=0)
    between = (share**2 * (known - mean) ** 2).sum(axis=0)
    nothing = total == 0
    return np.where(nothing, np.nan, mean), np.where(nothing, np.nan, np.sqrt(np.maximum(drawn, between)))


def _topologies(answers: Sequence[Answer]) -> tuple[np.ndarray, TopologyEstimates]:
    children, index = unique_topologies(np.concatenate([each.children for each in answers]))
    p, error = np.zeros((2, len(answers), children.shape[0]))
    stops = np.cumsum([each.children.shape[0] for each in answers])
    for row, (each, part) in enumerate(zip(answers, np.split(index, stops[:-1]), strict=True)):
        p[row, part], error[row, part] = each.topologies.probabilities, each.topologies.errors
    order = np.argsort(-p.mean(axis=0), kind="stable")
    return children[order], TopologyEstimates(p.mean(axis=0)[order], _error(p, error)[order])


def _parameters(
    answers: Sequence[Answer], values: Sequence[np.ndarray], shares: Sequence[np.ndarray]
) -> tuple[ParameterSummary, ...]:
    """Of all draws together, each fit's counting the same."""
    names = [ParameterName(each.name, each.partition) for each in answers[0].parameters]
    found = summarise(names, np.concatenate(values), np.concatenate(shares) / len(answers))
    means = np.array([[each.mean for each in answer.parameters] for answer in answers])
    errors = np.array([[each.error for each in answer.parameters] for answer in answers])
    known = _error(means, errors).tolist()
    return tuple(replace(each, error=error) for each, error in zip(found, known, strict=True))
