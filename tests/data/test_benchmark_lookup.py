"""Where a benchmark is sought, what its name may be, and its command."""

import shutil

import pytest

from vbpi_mix.data_files import DataFolderError
from vbpi_mix.phylo.data.benchmarks import (
    BenchmarkError,
    benchmark_names,
    benchmark_tree_samples,
    find_benchmark,
    locate,
    verify,
)
from vbpi_mix_cli.main import main

FASTA = b">a\nACGTA\n>b\nACGTC\n>c\nAC-TA\n>d\nACGAN\n"
NEXUS = (
    b"#NEXUS\nbegin data;\ndimensions ntax=4 nchar=5;\nformat datatype=dna gap=- missing=?;\n"
    b"matrix\na ACGTA\nb ACGTC\nc AC?TA\nd ACGA?\n;\nend;\n"
)


@pytest.fixture
def data(tmp_path, monkeypatch, cache, ds1_at):
    """A folder for VBPI_MIX_DATA, with the small DS1 in it; nothing can be downloaded."""
    ds1_at()
    folder = tmp_path / "data"
    (folder / "DS1").mkdir(parents=True)
    (folder / "DS1" / "DS1.fasta").write_bytes(FASTA)
    (folder / "DS1" / "DS1.nex").write_bytes(NEXUS)
    monkeypatch.setenv("VBPI_MIX_DATA", str(folder))
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    return folder


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return stop.value.code


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("DS1", "DS1.nex"),
        ("ds1", "DS1.nex"),
        ("DS1.nex", "DS1.nex"),
        ("DS1.nxs", "DS1.nex"),
        ("DS1.fa", "DS1.fasta"),
    ],
)
def test_a_name_finds_the_file_of_its_format(data, name, file):
    assert find_benchmark(name) == data / "DS1" / file


def test_the_data_folder_comes_before_the_cache(data, cache, monkeypatch):
    shutil.copytree(data, cache)
    assert find_benchmark("DS1") == data / "DS1" / "DS1.nex"
    (data / "DS1" / "DS1.nex").unlink()
    assert find_benchmark("DS1") == data / "DS1" / "DS1.fasta"
    shutil.rmtree(data / "DS1")
    assert find_benchmark("DS1", offline=True) == cache / "DS1" / "DS1.nex"


