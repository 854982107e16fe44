"""The fit of one gene, or the rest of it where it was cut off. A run that was asked for something else is not resumed.

    python fit.py genes/gene1.fasta results/gene1.vbpi results/gene1.log --model GTR+G4

A run that is resumed keeps the options and the data that it began with. So what is asked for is written beside the run before the
fit begins, in results/gene1.asked, and the run is resumed only if the same is asked for again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any


class Refused(Exception):
    """What cannot be done, why, and what to do, in a line."""


def digest_of(file: str | Path) -> str:
    """SHA-256 of a file, as a run's config.yaml has that of the alignment."""
    with open(file, "rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def asked_for(alignment: str, options: list[str]) -> dict[str, Any]:
    """What is asked for: options, and by their SHA-256 the alignment and files that options name, as --partitions does."""
    values = {value for option in options for value in (option, option.partition("=")[2]) if os.path.isfile(value)}
    return {"options": options, "alignment": digest_of(alignment), "files": {name: digest_of(name) for name in sorted(values)}}


def differences(before: dict[str, Any], now: dict[str, Any]) -> dict[str, str]:
    """How a run was fitted that was asked for otherwise than now; the keys are what would have to be put back."""
    found = {}
    if before["options"] != now["options"]:
        was, wanted = (shlex.join(asked["options"]) or "none" for asked in (before, now))
        found["the options"] = f"with other options ({was}; now {wanted})"
    else:
        names = sorted(dict(before["files"].items() ^ now["files"].items()))
        if names:
            found[", ".join(names)] = "with other contents of " + ", ".join(names)
    if before["alignment"] != now["alignment"]:
        found["the alignment"] = "from another alignment"
    return found


def check_same(run: Path, asked: Path, now: dict[str, Any]) -> None:
    """Refused unless the run was asked for what is asked for now."""
    if not asked.exists():
        # Made by hand: nobody knows with which options, but its config.yaml says from which alignment.
        found = differences({**now, "alignment": digest_in_config(run)}, now)
    else:
        try:
            found = differences(json.loads(asked.read_text(encoding="utf-8")), now)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refused(f"{asked}, which says what {run} was asked for, is damaged: remove both to fit anew") from error
    if found:
        how, back = " and ".join(found.values()), " and ".join(found)
        raise Refused(f"{run.stem}: its run was fitted {how}: remove {run} to fit anew, or put {back} back")


def digest_in_config(run: Path) -> str | None:
    """SHA-256 of the alignment that a run was fitted to, from its config.yaml; None if that does not say."""
    text = (run / "config.yaml").read_text(encoding="utf-8")
    found = re.search(r"^alignment:\n(?: .*\n)*?  sha256: '?([0-9a-f]{64})'?$", text, re.MULTILINE)
    return found[1] if found else None


def write_whole(file: Path, text: str) -> None:
    """Write a file that is there whole or not at all, as the machine may stop at any moment."""
    half = file.with_name(f"{file.name}.half")
    half.write_text(text, encoding="utf-8")
    half.replace(file)


def command_of(alignment: str, place: str, options: list[str]) -> list[str]:
    """What is to be run: a fit, or what continues the one that is there. Refused if that one was asked for something else."""
    run, asked, now = Path(place), Path(place).with_suffix(".asked"), asked_for(alignment, options)
    if shutil.which("vbpi-mix") is None:
        raise Refused("vbpi-mix is not on the PATH: activate the environment that it is installed in")
    if (run / "config.yaml").exists():
        check_same(run, asked, now)
        return ["vbpi-mix", "fit", "--resume", place, "--threads", "1"]
    write_whole(asked, json.dumps(now, indent=2) + "\n")
    return ["vbpi-mix", "fit", alignment, "--out", place, "--threads", "1", *options]


def main(alignment: str, place: str, log: str, *options: str) -> None:
    """Become the fit, whose words go to the log; or say in the log and on the screen why not, and end with status 2."""
    try:
        command = command_of(alignment, place, list(options))
    except (Refused, OSError) as error:
        line = f"error: {error}"
        Path(log).write_text(f"{line}\n", encoding="utf-8", errors="backslashreplace")
        print(line, file=sys.stderr)
        sys.exit(2)
    with open(log, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # In place of this process, so that a signal to the job is one to the fit, which then saves a checkpoint.
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
