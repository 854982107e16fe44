"""A resolved config.yaml lacks nothing, and says what the checkpoint was made with."""

from __future__ import annotations

import yaml

FIT = ("fit", "six.nex", "--trees", "all.ufboot", "--iterations", 10, "--threads", 1, "--quiet", "--answer-draws", 50)


def test_what_is_missing_or_changed_in_config_yaml_is_named(run, six):
    assert run(*FIT).status == 0
    place = six / "six.vbpi" / "config.yaml"
    text = place.read_text()
    written = yaml.safe_load(text)
    for part, name in [
        *(("model", name) for name in written["model"]),
        *(("training", name) for name in written["training"]),
        ("trees", "widen"),
        ("priors", "lengths"),
        ("answer", "outgroup"),
    ]:
        config = yaml.safe_load(text)
        del config[part][name]
        place.write_text(yaml.safe_dump(config))
        line = run("export", "six.vbpi", "--threads", 1).error_line()
        assert name in line
        # Runs from before weights could be learned lack that entry, and their checkpoints do too.
        assert "missing" in line or "lacks" in line or (name == "weights" and "of its config.yaml is null" in line)
    changes = [("model", "A", 3), ("model", "flow", "planar"), ("training", "seed", 7), ("priors", "lengths", "exp:1")]
    for part, name, value in changes:
        config = yaml.safe_load(text)
        config[part][name] = value
        place.write_text(yaml.safe_dump(config))
        line = run("export", "six.vbpi", "--threads", 1).error_line()
        assert f"{part}: {name} of its config.yaml is " in line
        assert line.endswith("put that back")
    config = yaml.safe_load(text)
    config["training"]["iterations"] = 20
    place.write_text(yaml.safe_dump(config))
    assert run("fit", "--resume", "six.vbpi", "--quiet").out.startswith("six.vbpi: all done after 20 iterations")


def test_aliases_in_config_yaml_are_refused(run, six):
    assert run(*FIT).status == 0
    place = six / "six.vbpi" / "config.yaml"
    bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
    place.write_text(place.read_text() + bomb)
    assert "config.yaml is missing or damaged" in run("export", "six.vbpi", "--threads", 1).error_line()
