"""Run directories: nothing lost, nothing left behind, nothing foreign removed."""

from __future__ import annotations

import json
import os

import pytest

from vbpi_mix.errors import RunDirectoryError
from vbpi_mix.files import atomic_write, write_text
from vbpi_mix.training.provenance import environment, versions
from vbpi_mix.training.run_directory import RunDirectory, find_newest, is_run
from vbpi_mix.training.trace import TraceWriter


def make_run(path, **config) -> RunDirectory:
    run = RunDirectory.create(path)
    run.commit(config)
    return run


def content(folder) -> set[str]:
    return {str(item.relative_to(folder)) for item in folder.rglob("*")}


def test_create_and_open(tmp_path):
    run = make_run(tmp_path / "a.vbpi", seed=3, rate=1e-8)
    assert content(tmp_path) == {"a.vbpi", "a.vbpi/config.yaml"}
    assert RunDirectory.open(tmp_path / "a.vbpi").read_config() == {"seed": 3, "rate": 1e-8}
    assert run.path == tmp_path / "a.vbpi"
    assert is_run(run.path)


def test_a_failing_start_leaves_nothing(tmp_path):
    def start():
        with RunDirectory.create(tmp_path / "a.vbpi") as run:
            run.log("started")
            raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        start()
    assert content(tmp_path) == set()


def test_a_failure_after_commit_keeps_the_run(tmp_path):
    def start():
        with RunDirectory.create(tmp_path / "a.vbpi") as run:
            run.log("started")
            run.commit({})
            raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        start()
    assert content(tmp_path / "a.vbpi") == {"config.yaml", "log.txt"}


def test_a_relative_place_survives_a_change_of_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with RunDirectory.create("a.vbpi") as run:
        run.commit({})
    assert RunDirectory.open("a.vbpi").read_config() == {}


def test_an_existing_run_is_refused_without_force(tmp_path):
    make_run(tmp_path / "a.vbpi", seed=1)
    with pytest.raises(RunDirectoryError, match="resume it, replace it, or choose another place"):
        RunDirectory.create(tmp_path / "a.vbpi")
    assert RunDirectory.open(tmp_path / "a.vbpi").read_config() == {"seed": 1}


def test_force_replaces_a_run_only_at_commit(tmp_path):
    make_run(tmp_path / "a.vbpi", seed=1).log("old")
    with pytest.raises(ValueError, match="bad"), RunDirectory.create(tmp_path / "a.vbpi", force=True):
        raise ValueError("bad")
    assert content(tmp_path / "a.vbpi") == {"config.yaml", "log.txt"}
    with RunDirectory.create(tmp_path / "a.vbpi", force=True) as run:
        run.commit({"seed": 2})
    assert content(tmp_path) == {"a.vbpi", "a.vbpi/config.yaml"}
    assert RunDirectory.open(tmp_path / "a.vbpi").read_config() == {"seed": 2}


@pytest.mark.parametrize("name", ["thesis.tex", "config.yaml", "summary.json"])
def test_force_never_removes_a_foreign_folder(tmp_path, name):
    place = tmp_path / "a.vbpi"
    place.mkdir()
    (place / name).write_text('{"format": "something else"}')
    with pytest.raises(RunDirectoryError, match="not a run"):
        RunDirectory.create(place, force=True)
    assert content(tmp_path) == {"a.vbpi", f"a.vbpi/{name}"}


def test_force_spares_files_links_and_the_current_folder(tmp_path, monkeypatch):
    run = make_run(tmp_path / "real")
    (tmp_path / "link").symlink_to(run.path)
    (tmp_path / "file").write_text("text")
    for name in ("link", "file"):
        with pytest.raises(RunDirectoryError):
            RunDirectory.create(tmp_path / name, force=True)
    monkeypatch.chdir(run.path)
    with pytest.raises(RunDirectoryError, match="current folder"):
        RunDirectory.create(".", force=True)
    assert content(tmp_path) == {"real", "real/config.yaml", "link", "file"}


def test_force_keeps_what_a_user_has_put_there_and_nothing_else(tmp_path):
    outer = make_run(tmp_path / "a.vbpi")
    outer.log("old")
    inner = make_run(outer.path / "first")
    for place in (outer.path, inner.path):
        (place / "notes").mkdir()
        (place / "notes" / "day.txt").write_text("mine")
        (place / "thesis.tex").write_text("mine too")
        (place / "consensus.nwk").write_text("ours")
    (outer.path / "link").symlink_to("thesis.tex")
    with RunDirectory.create(outer.path, force=True) as run:
        run.commit({"seed": 2})
        assert RunDirectory.open(outer.path).read_config() == {}
    kept = {"notes", "notes/day.txt", "thesis.tex"}
    assert content(tmp_path / "a.vbpi") == kept | {"config.yaml", "link", "first"} | {f"first/{name}" for name in kept}
    assert (tmp_path / "a.vbpi" / "first" / "thesis.tex").read_text() == "mine too"
    assert (tmp_path / "a.vbpi" / "link").is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {"a.vbpi"}


