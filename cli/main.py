"""Entry point of the command line: the list of commands, and the one boundary where errors become messages.

A command's module is imported only when that command is asked for, so that `vbpi-mix --help` answers at once.
"""

from __future__ import annotations

import errno
import importlib
import os
import shlex
import sys
from typing import Any

import click

from vbpi_mix import __version__
from vbpi_mix.errors import RunExistsError, VbpiMixError, shorten
from vbpi_mix.training.provenance import TYPED
from vbpi_mix_cli.streams import discard, usable_streams

# name: (module that defines `command`, the line that `vbpi-mix --help` shows)
COMMANDS: dict[str, tuple[str, str]] = {
    "fit": ("vbpi_mix_cli.fit", "Learn the posterior of trees and branch lengths of an alignment."),
    "report": ("vbpi_mix_cli.report", "Write a run as a page: tree, certainty, evidence, verdict."),
    "draw": ("vbpi_mix_cli.draw", "Draw a run's consensus tree as PDF, PNG or SVG."),
    "eval": ("vbpi_mix_cli.evaluate", "Estimate the marginal log-likelihood of a run by importance sampling."),
    "export": ("vbpi_mix_cli.export", "Write a run's trees and parameters for MrBayes's, BEAST's and other programs."),
    "loglik": ("vbpi_mix_cli.loglik", "Log-likelihood of a tree with branch lengths."),
    "simulate": ("vbpi_mix_cli.simulate", "Simulate an alignment on a tree."),
    "models": ("vbpi_mix_cli.models", "Evidence of several substitution models, as a table."),
    "compare": ("vbpi_mix_cli.compare", "Compare a run with tree samples: KL and split frequencies."),
    "data": ("vbpi_mix_cli.data", "List, fetch and check benchmark alignments and image data sets."),
    "support": ("vbpi_mix_cli.support", "Make a tree sample from an alignment alone."),
    "image": ("vbpi_mix_cli.image", "Mixtures in the latent space of an image model: digits, MNIST, CIFAR-10."),
    "cells": ("vbpi_mix_cli.cells", "Mixtures in the latent space of single cells: scVI with several encoders."),
    "toy": ("vbpi_mix_cli.toy", "Mixtures in the plane against exact answers: funnel, ring, bimodal."),
}

# What the options of a command can do about an error, which the library does not know.
HINTS: dict[type[VbpiMixError], str] = {RunExistsError: " (--resume, --force, --out)"}

EPILOG = """\b
Example:
  vbpi-mix fit DS1.nex --trees 'ufboot/*.gz' --A 4 --S 2 --estimator s2a
  vbpi-mix eval --importance-samples 1000
"""


class LazyGroup(click.Group):
    """A group that knows its commands by name and loads each when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vbpi-mix")
def cli() -> None:
    """Variational Bayesian phylogenetics with mixtures of subsplit Bayesian networks."""


# Of a message: what a file says may be repeated in it.
MOST_CHARACTERS = 4000
# What to do about an OSError, by its number.
REMEDIES = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room; nothing that was whole is lost (a run goes on with --resume)"
    ),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "check its permissions, or choose another place"),
    errno.ENAMETOOLONG: "choose a shorter name",
}


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; expected errors are one line on standard error and exit status 2."""
    # Before torch starts its OpenMP runtime, which the kernels then share (vbpi_mix/accelerate.py).
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    typed = TYPED.set(shlex.join(["vbpi-mix", *(sys.argv[1:] if arguments is None else arguments)]))
    try:
        with usable_streams():
            return _run(arguments)
    finally:
        TYPED.reset(typed)


def _run_among_others(arguments: list[str]) -> Any:
    """The command, with what other processes of torchrun do for it, if there are any."""

    def run() -> Any:
        return cli.main(args=arguments, prog_name="vbpi-mix", standalone_mode=False)

    if "WORLD_SIZE" not in os.environ:
        return run()
    from vbpi_mix_cli.ranks import run_among_others

    return run_among_others(arguments, run)


def _run(arguments: list[str] | None) -> Any:
    try:
        status = _run_among_others(sys.argv[1:] if arguments is None else arguments)
        # Without its standalone mode click returns what a command exited with.
        if isinstance(status, int) and status != 0:
            sys.exit(status)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except VbpiMixError as error:
        click.echo(f"error: {shorten(str(error), MOST_CHARACTERS)}{HINTS.get(type(error), '')}", err=True)
        sys.exit(2)
    except OSError as error:
        if error.filename is None:
            discard(sys.stdout)
        click.echo(f"error: {describe_os_error(error)}", err=True)
        sys.exit(2)
    except MemoryError as error:
        reason = str(error).split("\n")[0][:200]
        click.echo(f"error: the memory does not suffice{f' ({reason})' if reason else ''}: ask for less at once", err=True)
        sys.exit(2)


def describe_os_error(error: OSError) -> str:
    """What could not be read or written, why, and what to do."""
    what = "standard output" if error.filename is None else shorten(os.fsdecode(error.filename))
    remedy = REMEDIES.get(error.errno or 0, "check the path")
    return f"{what} cannot be read or written ({error.strerror or error}); {remedy}"


if __name__ == "__main__":
    main()
