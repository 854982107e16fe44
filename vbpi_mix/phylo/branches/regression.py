"""Features whose sums come near what each edge wants: the regression behind every start of a fit."""

from __future__ import annotations

import numpy as np

from vbpi_mix.phylo.sbn.support import SubsplitSupport

# Pseudo-observations that pull the features of a rare edge to what is usual.
SHRINKAGE = 0.5
SWEEPS = 20


def regress(rows: np.ndarray, values: np.ndarray, importance: np.ndarray, support: SubsplitSupport) -> np.ndarray:
    """Features [n_features, C] whose sums over the rows int32 [T, E, 3] of each edge come near values [T, E, C].

    Backfitting: in turn the splits, the pairs at lower ends and those at upper ends take up what the others leave, each
    shrunk towards zero, and splits towards the mean of their kind (pendant or internal).
    """
    n_features, columns = support.n_features, values.shape[2]
    pendant = support.pendant_features
    weight = np.repeat(importance / importance.max(), rows.shape[1])
    flat, wanted = rows.reshape(-1, 3), values.reshape(-1, columns)
    usual = np.zeros((n_features, columns))
    kind = pendant[flat[:, 0]]
    for which in (False, True):
        mean = np.average(wanted[kind == which], axis=0, weights=weight[kind == which])
        usual[: support.n_splits][pendant[: support.n_splits] == which] = mean
    features = usual.copy()
    present = [flat[:, k] >= 0 for k in range(3)]
    for _ in range(SWEEPS):
        for k in range(3):
            fitted = sum(np.where(present[i][:, None], features[flat[:, i]], 0.0) for i in range(3) if i != k)
            row, w = flat[present[k], k], weight[present[k]]
            left = (wanted - fitted)[present[k]] - usual[row]
            count = np.bincount(row, w, n_features) + SHRINKAGE
            total = np.stack([np.bincount(row, w * left[:, c], n_features) for c in range(columns)], axis=1)
            seen = np.unique(row)
            features[seen] = usual[seen] + (total / count[:, None])[seen]
    return features


def predict(features: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Sums of features [n_features, C] over rows int32 [..., 3], -1 for none: [..., C]."""
    return np.where(rows[..., None] >= 0, features[rows], 0.0).sum(axis=-2)
