"""Image data sets: where they are found, what is in them, how they are split, and every way in which a file is wrong."""

import gzip
import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from image_files import MNIST_FILES, cifar_archive, cifar_records, idx, random_images, write_idx_set

from vbpi_mix.data_files import DataFolderError
from vbpi_mix.image import sources
from vbpi_mix.image.datasets import load_images
from vbpi_mix.image.formats import DatasetError, read_idx_images
from vbpi_mix.image.sources import image_set, image_set_names, locate, obtain, verify


@pytest.fixture
def mnist(empty_world, monkeypatch):
    """VBPI_MIX_DATA with an MNIST of 60 and 24 images; returns its folder."""
    data = empty_world / "data"
    write_idx_set(data / "mnist", random_images(60), random_images(24, seed=1))
    monkeypatch.setenv("VBPI_MIX_DATA", str(data))
    return data / "mnist"


def refusal(name, folder=None):
    with pytest.raises(DatasetError) as error:
        load_images(name, folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_every_set_is_described():
    assert image_set_names() == ("cifar10", "digits", "fashion_mnist", "mnist")
    for name in image_set_names():
        known = image_set(name)
        assert known.citation
        for file in known.files:
            assert len(bytes.fromhex(file.sha256)) == 32
            assert file.urls
            assert file.size > 10**6
    assert image_set("Fashion-MNIST").name == "fashion_mnist"
    with pytest.raises(DatasetError, match="'fashion'; did you mean fashion_mnist"):
        image_set("fashion")
    with pytest.raises(DatasetError, match="'svhn'; there are cifar10, digits, fashion_mnist, mnist"):
        image_set("svhn")


def test_digits_are_split_and_binarised_the_same_every_time():
    data, again = load_images("digits"), load_images("digits")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [1257, 180, 360]
    assert data.image_shape == (1, 8, 8)
    assert data.levels == data.train.max() == 16
    assert set(data.validation.unique().tolist()) == set(data.test.unique().tolist()) == {0, 1}
    assert data.facts() == again.facts()
    assert data.facts()["binarisation_seed"] == 777
    # Another stream, split or order would change what a test likelihood is of.
    assert data.checksum() == "86ea8a70255516f1dcefc38c0619dcc1fd4ce26d0ce49e0e663d8e6480573aa3"


def test_digits_parts_are_the_whole_set_once():
    from sklearn.datasets import load_digits

    data = load_images("digits")
    order = np.random.RandomState(42).permutation(1797)
    images = load_digits().images[order].astype(np.uint8)
    assert np.array_equal(data.train[:, 0].numpy(), images[:1257])
    held_out = torch.cat([data.validation, data.test])[:, 0].numpy()
    certain = (images[1257:] == 0) | (images[1257:] == 16)
    assert certain.mean() > 0.5
    assert np.array_equal(held_out[certain], images[1257:][certain] // 16)


def test_idx_images_keep_their_order_and_are_binarised_from_seed_777(mnist):
    data = load_images("mnist")
    train, test = random_images(60), random_images(24, seed=1)
    assert np.array_equal(data.train[:, 0].numpy(), train[:50])
    legacy = np.random.RandomState(777)
    assert np.array_equal(data.validation[:, 0].numpy(), legacy.binomial(1, train[50:] / 255))
    assert np.array_equal(data.test[:, 0].numpy(), legacy.binomial(1, test / 255))
    assert data.subset
    assert data.split_seed is None


def test_published_mnist_is_split_as_published(benchmark_data, empty_world, monkeypatch):
    monkeypatch.setenv("VBPI_MIX_DATA", str(benchmark_data))
    data = load_images("mnist")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [50_000, 10_000, 10_000]
    assert not data.subset
    assert data.binary
    assert data.checksum() == "4d6ad678175eb652134fd2de1d49c24925902d234fe0abc7f0f0a3620e08434c"
    assert [path.name for path in verify("mnist")] == list(MNIST_FILES)


def test_a_folder_that_is_given_is_the_only_place(mnist, tmp_path):
    own = tmp_path / "own"
    write_idx_set(own, random_images(30, seed=5), random_images(12, seed=6), gzipped=False)
    assert len(load_images("mnist", own).train) == 25
    assert len(load_images("mnist", mnist).train) == 50
    assert len(load_images("mnist", mnist.parent).train) == 50
    empty = tmp_path / "empty"
    empty.mkdir()
    line = refusal("mnist", empty)
    assert line.startswith(f"{empty} does not hold mnist: expected {MNIST_FILES[0]} and {MNIST_FILES[1]}")
    assert "no such folder" in refusal("mnist", tmp_path / "nowhere")


def test_missing_files_are_named_with_and_without_a_data_folder(empty_world, mnist, monkeypatch):
    assert "fashion_mnist is not here and downloads are off" in refusal("fashion_mnist")
    (mnist / MNIST_FILES[1]).unlink()
    assert f"{MNIST_FILES[1]} is missing" in refusal("mnist")
    monkeypatch.delenv("VBPI_MIX_DATA")
    assert "set VBPI_MIX_DATA to a folder that holds mnist/train-images-idx3-ubyte.gz" in refusal("mnist")
    assert locate("mnist") is None
    monkeypatch.setenv("VBPI_MIX_DATA", "nowhere")
    with pytest.raises(DataFolderError, match="VBPI_MIX_DATA=nowhere: no such folder"):
        load_images("mnist")


def cut(content):
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (cut(gzip.compress(idx(random_images(60)))), "is cut short: the gzip data end early"),
        (gzip.compress(cut(idx(random_images(60)))), "is cut short: 23,528 bytes where 60 images need 47,056"),
        (gzip.compress(idx(random_images(60)) + b"x"), "is too long"),
        (b"\x1f\x8b" + b"\x00" * 50, "is damaged"),
        (b"", "is not an IDX file of images (its first bytes are none)"),
        (b"<html>not found</html>", "is not an IDX file of images"),
        (gzip.compress(idx(random_images(60, 14, 56))), "holds images of 14 x 56 pixels where 28 x 28"),
        (gzip.compress(idx(random_images(3))), "has 3 training images here"),
    ],
)
def test_what_is_wrong_with_an_idx_file_is_one_line(mnist, content, words):
    (mnist / MNIST_FILES[0]).write_bytes(content)
    line = refusal("mnist")
    assert words in line
    assert "mnist" in line


