"""Tree samples by other programs: IQ-TREE (its executable, or its library in piqtree) and MrBayes.

Each program works in a temporary folder, which is removed whatever happens, on an alignment whose taxa are
called t0, t1 ...; the names are put back when its trees are read.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vbpi_mix.errors import VbpiMixError
from vbpi_mix.phylo.data.alignment import Alignment, write_fasta, write_nexus
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.models.substitution import SubstitutionModel, substitution_model
from vbpi_mix.phylo.models.topology_prior import TopologyPrior
from vbpi_mix.phylo.sampling.program_parts import (
    ProgramParts,
    mrbayes_model_lines,
    part_after_part,
    write_iqtree_parts,
)
from vbpi_mix.phylo.trees.sample import TreeSample, read_tree_sample

IQTREE_NAMES = ("iqtree2", "iqtree3", "iqtree")
MRBAYES_NAMES = ("mb", "mrbayes")
LIBRARY_MODULE = "_piqtree"
UFBOOT_REPLICATES = 10_000
_SHOWN_LINES, _SHOWN_LETTERS = 2, 300
_MRBAYES_FOREVER = 1_000_000_000
_LIBRARY_SCRIPT = """
import sys
import _piqtree
model, seed, replicates = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
lines = open(sys.argv[1]).read().split()
names, rows = [name[1:] for name in lines[::2]], lines[1::2]
result = str(_piqtree.iq_build_tree(names, rows, model, seed, replicates, 1))
open("result.yaml", "w").write(result)
open("version.txt", "w").write(_piqtree.__iqtree_version__)
"""


class ProgramError(VbpiMixError):
    """Another program is missing, failed, or took too long."""


@dataclass(frozen=True)
class ProgramRun:
    """Trees that a program made, and facts about how."""

    sample: TreeSample
    facts: dict[str, Any]


def find_program(names: Sequence[str]) -> str | None:
    """Path of the first of these programs that is on PATH, or None."""
    return next((path for path in map(shutil.which, names) if path), None)


def has_library() -> bool:
    """Whether IQ-TREE's library is installed (optional extra `iqtree`).

    Only its compiled module is looked at: the Python layer around it does not import beside every cogent3.
    """
    return importlib.util.find_spec(LIBRARY_MODULE) is not None


def run_iqtree(
    alignment: Alignment,
    *,
    replicates: int,
    seed: int,
    seconds: float | None,
    model: SubstitutionModel | None = None,
    topology_prior: TopologyPrior | None = None,
    parts: ProgramParts | None = None,
) -> ProgramRun:
    """Ultrafast bootstrap trees of IQ-TREE, on one thread; identical sequences stay in.

    seconds: limit, None for none. model: of all characters, JC69 if not given; parts: in its place, those of the alignment with
    models of their own. topology_prior: whose splits it is told to keep to. Raises ProgramError if IQ-TREE is not installed,
    fails, or exceeds the limit.
    """
    known = topology_prior or TopologyPrior(len(alignment.taxa))
    name = (model or substitution_model()).iqtree
    program = find_program(IQTREE_NAMES)
    if program is None:
        if has_library() and (parts is not None or not known.free):
            what = "constraints" if parts is None else "parts"
            raise ProgramError(f"IQ-TREE's library takes no {what}: install its executable, or take the trees from mcmc")
        return _run_library(alignment, name, replicates, seed, seconds)
    with _folder(alignment) as folder:
        data = ["-s", "alignment.fasta", "-m", name]
        if parts is not None:
            safe = replace(alignment, taxa=_safe_names(len(alignment.taxa)))
            data = write_iqtree_parts(safe, parts, folder)
        command = [
            program, *data, "-bb", str(replicates), "-wbt", "-keep-ident", "-nt", "1", "-seed", str(seed), "-pre", "out",
        ]  # fmt: skip
        if not known.free:
            (folder / "constraint.nwk").write_text(f"{known.newick(_safe_names(known.n_taxa))}\n", encoding="ascii")
            command += ["-g", "constraint.nwk"]
        _run(command, folder, seconds)
        sample = _read([folder / "out.ufboot"], alignment, command)
    return ProgramRun(sample, {"program": Path(program).name, "version": _iqtree_version(program)})


def _run_library(
    alignment: Alignment, model: str, replicates: int, seed: int, seconds: float | None
) -> ProgramRun:
    if not has_library():
        raise ProgramError(
            f"IQ-TREE is not installed: none of {', '.join(IQTREE_NAMES)} is on PATH; install one, or "
            "pip install 'vbpi-mix[iqtree]', or take the trees from mcmc"
        )
    with _folder(alignment) as folder:
        command = [sys.executable, "-c", _LIBRARY_SCRIPT, "alignment.fasta", model, str(seed), str(replicates)]
        _run(command, folder, seconds, name="piqtree")
        result = (folder / "result.yaml").read_text(encoding="utf-8")
        section = re.search(r"^UFBoot:\n((?:[ \t].*\n?)+)", result, re.MULTILINE)
        trees = re.findall(r"(\([^;]*;)", section.group(1)) if section else []
        # The library calls taxa by their number, whatever their names.
        trees = [re.sub(r"(?<=[(,])(?=\d)", "t", tree) for tree in trees]
        (folder / "out.ufboot").write_text("\n".join(trees), encoding="utf-8")
        sample = _read([folder / "out.ufboot"], alignment, ["piqtree"])
        version = (folder / "version.txt").read_text(encoding="utf-8").strip()
    return ProgramRun(sample, {"program": "piqtree", "version": f"IQ-TREE {version}"})


def run_mrbayes(
    alignment: Alignment,
    posterior: Posterior,
    *,
    runs: int,
    generations: int | None,
    asdsf: float | None,
    seed: int,
    seconds: float | None,
    parts: ProgramParts | None = None,
) -> ProgramRun:
    """A short run of MrBayes on a posterior, its first quarter cut.

    parts: in place of the posterior's model, those of the alignment with models of their own. It ends after
    `generations`, or when its own ASDSF of the runs is at most `asdsf`, or after `seconds`; in that case the trees are used
    that it has written until then. Raises ProgramError if it is not installed, or fails.
    """
    program = find_program(MRBAYES_NAMES)
    if program is None:
        raise ProgramError(
            "MrBayes is not installed: there is no mb on PATH; install it, or take the trees from mcmc"
        )
    if seconds is None and generations is None and asdsf is None:
        raise ProgramError("nothing would end the run of MrBayes; give seconds or generations")
    model = None if parts is None else mrbayes_model_lines(parts)
    with _folder(alignment if parts is None else part_after_part(alignment, parts)) as folder:
        script = _mrbayes_script(posterior, runs, generations, asdsf, seed, model)
        (folder / "run.nex").write_text(script, encoding="ascii")
        finished = _run([program, "run.nex"], folder, seconds, stop_quietly=True)
        files = sorted(folder.glob("out*.t"))
        for file in files:
            _drop_last_line(file)
        sample = _read(files, alignment, ["MrBayes"], burn_in=0.25)
        facts = _mrbayes_facts(folder)
    facts |= {"program": Path(program).name, "version": _mrbayes_version(program), "finished": finished}
    return ProgramRun(sample, facts)


def _mrbayes_script(
    posterior: Posterior,
    runs: int,
    generations: int | None,
    asdsf: float | None,
    seed: int,
    model: tuple[str, ...] | None = None,
) -> str:
    known = posterior.topology_prior
    commands = "\n".join((*(model or posterior.model.mrbayes), *known.mrbayes(_safe_names(known.n_taxa))))
    stop = (
        f"stoprule=yes stopval={asdsf}"
        if asdsf is not None and generations is None and runs > 1
        else "stoprule=no"
    )
    return f"""#NEXUS
