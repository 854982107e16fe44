"""Checkpoints: what comes back, what is refused and in which words, and that nothing foreign runs."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from vbpi_mix.errors import CheckpointError
from vbpi_mix.training import checkpoint as module
from vbpi_mix.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


def example(**changes) -> Checkpoint:
    values = {
        "kind": "toy",
        "config": {"training": {"seed": 1, "seconds": None}},
        "provenance": {"torch": "2"},
        "problem": OrderedDict(weights=torch.arange(6.0).reshape(2, 3), names=["a", "b"], pair=(1, 2.5)),
        "training": {"iteration": 3, 0: True},
    }
    return Checkpoint(**{**values, **changes})


def refused(path, kind="toy") -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, kind)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_round_trip(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, example())
    read = load_checkpoint(path, "toy")
    assert read.config == example().config
    assert read.training == {"iteration": 3, 0: True}
    assert torch.equal(read.problem["weights"], example().problem["weights"])
    assert read.problem["pair"] == (1, 2.5)
    assert load_checkpoint(path).kind == "toy"
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_view_is_saved_without_the_tensor_behind_it(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, example(problem={"view": torch.zeros(1_000_000)[:3]}))
    assert path.stat().st_size < 20_000


def test_what_could_not_be_read_back_is_not_written(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, example())
    before = path.read_bytes()
    with pytest.raises(TypeError, match=r"problem\['path'\] is a PosixPath"):
        save_checkpoint(path, example(problem={"path": Path("/")}))
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_missing_file(tmp_path):
    assert "missing" in refused(tmp_path / "none.pt")


@pytest.mark.parametrize("content", [b"", b"#NEXUS\n", b"PK\x03\x04 not really", b"\x80\x02}q\x00."])
def test_foreign_file(tmp_path, content):
    path = tmp_path / "foreign.pt"
    path.write_bytes(content)
    assert "not a vbpi-mix checkpoint" in refused(path)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9, 0.999])
def test_truncated_file(tmp_path, share):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, example())
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "cut short" in refused(path)


def test_changed_bytes_are_noticed(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, example())
    content = bytearray(path.read_bytes())
    place = content.index(torch.arange(6.0).numpy().tobytes())
    content[place + 6] ^= 1
    path.write_bytes(bytes(content))
    assert "checksum" in refused(path)


def test_another_torch_file(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"weights": torch.zeros(3)}, path)
    assert "not a vbpi-mix checkpoint" in refused(path)


def test_another_zip(tmp_path):
    path = tmp_path / "archive.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("letter.txt", "hello")
    assert "not a vbpi-mix checkpoint" in refused(path)


def test_wrong_kind(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, example())
    assert "kind toy" in refused(path, "phylo")


def test_newer_version(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    monkeypatch.setattr(module, "VERSION", 99)
    save_checkpoint(path, example())
    monkeypatch.undo()
    assert "version 99" in refused(path)


class Hostile:
    """Unpickling this would make a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_code_in_a_pickle_does_not_run(tmp_path):
    for name, write in (
        ("zip.pt", torch.save),
        ("bare.pt", lambda value, path: path.write_bytes(pickle.dumps(value))),
    ):
        path = tmp_path / name
        write({"format": module.FORMAT, "problem": Hostile(tmp_path / "ran")}, path)
        refused(path)
    assert not (tmp_path / "ran").exists()