def test_a_flipped_bit_in_gzip_data_is_seen(mnist):
    path = mnist / MNIST_FILES[1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)
    assert str(path) in refusal("mnist")


def test_a_folder_in_place_of_a_file_is_said(tmp_path):
    with pytest.raises(DatasetError, match="cannot be read"):
        read_idx_images(tmp_path, 28, 28)


def test_cifar_in_all_its_layouts_is_the_same_data(empty_world, tmp_path):
    first, first_images = cifar_records(20)
    second, second_images = cifar_records(20, seed=1)
    test, test_images = cifar_records(12, seed=2)
    parts = {"data_batch_1.bin": first, "data_batch_2.bin": second, "test_batch.bin": test}
    folders = [tmp_path / name for name in ("archive", "plain", "nested", "subset")]
    for folder in folders:
        folder.mkdir()
    cifar_archive(folders[0] / "cifar-10-binary.tar.gz", parts)
    (folders[2] / "cifar-10-batches-bin").mkdir()
    for name, content in parts.items():
        (folders[1] / name).write_bytes(content)
        (folders[2] / "cifar-10-batches-bin" / name).write_bytes(content)
        (folders[3] / name.replace(".bin", "_first.bin.gz")).write_bytes(gzip.compress(content))
    sets = [load_images("cifar10", folder) for folder in folders]
    assert len({data.checksum() for data in sets}) == 1
    data = sets[0]
    assert (len(data.train), len(data.validation), len(data.test)) == (32, 8, 12)
    assert np.array_equal(data.test.numpy(), test_images)
    everything = np.concatenate([first_images, second_images])
    split = torch.cat([data.train, data.validation]).numpy()
    assert np.array_equal(split, everything[np.random.RandomState(42).permutation(40)])
    assert (data.binary, data.split_seed, data.levels) == (False, 42, 255)
    assert data.facts()["binarisation_seed"] is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (cifar_records(20)[0][:-1], "are not a whole number of records of 3,073"),
        (b"", "0 bytes are not"),
        (b"\x0b" + cifar_records(20)[0][1:], "a record has the label 11"),
    ],
)
def test_what_is_wrong_with_a_cifar_file_is_one_line(empty_world, tmp_path, content, words):
    (tmp_path / "data_batch_1.bin").write_bytes(content)
    (tmp_path / "test_batch.bin").write_bytes(cifar_records(12)[0])
    assert words in refusal("cifar10", tmp_path)
    (tmp_path / "test_batch.bin").unlink()
    assert "test_batch.bin is missing" in refusal("cifar10", tmp_path)