def test_a_replacement_that_fails_after_it_was_kept_can_be_continued(tmp_path):
    place = tmp_path / "a.vbpi"
    make_run(place, seed=1)

    def start():
        with RunDirectory.create(place, force=True) as run:
            run.commit({"seed": 2})
            raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        start()
    assert RunDirectory.open(place).read_config() == {"seed": 1}
    with RunDirectory.open_unfinished(place) as run:
        assert run.read_config() == {"seed": 2}
    assert RunDirectory.open(place).read_config() == {"seed": 2}
    assert content(tmp_path) == {"a.vbpi", "a.vbpi/config.yaml"}


def test_a_tentative_start_that_fails_leaves_nothing(tmp_path):
    def start(keep):
        with RunDirectory.create(tmp_path / "a.vbpi") as run:
            run.commit({}, tentative=True)
            assert is_run(tmp_path / "a.vbpi")
            if keep:
                run.keep()
            raise ValueError("bad")

    for keep in (False, True):
        with pytest.raises(ValueError, match="bad"):
            start(keep)
        assert content(tmp_path) == ({"a.vbpi", "a.vbpi/config.yaml"} if keep else set())


def test_one_writer_at_a_time(tmp_path):
    place = tmp_path / "a.vbpi"
    with RunDirectory.create(place) as first:
        first.commit({})
        for begin in (RunDirectory.open(place).__enter__, lambda: RunDirectory.create(place, force=True)):
            with pytest.raises(RunDirectoryError, match="is in use by another process of vbpi-mix: wait") as caught:
                begin()
            assert "\n" not in str(caught.value)
        with first:
            first.log("twice the same")
        with pytest.raises(RunDirectoryError, match="in use"):
            RunDirectory.open(place).__enter__()
    with RunDirectory.open(place) as second:
        second.log("free again")


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ({"": 1, ".replacement": 2}, 1),  # the new run is being trained
        ({".replaced": 1, ".replacement": 2}, 2),  # killed between the two steps: the new run was whole
        ({".replaced": 1, "": 2}, 2),  # killed before the old run was removed
        ({".replaced": 1}, 1),
        ({".replacement": 2}, 2),
    ],
)
def test_a_kill_at_any_step_of_a_replacement_is_recovered_from(tmp_path, there, found):
    for ending, seed in there.items():
        run = make_run(tmp_path / f"made{ending}", seed=seed)
        run.path.rename(tmp_path / (f".a.vbpi{ending}" if ending else "a.vbpi"))
    assert RunDirectory.open(tmp_path / "a.vbpi").read_config() == {"seed": found}
    left = {".a.vbpi.replacement"} if "" in there and ".replacement" in there else set()
    assert {path.name for path in tmp_path.iterdir()} == {"a.vbpi"} | left


def test_what_killed_processes_left_is_removed_by_the_next_command_there(tmp_path):
    run = make_run(tmp_path / "a.vbpi")
    left = [tmp_path / ".b.vbpi.01234567.starting", tmp_path / ".a.vbpi.89abcdef.starting"]
    left.append(run.path / ".summary.json.01234567.part")
    for place in left[:2]:
        make_run(tmp_path / "x").path.rename(place)
    left[2].write_text("{")
    mine = [tmp_path / ".b.vbpi.notes", tmp_path / ".c.vbpi.01234567.starting", run.path / ".summary.json.part"]
    for place in mine:
        place.write_text("mine")
    RunDirectory.create(tmp_path / "b.vbpi").discard()
    with RunDirectory.open(run.path):
        pass
    assert not any(place.exists() for place in left)
    assert all(place.read_text() == "mine" for place in mine)


def test_what_appears_meanwhile_is_not_overwritten(tmp_path):
    with RunDirectory.create(tmp_path / "a.vbpi") as run:
        (tmp_path / "a.vbpi").mkdir()
        (tmp_path / "a.vbpi" / "mine").write_text("text")
        with pytest.raises(RunDirectoryError, match="exists"):
            run.commit({})
    assert content(tmp_path) == {"a.vbpi", "a.vbpi/mine"}


def test_an_empty_folder_may_be_used(tmp_path):
    (tmp_path / "a.vbpi").mkdir()
    make_run(tmp_path / "a.vbpi")
    assert content(tmp_path) == {"a.vbpi", "a.vbpi/config.yaml"}


def test_missing_parent_is_one_line(tmp_path):
    with pytest.raises(RunDirectoryError, match="does not exist"):
        RunDirectory.create(tmp_path / "none" / "a.vbpi")