def test_a_file_or_a_path_is_no_benchmark(data, tmp_path):
    (tmp_path / "empty" / "DS1.nex").write_bytes(NEXUS)
    assert find_benchmark("DS1.nex") is None
    assert find_benchmark("DS1") == data / "DS1" / "DS1.nex"
    assert find_benchmark("elsewhere/DS1.nex") is None
    assert find_benchmark(tmp_path / "DS1") is None


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("DS9", "did you mean DS8, DS7, DS6?"),
        ("SD1.nex", "did you mean DS1"),
        ("mine.fasta", "there are DS1, DS2, DS3, DS4, DS5, DS6, DS7, DS8"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(data, name, hint):
    with pytest.raises(BenchmarkError) as error:
        find_benchmark(name)
    assert str(error.value).startswith(f"{name}: no such file here, and no benchmark of that name; ")
    assert hint in str(error.value)
    assert "\n" not in str(error.value)


def test_a_data_folder_that_is_not_there_is_said(data, monkeypatch):
    monkeypatch.setenv("VBPI_MIX_DATA", "nowhere")
    with pytest.raises(DataFolderError, match="VBPI_MIX_DATA=nowhere: no such folder"):
        find_benchmark("DS1")


def test_tree_samples_are_one_family_and_never_the_golden_runs(data, monkeypatch):
    folder = data / "DS1"
    assert benchmark_tree_samples("DS1") == []
    families = {"golden": "trprobs", "mb_10M": "trprobs", "mrbayes_short": "trprobs", "ufboot": "ufboot"}
    taken = []
    for family, suffix in families.items():
        (folder / family).mkdir()
        for k in (10, 9):
            (folder / family / f"rep_{k}.{suffix}.gz").touch()
        taken.append([str(path.relative_to(folder)) for path in benchmark_tree_samples("DS1")])
    assert taken == [
        [],
        ["mb_10M/rep_9.trprobs.gz", "mb_10M/rep_10.trprobs.gz"],
        ["mrbayes_short/rep_9.trprobs.gz", "mrbayes_short/rep_10.trprobs.gz"],
        ["ufboot/rep_9.ufboot.gz", "ufboot/rep_10.ufboot.gz"],
    ]
    monkeypatch.delenv("VBPI_MIX_DATA")
    assert benchmark_tree_samples("DS1") == []


def test_verify_finds_what_is_wrong(data):
    fasta, nexus = data / "DS1" / "DS1.fasta", data / "DS1" / "DS1.nex"
    assert verify("DS1") == [fasta, nexus]
    assert verify("DS2") == []
    nexus.write_bytes(NEXUS.replace(b"b ACGTC", b"b ACGTG"))
    with pytest.raises(BenchmarkError, match=r"DS1\.nex: not the alignment of .*DS1\.fasta"):
        verify("DS1")
    fasta.unlink()
    nexus.write_bytes(
        NEXUS.replace(b"AC?TA", b"ACATA").replace(b"ACGA?", b"ACGTA").replace(b"ACGTC", b"ACGTA")
    )
    with pytest.raises(BenchmarkError, match="4 taxa, 5 sites and 4 patterns where DS1 has 4, 5 and 5"):
        verify("DS1")
    fasta.write_bytes(FASTA + b"\n")
    with pytest.raises(BenchmarkError, match=r"DS1\.fasta: not the published file \(wrong checksum\)"):
        verify("DS1")


def test_list_shows_every_benchmark_and_where_it_is(data, capsys):
    main(["data", "list"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:9]] == list(benchmark_names())
    assert str(data / "DS1" / "DS1.nex") in lines[1]
    assert lines[2].split()[:5] == ["DS2", "29", "2520", "1246", "-26367.57"]
    assert lines[2].endswith("not here; vbpi-mix data get DS2")


def test_get_writes_both_formats_and_overwrites_nothing_else(data, tmp_path, capsys):
    target = tmp_path / "mine"
    main(["data", "get", "ds1", "--to", str(target)])
    assert capsys.readouterr().out == f"DS1  {target / 'DS1.nex'}\n"
    assert (target / "DS1.fasta").read_bytes() == FASTA
    main(["data", "get", "DS1", "--to", str(target)])
    capsys.readouterr()
    (target / "DS1.fasta").write_bytes(b"mine")
    assert run("data", "get", "DS1", "--to", str(target)) == 2
    assert "DS1.fasta: another file of this name exists; move it" in capsys.readouterr().err
    assert (target / "DS1.fasta").read_bytes() == b"mine"
    main(["data", "get", "DS1", "--to", str(target), "--force"])
    assert sorted(path.name for path in target.iterdir()) == ["DS1.fasta", "DS1.nex"]
    assert (target / "DS1.fasta").read_bytes() == FASTA


def test_get_of_an_unknown_name_and_into_a_file(data, tmp_path, capsys):
    assert run("data", "get", "DS1", "DS11") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: no benchmark is called 'DS11'; did you mean DS1?\n"
    (tmp_path / "file").touch()
    assert run("data", "get", "DS1", "--to", str(tmp_path / "file")) == 2
    assert "file is not a folder; choose another place" in capsys.readouterr().err


def test_verify_command(data, capsys):
    main(["data", "verify"])
    files = [data / "DS1" / name for name in ("DS1.fasta", "DS1.nex")]
    assert capsys.readouterr().out == "".join(f"DS1  ok  {file}\n" for file in files)
    assert run("data", "verify", "DS2") == 2
    assert capsys.readouterr().err == "error: DS2 is not here; fetch it with: vbpi-mix data get DS2\n"
    shutil.rmtree(data / "DS1")
    assert run("data", "verify") == 2
    assert capsys.readouterr().err == "error: no benchmark is here; fetch one with: vbpi-mix data get DS1\n"


def test_nothing_is_located_in_an_empty_world(cache):
    assert [locate(name) for name in benchmark_names()] == [None] * 8
    assert not cache.exists()