begin mrbayes;
set autoclose=yes nowarn=yes seed={seed % (2**31 - 1) + 1} swapseed={seed % (2**31 - 1) + 1};
execute alignment.nex;
{commands}
prset brlenspr={posterior.branch_prior.mrbayes};
mcmcp nruns={runs} nchains=4 ngen={generations or _MRBAYES_FOREVER};
mcmcp samplefreq=100 printfreq=1000 diagnfreq=5000;
mcmcp relburnin=yes burninfrac=0.25 checkpoint=no filename=out {stop};
mcmc;
quit;
end;
"""


def _mrbayes_facts(folder: Path) -> dict[str, Any]:
    """Generations and ASDSF of the last line of MrBayes's own diagnostics, where it has got that far."""
    facts: dict[str, Any] = {}
    for file in folder.glob("out*.mcmc"):
        rows = [row.split("\t") for row in file.read_text().splitlines() if row and not row.startswith("[")]
        if len(rows) > 1:
            facts["generations"] = int(rows[-1][0])
            with suppress(ValueError, IndexError):
                facts["asdsf"] = float(rows[-1][rows[0].index("AvgStdDev(s)")])
    return facts


class _folder:
    """A temporary folder with the alignment as NEXUS and, if that can hold it, FASTA: its excluded sites left out, its taxa
    called t0, t1 ..."""

    def __init__(self, alignment: Alignment) -> None:
        self._alignment = replace(alignment.of_included(), taxa=_safe_names(len(alignment.taxa)))
        self._held = tempfile.TemporaryDirectory(prefix="vbpi-mix-", ignore_cleanup_errors=True)

    def __enter__(self) -> Path:
        folder = Path(self._held.name)
        if len(self._alignment.alphabets) == 1:
            write_fasta(self._alignment, folder / "alignment.fasta")
        write_nexus(self._alignment, folder / "alignment.nex")
        return folder

    def __exit__(self, *error: object) -> None:
        self._held.cleanup()


