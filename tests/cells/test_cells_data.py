"""Counts, genes, split; the simulated cells; CORTEX's table and its download."""

import hashlib
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from scipy import sparse

from vbpi_mix import download
from vbpi_mix.cells import cortex
from vbpi_mix.cells.data import CellsError, RawCells, prepare, split, top_genes
from vbpi_mix.cells.simulated import TYPES, simulate
from vbpi_mix.cells.sources import load_cells
from vbpi_mix.download import DownloadError


def raw(counts, **changes):
    names = tuple(f"g{i}" for i in range(counts.shape[1]))
    return RawCells("test", counts, names, **changes)


def some_counts(cells=40, genes=8, seed=1):
    random = np.random.RandomState(seed)
    return random.poisson(random.uniform(0.2, 4.0, genes), (cells, genes)) + (np.arange(genes) == 3)


def test_genes_of_the_largest_variance_are_kept_in_order():
    counts = some_counts()
    wanted = np.sort(np.argsort(-counts.var(0), kind="stable")[:3])
    assert top_genes(counts, 3).tolist() == wanted.tolist()
    assert top_genes(sparse.csr_matrix(counts), 3).tolist() == wanted.tolist()
    assert top_genes(sparse.csr_matrix((50 * counts).astype(np.uint8)), 3).tolist() == top_genes(
        (50 * counts).astype(np.uint8), 3
    ).tolist()  # squares of small integers do not wrap around
    assert top_genes(np.ones((5, 4)), 2).tolist() == [0, 1]
    data = prepare("x", raw(counts), 3)
    assert data.genes == tuple(f"g{i}" for i in wanted)
    assert (data.counts == counts[:, wanted]).all()


def test_sparse_counts_give_the_same_data():
    counts = some_counts()
    dense, thin = prepare("x", raw(counts), 5), prepare("x", raw(sparse.csr_matrix(counts)), 5)
    assert dense.checksum() == thin.checksum()
    assert dense.genes == thin.genes


def test_cells_without_counts_are_dropped_with_their_labels():
    counts = some_counts()
    counts[[5, 9]] = 0
    labels = np.array([f"type{i}" for i in range(40)])
    data = prepare("x", raw(counts, labels=labels), 8)
    assert data.dropped == 2
    assert data.labels.tolist() == [f"type{i}" for i in range(40) if i not in (5, 9)]


def test_labels_are_needed_of_the_test_cells_only():
    train, _, test = split(40)
    labels = np.array([f"type{i % 2}" for i in range(40)])
    labels[train[:3]] = ""
    data = prepare("x", raw(some_counts(), labels=labels, labels_key="kind"), 8)
    assert data.labels_notice() == "x: labels kind are missing for 3 of 40 cells"
    assert data.test_labels().tolist() == [f"type{i % 2}" for i in test]
    labels[test[:2]] = ""
    with pytest.raises(CellsError) as refused:
        prepare("x", raw(some_counts(), labels=labels, labels_key="kind"), 8).test_labels()
    assert str(refused.value) == (
        "x: labels kind are missing for 5 of 40 cells, 2 of them test cells: fill them in, name another column with --labels, "
        "or evaluate with --likelihood-only"
    )
    assert prepare("x", raw(some_counts()), 8).labels_notice() == ""


def test_a_cell_whose_counts_are_all_in_genes_that_are_left_out_is_dropped():
    counts = np.tile(some_counts(40, 4) * 50, 1)
    counts = np.hstack([counts, np.zeros((40, 1), dtype=int)])
    counts[7] = (0, 0, 0, 0, 1)
    data = prepare("x", raw(counts), 4)
    assert data.dropped == 1
    assert (data.counts.sum(1) > 0).all()


def test_the_split_is_a_partition_in_the_published_proportions():
    train, validation, test = split(3_005)
    assert [len(part) for part in (train, validation, test)] == [2_400, 200, 405]
    assert sorted(np.concatenate([train, validation, test]).tolist()) == list(range(3_005))
    assert train.tolist() != list(range(2_400))


@pytest.mark.parametrize(
    ("value", "words"),
    [(-1.0, r"negative numbers \(-1\)"), (0.5, r"fractions \(0.5\)"), (np.nan, "not finite"), (1e9, "above 16,777,216")],
)
def test_what_is_no_count_is_refused(value, words):
    counts = some_counts().astype(float)
    counts[3, 2] = value
    for matrix in (counts, sparse.csr_matrix(counts)):
        with pytest.raises(CellsError, match=f"^test holds .*{words}.*give raw counts"):
            prepare("x", raw(matrix), 4)


def test_too_few_cells_are_refused():
    with pytest.raises(CellsError, match="test: 29 cells have counts, and at least 30 are needed"):
        prepare("x", raw(some_counts(29)), 4)
    with pytest.raises(CellsError, match="no cells or no genes"):
        prepare("x", raw(np.zeros((0, 4))), 4)


