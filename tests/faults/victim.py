"""A process that runs commands in children of its own, each of which meets a fault before a step that changes a file.

It has imported everything and, where it was asked to, run a command once itself, so that a child finds its kernels in memory.
One line of JSON in, one out: {"arguments", "folder", "at", "fault"} -> {"status", "steps", "out", "err"}. Steps are counted from
1 in what changes a file below `folder`: opening one to write, a new folder, a name that is changed or removed. Nothing happens
where `at` is 0. Faults: "kill", SIGKILL before step `at`; "full", from that step on nothing can be made and no file opened to
write; "small", from that step on no file can grow, so that it is the write that fails; "large", it fails halfway, where a file
would have more than LARGE bytes. "warm" is no fault: the command is run in this process.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import resource
import signal
import sys
import traceback
from pathlib import Path

EVENTS = {"os.rename": 2, "os.remove": 1, "os.rmdir": 1, "os.mkdir": 1, "os.link": 2, "os.truncate": 1, "os.symlink": 2}
MAKING = ("open", "os.mkdir", "os.link", "os.symlink")
WRITING = os.O_WRONLY | os.O_RDWR
# More than what a command writes to find out whether it can.
LARGE = 5000
LONGEST_SECONDS = 120


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
        if self.fault in ("small", "large"):
            limit_files(LARGE if self.fault == "large" else 0)
        elif event in MAKING:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(paths[-1]))


def limit_files(size):
    """No file of this process grows beyond so many bytes; those that are larger stay. -1: as it was."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most if size < 0 else size, most))


def run(request, streams):
    """In a child: the command, with its streams in pipes, and the number of steps at its end."""
    # What hangs is killed.
    signal.alarm(LONGEST_SECONDS)
    os.chdir(request["folder"])
    out, err, steps = streams
    os.dup2(out, 1)
    os.dup2(err, 2)
    hook = Fault(request["folder"], request["at"], request["fault"])
    sys.addaudithook(hook)
    status = 1
    try:
        main(request["arguments"])
        status = 0
    except SystemExit as stop:
        status = stop.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(steps, str(hook.steps).encode())
        os._exit(status)


def answer(request):
    """What becomes of a command, from a child. It says little: a pipe holds it until the child has ended."""
    pipes = [os.pipe() for _ in range(3)]
    child = os.fork()
    if not child:
        run(request, [writing for _, writing in pipes])
    _, ended = os.waitpid(child, 0)
    texts = []
    for reading, writing in pipes:
        os.close(writing)
        with os.fdopen(reading) as stream:
            texts.append(stream.read())
    return {"status": os.waitstatus_to_exitcode(ended), "out": texts[0], "err": texts[1], "steps": int(texts[2] or 0)}


def warm(request):
    """Run a command here."""
    here = os.getcwd()
    os.chdir(request["folder"])
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.suppress(SystemExit):
        main(request["arguments"])
    os.chdir(here)
    return {}


def serve():
    """Answer requests until there are no more."""
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(warm(request) if request["fault"] == "warm" else answer(request)), flush=True)


if __name__ == "__main__":
    for module in ("vbpi_mix.image.fit", "vbpi_mix.phylo.replicate_fits", "vbpi_mix.phylo.compare", "vbpi_mix.toy.run"):
        importlib.import_module(module)
    from vbpi_mix_cli.main import main

    serve()