def test_a_damaged_archive_is_one_line(empty_world, tmp_path):
    place = tmp_path / "cifar-10-binary.tar.gz"
    cifar_archive(place, {"data_batch_1.bin": cifar_records(20)[0]})
    assert "holds no data_batch_1.bin ... and test_batch.bin" in refusal("cifar10", tmp_path)
    cifar_archive(place, {"data_batch_1.bin": cifar_records(20)[0], "test_batch.bin": cifar_records(12)[0]})
    whole = place.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no archive"):
        place.write_bytes(content)
        assert str(place) in refusal("cifar10", tmp_path)


def test_a_download_goes_to_the_cache_and_is_checked(empty_world, tmp_path, monkeypatch):
    content = {name: gzip.compress(idx(random_images(20, seed=k))) for k, name in enumerate(MNIST_FILES)}
    asked = []

    def fetch(urls, target, sha256):
        asked.append((target, sha256))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content[target.name])

    monkeypatch.delenv("VBPI_MIX_OFFLINE")
    monkeypatch.setattr(sources, "download", fetch)
    found = obtain("mnist")
    assert found.folder == tmp_path / "cache" / "mnist"
    assert asked == [(found.folder / file.name, file.sha256) for file in image_set("mnist").files]
    with pytest.raises(DatasetError, match="not the published file"):
        verify("mnist")
    monkeypatch.setenv("VBPI_MIX_OFFLINE", "1")
    assert obtain("mnist") == found
    assert len(asked) == 2


def test_verify_compares_checksums(mnist, monkeypatch):
    with pytest.raises(DatasetError, match="wrong checksum"):
        verify("mnist")
    known = image_set("mnist")
    files = tuple(
        replace(file, sha256=hashlib.sha256((mnist / file.name).read_bytes()).hexdigest()) for file in known.files
    )
    monkeypatch.setattr(sources, "image_set", lambda name: replace(known, files=files))
    assert verify("mnist") == [mnist / name for name in MNIST_FILES]


def test_the_data_command_knows_the_image_sets(run, mnist):
    lines = run("data", "list").out.splitlines()
    rows = {line.split()[0]: line for line in lines if line}
    assert rows["mnist"].split()[1:] == ["28x28", "60000", "10000", str(mnist)]
    assert rows["cifar10"].endswith("not here; vbpi-mix data get cifar10")
    assert "scikit-learn" in rows["digits"]
    assert run("data", "get", "mnist").out == f"mnist  {mnist}\n"
    assert "downloads are off" in run("data", "get", "fashion-mnist").error_line()
    assert "--to is for alignments" in run("data", "get", "mnist", "--to", ".").error_line()
    assert "wrong checksum" in run("data", "verify", "mnist").error_line()
    assert "cifar10 is not here" in run("data", "verify", "cifar10").error_line()
