"""A process that runs commands in children of its own, each of which meets a fault before a step that changes a file.

It has imported everything and run nothing, so that a child costs no start of the interpreter; kernels come from the cache.
One line of JSON in, one out: {"arguments", "folder", "at", "fault"} -> {"status", "steps", "out", "err"}. Steps are counted from
1 in what changes a file below `folder`: opening one to write, a new folder, a name that is changed or removed. Faults: "kill",
SIGKILL before step `at`; "full", from that step on no file can be opened to write. Nothing happens where `at` is 0.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

EVENTS = {"os.rename": 2, "os.remove": 1, "os.rmdir": 1, "os.mkdir": 1, "os.link": 2, "os.truncate": 1, "os.symlink": 2}
WRITING = os.O_WRONLY | os.O_RDWR


class Fault:
    """An audit hook that counts steps and makes one of them fail."""

    def __init__(self, folder, at, fault):
        self.folder, self.at, self.fault = str(folder), at, fault
        self.steps = 0

    def __call__(self, event, given):
        opens = event == "open" and isinstance(given[2], int) and given[2] & WRITING
        if not opens and event not in EVENTS:
            return
        paths = [Path(os.fsdecode(path)) for path in given[: EVENTS.get(event, 1)] if isinstance(path, str | bytes | os.PathLike)]
        # Within a folder that is being removed names are relative to it.
        removed = event in ("os.remove", "os.rmdir") and given[1] != -1
        if not removed and not any(str(path.absolute()).startswith(self.folder) for path in paths):
            return
        self.steps += 1
        if not self.at or self.steps < self.at:
            return
        if self.fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if opens:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(paths[0]))


def run(request, report):
    """In a child: the command, with its streams in files, and the number of steps at its end."""
    os.chdir(request["folder"])
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(report / name, os.O_WRONLY | os.O_CREAT), number)
    hook = Fault(request["folder"], request["at"], request["fault"])
    sys.addaudithook(hook)
    status = 1
    try:
        main(request["arguments"])
        status = 0
    except SystemExit as stop:
        status = stop.code or 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        (report / "steps").write_text(str(hook.steps))
        os._exit(status)


def serve():
    """Answer requests until there are no more."""
    for line in sys.stdin:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder)
            child = os.fork()
            if not child:
                run(json.loads(line), report)
            _, ended = os.waitpid(child, 0)
            texts = {name: (report / name).read_text() if (report / name).exists() else "" for name in ("out", "err", "steps")}
        answer = {**texts, "status": os.waitstatus_to_exitcode(ended), "steps": int(texts["steps"] or 0)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    for module in ("vbpi_mix.image.fit", "vbpi_mix.phylo.replicate_fits", "vbpi_mix.phylo.compare", "vbpi_mix.toy.run"):
        importlib.import_module(module)
    from vbpi_mix_cli.main import main

    serve()
