"""Readers of text tried with files that are led by which of their branches they reach (atheris, that is libFuzzer).

    pip install atheris
    python tests/coverage_fuzz.py trees --minutes 10 --corpus folder

A reader reads a file or refuses it in one short line, within five seconds and a gigabyte; anything else ends the run with a
status that is not 0, and the file that did it is kept as FOLDER/crash-... What a folder holds is where the next run begins.
Kernels run as plain Python.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "phylo")]
# Kernels as plain Python: their branches count too, and an index out of bounds is an exception.
os.environ["NUMBA_DISABLE_JIT"] = "1"
with atheris.instrument_imports(include=["vbpi_mix"]):
    from damage import check_message
    from test_damaged_data import TABLE, TRACE, asked, read_asked
    from test_damaged_files import ALIGNMENT, READERS, SEEDS, TAXA

    from vbpi_mix.cells.cortex import read_cortex
    from vbpi_mix.errors import VbpiMixError
    from vbpi_mix.phylo.data.alignment import read_alignment
    from vbpi_mix.phylo.data.alphabets import DNA, PROTEIN, standard
    from vbpi_mix.phylo.models.strings import parse_model
    from vbpi_mix.training.trace import TraceWriter

BASE_MB, MOST_MB = 700, 1_000


def _model(path: Path) -> None:
    for alphabet in (DNA, PROTEIN, standard("01")):
        with suppress(VbpiMixError):
            parse_model(path.read_text(encoding="latin-1"), alphabet)


MODELS = ["GTR{1,2,3,4,5,6}+F{0.1,0.2,0.3,0.4}+I{0.1}+G4{0.5}", "HKY{3}+FO+R4", "LG+F+G", "MK+ASC", "012345+F"]
# Reader: how to read a file, files that are right, words of the format.
FORMATS = {
    **{name: (READERS[name], SEEDS[name]) for name in READERS},
    "cortex": (read_cortex, [TABLE]),
    "trace": (lambda path: TraceWriter(path, keep_until=1), [TRACE]),
    "asked": (read_asked, [asked()]),
    "model": (_model, MODELS),
}
# One after the other, with blanks between.
WORDS = r"""
ACGT { } ( ) [ ] ' " , : ; = - . \ #NEXUS begin end; endblock; data; characters; taxa; trees; sets; assumptions; matrix
dimensions ntax= nchar= format datatype= dna protein standard mixed( interleave missing=? gap=- matchchar=. symbols= equate=
translate tree utree [&R] [&U] [&W charset charpartition exset eliminate delete taxset constraint partial DNA, AA, BIN, MULTI
GTR JC HKY +G4 +I +R +ASC +F 1e-9 1e999 nan inf -1 0 999999999999999 taxlabels charlabels statelabels options title link
"""


def main() -> None:
    """One reader, until its minutes are over or something is found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reader", choices=FORMATS)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--corpus", type=Path, required=True, help="a folder of files to begin with; it grows")
    given = parser.parse_args()
    read, seeds = FORMATS[given.reader]
    given.corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (given.corpus / f"seed-{number}").write_text(seed, encoding="utf-8")
    (given.corpus.parent / f"{given.reader}.words").write_text(
        "".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"\n' for word in WORDS.split())
    )
    folder = Path(tempfile.mkdtemp())
    (folder / "x.fasta").write_text("".join(f">{name}\nACGTAC\n" for name in TAXA))
    ALIGNMENT.append(read_alignment(folder / "x.fasta"))

    def attempt(data: bytes) -> None:
        (folder / "x").write_bytes(data)
        try:
            read(folder / "x")
        except VbpiMixError as error:
            (given.corpus.parent / f"{given.reader}.last").write_bytes(data)
            check_message(error)

    options = [
        f"-max_total_time={round(60 * given.minutes)}", "-timeout=5", f"-rss_limit_mb={BASE_MB + MOST_MB}", "-max_len=2000",
        f"-dict={given.corpus.parent / (given.reader + '.words')}", f"-artifact_prefix={given.corpus}/", "-print_final_stats=1",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(given.corpus)], attempt)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