@pytest.mark.parametrize(
    "make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.write_text("")]
)
def test_open_refuses_what_is_no_run(tmp_path, make):
    make(tmp_path / "a.vbpi")
    with pytest.raises(RunDirectoryError):
        RunDirectory.open(tmp_path / "a.vbpi")


def test_summary_is_merged(tmp_path):
    run = make_run(tmp_path / "a.vbpi")
    assert run.read_summary() == {}
    run.update_summary({"elbo": -1.0, "seed": 1})
    run.update_summary({"elbo": -0.5, "marginal_log_likelihood": [{"mean": -7.0}]})
    expected = {"elbo": -0.5, "seed": 1, "marginal_log_likelihood": [{"mean": -7.0}]}
    assert run.read_summary() == expected
    assert json.loads((run.path / "summary.json").read_text())["format"]
    (run.path / "summary.json").write_text("{")
    with pytest.raises(RunDirectoryError, match="damaged"):
        run.update_summary({})


def test_find_newest(tmp_path):
    with pytest.raises(RunDirectoryError, match="no run"):
        find_newest(tmp_path)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for age, name in enumerate(["deep/er/new", "old", ".hidden"]):
        run = make_run(tmp_path / name)
        os.utime(run.path / "config.yaml", (2_000_000 - age, 2_000_000 - age))
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "config.yaml").write_text("seed: 1\n")
    assert find_newest(tmp_path).path == tmp_path / "deep" / "er" / "new"
    RunDirectory.open(tmp_path / "old").update_summary({"elbo": 1.0})
    assert find_newest(tmp_path).path == tmp_path / "old"
    assert find_newest(tmp_path / "old").path == tmp_path / "old"


def test_find_newest_of_a_command(tmp_path):
    for age, (name, command) in enumerate((("toy", "toy"), ("image", "image"), ("fit", "fit"), ("before", None))):
        run = RunDirectory.create(tmp_path / name)
        run.commit({} if command is None else {"command": command})
        os.utime(run.path / "config.yaml", (2_000_000 - age, 2_000_000 - age))
    assert find_newest(tmp_path).path == tmp_path / "toy"
    assert find_newest(tmp_path, "image").path == tmp_path / "image"
    assert find_newest(tmp_path, "fit").path == tmp_path / "fit"
    os.utime(tmp_path / "before" / "config.yaml")
    assert find_newest(tmp_path, "fit").path == tmp_path / "before"  # written when fits did not say so
    with pytest.raises(RunDirectoryError, match="no run of vbpi-mix image in or below"):
        find_newest(tmp_path / "fit", "image")


def test_atomic_write_keeps_the_old_file_on_failure(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old\n")

    def write_half():
        with atomic_write(path) as file:
            file.write("new, but")
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half"):
        write_half()
    assert path.read_text() == "old\n"
    assert content(tmp_path) == {"file.txt"}


def test_atomic_write_keeps_permissions(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    path.chmod(0o640)
    write_text(path, "new")
    assert path.stat().st_mode & 0o777 == 0o640
    other = tmp_path / "plain.txt"
    other.write_text("by hand")
    write_text(tmp_path / "ours.txt", "ours")
    assert (tmp_path / "ours.txt").stat().st_mode == other.stat().st_mode


def test_trace_is_buffered_and_cut_at_a_resume(tmp_path):
    path = tmp_path / "trace.csv"
    writer = TraceWriter(path, ["accuracy"])
    for iteration in (10, 20, 30):
        writer.row(iteration, 1.5, -7.25, 0.5, 0.001, {"accuracy": 0.5} if iteration == 20 else {})
    assert len(path.read_text().splitlines()) == 1
    writer.flush()
    header = "iteration,seconds,bound,beta,learning_rate,accuracy\n"
    rows = ["10,1.500,-7.25,0.5,0.001,\n", "20,1.500,-7.25,0.5,0.001,0.5\n", "30,1.500,-7.25,0.5,0.001,\n"]
    assert path.read_text() == header + "".join(rows)
    with path.open("a") as file:
        file.write("2")  # a row cut off by a crash
    TraceWriter(path, ["accuracy"], keep_until=20)
    assert path.read_text() == header + "".join(rows[:2])
    with pytest.raises(RunDirectoryError, match="other columns"):
        TraceWriter(path, keep_until=20)
    TraceWriter(path)
    assert path.read_text() == "iteration,seconds,bound,beta,learning_rate\n"


def test_provenance_names_versions_and_nothing_private():
    assert {"python", "vbpi_mix", "torch", "numpy", "numba"} == set(versions())
    facts = json.dumps({**versions(), **environment()})
    assert os.uname().nodename not in facts or len(os.uname().nodename) < 4
    assert os.sep + "home" not in facts
