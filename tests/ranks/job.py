"""A process that runs commands as jobs of several processes, each a child of its own.

It has imported everything and run nothing, so that a child costs no start of the interpreter; kernels come from the cache. A
line of JSON in: {"arguments", "folders", one for each process, "port", "killed", "at", "version"}; one out: a list of
{"status", "out", "err"} in the order of ranks. The process with rank `killed` gets SIGKILL: the first in iteration `at`, another
before it answers for the time `at`. The last process has `version` in place of its own, if one is given.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import tempfile
from pathlib import Path


def kill_in(cls, name, at):
    """Have a method kill this process when it is called for the time `at`."""
    method, calls = getattr(cls, name), []

    def fatal(self, *arguments):
        calls.append(None)
        if len(calls) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(self, *arguments)

    setattr(cls, name, fatal)


def run(request, rank, report):
    """In a child: the command, with its streams in files."""
    import vbpi_mix
    from vbpi_mix.phylo.follower import TreeFollower
    from vbpi_mix.phylo.models import shared
    from vbpi_mix.phylo.problem import PhyloProblem
    from vbpi_mix_cli.main import main

    folders = request["folders"]
    os.chdir(folders[rank])
    for number, name in ((1, f"out-{rank}"), (2, f"err-{rank}")):
        os.dup2(os.open(report / name, os.O_WRONLY | os.O_CREAT), number)
    size = len(folders)
    os.environ.update(
        WORLD_SIZE=str(size), LOCAL_WORLD_SIZE=str(size), RANK=str(rank), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(request["port"]), GLOO_SOCKET_IFNAME="lo",
    )  # fmt: skip
    shared.LEAST_WORK = 0.0
    if request["killed"] == rank:
        kill_in(*((TreeFollower, "_likelihoods") if rank else (PhyloProblem, "objective")), request["at"])
    if request["version"] and rank == size - 1:
        vbpi_mix.__version__ = request["version"]
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
        os._exit(status)


def serve():
    """Answer requests until there are no more."""
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder)
            children = []
            for rank in range(len(request["folders"])):
                child = os.fork()
                if not child:
                    run(request, rank, report)
                children.append(child)
            ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
            answer = [
                {"status": end, "out": (report / f"out-{rank}").read_text(), "err": (report / f"err-{rank}").read_text()}
                for rank, end in enumerate(ends)
            ]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    for module in ("phylo.replicate_fits", "phylo.follower", "phylo.models.shared", "training.train"):
        importlib.import_module(f"vbpi_mix.{module}")
    serve()
