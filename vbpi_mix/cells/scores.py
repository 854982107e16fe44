"""What latents know of the types of cells: a linear classifier on them, and clusters of them (scikit-learn).

Features of a cell are the means and variances of all A components, side by side: [N, 2 A d] (Kviman et al. 2023). Where the paper
splits the test cells once, the classifier here is trained on REPEATS random splits of them, so that its accuracy has an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vbpi_mix.cells.data import CellsError

# Published: 305 of 405 test cells train the classifier; C of its linear support vector machine.
TRAINING_SHARE = 305 / 405
PENALTY = 0.025
REPEATS = 20
RESTARTS = 10


@dataclass(frozen=True)
class Accuracy:
    """Share of cells whose type is found: mean and standard deviation over random splits."""

    mean: float
    sd: float
    repeats: int


@dataclass(frozen=True)
class Clusters:
    """k-means against the known types: adjusted Rand index, and mutual information over the geometric mean of entropies."""

    ari: float
    nmi: float
    k: int


def classify(features: NDArray[Any], labels: NDArray[Any], seed: int = 1, repeats: int = REPEATS) -> Accuracy:
    """Accuracy of a linear support vector machine on standardised features [N, F]. CellsError if there is one type only."""
    _need_sklearn()
    from sklearn.model_selection import ShuffleSplit
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    _check_types(labels)
    splits = ShuffleSplit(repeats, train_size=TRAINING_SHARE, random_state=seed % 2**32)
    scores = []
    for train, test in splits.split(features):
        machine = make_pipeline(StandardScaler(), LinearSVC(C=PENALTY, dual=False, max_iter=10_000))
        if len(np.unique(labels[train])) > 1:
            scores.append(machine.fit(features[train], labels[train]).score(features[test], labels[test]))
    if not scores:
        raise CellsError("no random half of the test cells has two types: there are too few cells to classify")
    return Accuracy(float(np.mean(scores)), float(np.std(scores)), len(scores))


def cluster(features: NDArray[Any], labels: NDArray[Any], seed: int = 1) -> Clusters:
    """k-means with as many clusters as there are types, on features [N, F] as they are."""
    _need_sklearn()
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    _check_types(labels)
    k = len(np.unique(labels))
    found = KMeans(k, n_init=RESTARTS, random_state=seed % 2**32).fit_predict(features)
    nmi = normalized_mutual_info_score(labels, found, average_method="geometric")
    return Clusters(float(adjusted_rand_score(labels, found)), float(nmi), k)


def _check_types(labels: NDArray[Any]) -> None:
    if len(np.unique(labels)) < 2:
        raise CellsError("all test cells are of one type: there is nothing to tell apart")


def _need_sklearn() -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise CellsError("scores of the latents need scikit-learn: pip install 'vbpi-mix[cells]'") from None