def test_the_simulated_cells_are_always_the_same_seven_types():
    first, second = simulate(), simulate()
    assert (first.counts == second.counts).all()
    assert set(first.labels) == set(TYPES)
    assert len(TYPES) == 7
    assert hashlib.sha256(first.counts.astype("<i8").tobytes()).hexdigest()[:16] == "1252bbdbd1622c0a"


def test_simulated_counts_vary_more_than_poisson_and_types_differ():
    cells = simulate(n_cells=3_000)
    of_one = cells.counts[cells.labels == "oligodendrocyte"]
    assert (of_one.var(0) > 1.2 * of_one.mean(0)).mean() > 0.9
    means = np.stack([cells.counts[cells.labels == name].mean(0) for name in TYPES])
    assert np.median(means.max(0) / means.min(0)) > 1.5


TABLE = "".join(
    [
        "\ttissue\tsscortex\tca1\tca1\n",
        "\tlevel1class\tmicroglia\tinterneurons\tmicroglia\n",
        "\tlevel2class\tMgl1\tInt2\tMgl1\n",
        "\n",
        "Tspan12\t1\t0\t3\t1\n",
        "Tshz1\t2\t5\t0\t0\n",
    ]
)


def test_the_published_table_is_read(tmp_path):
    path = tmp_path / "table.txt"
    path.write_text(TABLE)
    found = cortex.read_cortex(path)
    assert found.counts.tolist() == [[0, 5], [3, 0], [1, 0]]
    assert found.genes == ("Tspan12", "Tshz1")
    assert found.labels.tolist() == ["microglia", "interneurons", "microglia"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Tshz1\t2\t5\t0\t0", "Tshz1\t2\t5\t0", "line 6: 2 counts, not 3"),
        ("Tshz1\t2\t5", "Tshz1\t2\tx", "line 6: a count is no number"),
        ("level1class", "class", "it lacks level1class"),
        ("\tlevel1class\tmicroglia", "\tlevel1class", "names 2 cells, and genes have 3"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, old, new, words):
    path = tmp_path / "table.txt"
    path.write_text(TABLE.replace(old, new))
    with pytest.raises(CellsError, match=words):
        cortex.read_cortex(path)


class Answer(BaseHTTPRequestHandler):
    """The table, or another one."""

    def do_GET(self):
        body = (TABLE if "right" in self.path else TABLE.replace("5", "6")).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def served(monkeypatch, empty_world):
    """Call with the path on a server of our own that CORTEX is then to be had at; returns the cache."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("VBPI_MIX_OFFLINE", "0")
    monkeypatch.setattr(download, "SECONDS_BETWEEN_ATTEMPTS", 0.0)
    real = cortex.cortex_source()

    def place(path):
        url = f"http://127.0.0.1:{server.server_port}/{path}"
        checksum = f"md5:{hashlib.md5(TABLE.encode()).hexdigest()}"
        monkeypatch.setattr(cortex, "cortex_source", lambda: replace(real, urls=(url,), checksum=checksum))

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield place
        server.shutdown()
        thread.join()


def test_cortex_is_downloaded_once_and_checked(served, empty_world, monkeypatch):
    served("right")
    path = cortex.obtain_cortex()
    assert path == empty_world.parent / "cache" / "cortex" / "expression_mRNA_17-Aug-2014.txt"
    assert path.read_text() == TABLE
    monkeypatch.setenv("VBPI_MIX_OFFLINE", "1")
    assert cortex.obtain_cortex() == path


def test_another_file_in_its_place_is_refused_and_leaves_nothing(served, empty_world):
    served("wrong")
    with pytest.raises(DownloadError, match=r"wrong checksum.*put expression_mRNA_17-Aug-2014.txt into cortex/"):
        cortex.obtain_cortex()
    assert not (empty_world.parent / "cache").exists()


def test_cortex_is_found_in_the_data_folder(empty_world, monkeypatch):
    with pytest.raises(CellsError, match="cortex is not here and downloads are off"):
        load_cells("cortex", 10)
    folder = empty_world / "data" / "cortex"
    folder.mkdir(parents=True)
    (folder / "expression_mRNA_17-Aug-2014.txt").write_text(TABLE)
    monkeypatch.setenv("VBPI_MIX_DATA", str(empty_world / "data"))
    with pytest.raises(CellsError, match="3 cells have counts"):
        load_cells("cortex", 10)


def test_the_published_place_has_a_checksum():
    source = cortex.cortex_source()
    assert source.checksum.removeprefix("md5:").isalnum()
    assert len(source.checksum) == 36
    assert all(url.startswith("https://") and url.endswith(source.file) for url in source.urls)
