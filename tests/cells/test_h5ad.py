"""Which matrix of an .h5ad file is taken for counts, and what is refused."""

import warnings

import numpy as np
import pytest
from scipy import sparse

from vbpi_mix.cells.data import CellsError
from vbpi_mix.cells.h5ad import read_h5ad

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    anndata = pytest.importorskip("anndata")
    import pandas as pd

COUNTS = np.random.RandomState(1).poisson(1.5, (40, 6)).astype(np.float32)


@pytest.fixture
def write(tmp_path):
    """write(X=..., layers=..., obs=..., raw=...) -> path of a file of these cells."""

    def make(X=COUNTS, layers=None, obs=None, raw=None):
        names = {"obs": pd.DataFrame(obs or {}, index=[f"c{i}" for i in range(40)])}
        names["var"] = pd.DataFrame(index=[f"g{i}" for i in range(COUNTS.shape[1])])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = anndata.AnnData(X, layers=layers, **names)
            if raw is not None:
                content.raw = anndata.AnnData(raw, obs=names["obs"], var=names["var"])
            content.write_h5ad(tmp_path / "cells.h5ad")
        return tmp_path / "cells.h5ad"

    return make


def test_the_first_place_with_counts_is_taken(write):
    logs = np.log1p(COUNTS)
    for place, given in (
        ("X", {}),
        ("raw.X", {"X": logs, "raw": COUNTS}),
        ("layer counts", {"X": logs, "layers": {"counts": COUNTS}}),
        ("raw.X", {"X": logs, "layers": {"counts": logs}, "raw": sparse.csr_matrix(COUNTS)}),
    ):
        found = read_h5ad(write(**given))
        counts = found.counts.toarray() if sparse.issparse(found.counts) else found.counts
        assert found.where.startswith(f"{place} of ")
        assert found.place == place
        assert (counts == COUNTS).all()
        assert found.genes == ("g0", "g1", "g2", "g3", "g4", "g5")


def test_a_layer_that_is_named_is_taken(write):
    path = write(layers={"mine": 2 * COUNTS})
    assert (read_h5ad(path, "mine").counts == 2 * COUNTS).all()
    with pytest.raises(CellsError, match=r"cells.h5ad has no layer 'other': there are mine$"):
        read_h5ad(path, "other")


def test_a_file_without_raw_counts_is_refused(write):
    for X, words in ((np.log1p(COUNTS), "X holds fractions"), (COUNTS - 1, "X holds negative numbers")):
        with pytest.raises(CellsError, match=f"holds no raw counts: {words}.*--layer"):
            read_h5ad(write(X=X))
    with pytest.raises(CellsError, match="no raw counts: it has no matrix at all"):
        read_h5ad(write(X=None))


def test_labels_are_found_or_named(write):
    types = pd.Categorical(["a", "b"] * 20)
    path = write(obs={"cell_type": types, "batch": [1] * 40})
    assert read_h5ad(path).labels.tolist() == ["a", "b"] * 20
    assert read_h5ad(path).labels_key == "cell_type"
    assert read_h5ad(path, labels="batch").labels.tolist() == ["1"] * 40
    with pytest.raises(CellsError, match="no labels 'kind': the columns of obs are cell_type, batch"):
        read_h5ad(path, labels="kind")
    assert read_h5ad(write()).labels is None


@pytest.mark.parametrize("named", [None, "cell_type"])
@pytest.mark.parametrize(
    ("column", "found"),
    [
        (pd.Categorical(["a", None] * 20), ["a", ""]),
        (np.array(["a", None] * 20, dtype=object), ["a", ""]),
        ([1.0, np.nan] * 20, ["1.0", ""]),
    ],
)
def test_labels_that_some_cells_lack_are_empty(write, column, found, named):
    """Whoever needs them refuses them: training does not."""
    raw = read_h5ad(write(obs={"cell_type": column}), labels=named)
    assert (raw.labels_key, raw.labels.tolist()) == ("cell_type", found * 20)


def test_labels_are_looked_for_where_they_are_expected(write):
    path = write(obs={"cell_type": ["a"] * 40, "kind": ["b"] * 40})
    assert read_h5ad(path, guesses=("kind",)).labels_key == "kind"
    assert read_h5ad(path, guesses=("gone",)).labels is None


def test_what_is_no_such_file_is_refused(tmp_path):
    with pytest.raises(CellsError, match=r"no such file; give an \.h5ad file, simulated, or cortex"):
        read_h5ad(tmp_path / "none.h5ad")
    (tmp_path / "text.h5ad").write_text("hello")
    with pytest.raises(CellsError, match=r"text.h5ad is not an .h5ad file, or damaged \("):
        read_h5ad(tmp_path / "text.h5ad")