def _safe_names(n_taxa: int) -> tuple[str, ...]:
    return tuple(f"t{k}" for k in range(n_taxa))


def _run(
    command: list[str],
    folder: Path,
    seconds: float | None,
    name: str | None = None,
    stop_quietly: bool = False,
) -> bool:
    """Run a program in the folder; True if it ended by itself.

    Raises ProgramError, with the program's own last lines, if it fails, or takes longer than `seconds` and
    not `stop_quietly`. It and all that it started are stopped if this is interrupted.
    """
    name = name or Path(command[0]).name
    log = folder / "screen.log"
    with log.open("wb") as screen:
        try:
            process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=screen, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise ProgramError(
                f"{name} cannot be started ({error.strerror}); check its installation"
            ) from None
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            if stop_quietly:
                return False
            raise ProgramError(
                f"{name} was stopped after {seconds:g} s without having finished; allow more seconds, "
                f"or take the trees from mcmc. Its last lines: {_last_lines(log)}"
            ) from None
        finally:
            _stop(process)
    if status != 0:
        raise ProgramError(f"{name} failed (status {status}). Its last lines: {_last_lines(log)}")
    return True


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_lines(log: Path) -> str:
    """The lines in which a program says what went wrong, or else its last ones, in one line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    lines = [line for line in lines if re.search(r"\w", line)]
    wrong = [line for line in lines if re.match(r"\w*error\b", line, re.IGNORECASE) or "ERROR:" in line]
    return " | ".join((wrong or lines)[-_SHOWN_LINES:])[-_SHOWN_LETTERS:] or "(it wrote none)"


def _read(
    files: Sequence[Path], alignment: Alignment, command: list[str], burn_in: float = 0.0
) -> TreeSample:
    """Read trees on safe names; ProgramError if there is none."""
    name = Path(command[0]).name
    log = files[0].parent / "screen.log" if files else None
    try:
        if not files:
            raise ProgramError("it wrote no tree file")
        sample = read_tree_sample(files, _safe_names(len(alignment.taxa)), burn_in=burn_in)
    except VbpiMixError as error:
        text = re.sub(r"\S*[/\\](?=out)", "", str(error))
        last = f". Its last lines: {_last_lines(log)}" if log is not None and log.exists() else ""
        raise ProgramError(f"{name} gave no usable trees: {text}{last}") from None
    return replace(sample, taxa=alignment.taxa, sources=tuple(f"{name}: {file.name}" for file in files))


def _drop_last_line(file: Path) -> None:
    """Cut what follows the last whole tree, which a program that was stopped may have left half written."""
    data = file.read_bytes()
    end = data.rfind(b";\n")
    file.write_bytes(data[: end + 2] if end >= 0 else data)


def _iqtree_version(program: str) -> str:
    found = re.search(r"version\s+(\S+)", _output([program, "--version"]))
    return f"IQ-TREE {found.group(1)}" if found else "unknown"


def _mrbayes_version(program: str) -> str:
    found = re.search(r"(?:MrBayes\s+v?|Version:\s*)(\d\S*)", _output([program, "-v"]))
    return f"MrBayes {found.group(1)}" if found else "unknown"


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=20, stdin=subprocess.DEVNULL, check=False, text=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return done.stdout + done.stderr
