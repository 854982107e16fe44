"""The commands of a NEXUS file: comments dropped, split at semicolons outside quotes, each with its block.

Maddison, Swofford and Maddison (1997). What a block means is for others: `nexus_matrix` reads the data, `site_sets` what
names sites. Blocks and commands that nobody asks for are passed over. In the blocks of MrBayes and PAUP a command may be
abbreviated, as these programs take it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vbpi_mix.errors import AlignmentError
from vbpi_mix.phylo.trees.newick import unquote

# A quote opens a word where a word begins; within a word it is an apostrophe. Neither kind runs over a line's end.
_MARKS = re.compile(r"(?<![^\s,=:;({\[])(?:'(?:[^'\n]|'')*'|\"[^\"\n]*\")|[\[;]")
_BRACKETS = re.compile(r"[\[\]]")
_WORD = re.compile(r"'(?:[^'\n]|'')*'|\"[^\"\n]*\"|[^\s=]+")
# Commands that are not read here count, too: they say which abbreviations are of one command alone.
_COMMANDS_OF = {
    "mrbayes": """
        about acknowledgments begin calibrate charset charstat citations compareref comparetree constraint ctype databreaks delete
        dimensions disclaimer end endblock exclude execute format help include link log lset manual matrix mcmc mcmcp outgroup
        pairs partition plot propset prset quit report restore set showbeagle showmatrix showmcmctrees showmodel showmoves
        showparams showusertrees speciespartition ss ssp startvals sump sumss sumt taxastat taxlabels taxset title translate tree
        unlink usertree version wtset""",
    "paup": """
        agree alltrees ancstates assume bandb bootstrap charpartition charset cleartrees condense constraints contree cstatus
        ctype default delete deroot describetrees dos dscores dset edit eliminate exclude execute export exset factory filter
        gammaplot generatetrees gettrees help hompart hsearch include ingroup jackknife lake leave loadconstr log lscores lset
        matrixrep mprsets nj outgroup pairdiff permute pscores pset quit randtrees reconstruct restore revfilter reweight
        roottrees saveassum savedist savetrees set showanc showmatrix showtrees sorttrees stardecomp taxpartition taxset treedist
        treeinfo treewts tstatus typeset undelete upgma usertype weights wts wtset""",
}  # fmt: skip


@dataclass(frozen=True)
class Command:
    """One command: its block and its first word, both in lower case, and what follows the word, without comments and `;`.

    An abbreviated word is written out. line: of the file, on which the command begins; source: the command as it stands there.
    """

    block: str
    word: str
    body: str
    line: int = 1
    source: str = ""

    def line_of(self, name: str) -> int:
        """The line of the file on which this command has a row of that name; its own line, if it has none."""
        word, rest = first_word(self.source)
        rows = (self.source[: len(self.source) - len(rest)] if word else "").count("\n")
        for number, line in enumerate(rest.split("\n")):
            if first_word(line)[0] == name:
                return self.line + rows + number
        return self.line


def is_nexus(text: str) -> bool:
    """Whether a text says that it is NEXUS."""
    return text.lstrip()[:6].upper() == "#NEXUS"


def read_commands(text: str, path: Path) -> list[Command]:
    """The commands of a NEXUS file, BEGIN and END left out.

    Raises AlignmentError if a comment is not closed, or if the file ends within a command.
    """
    commands = []
    block = ""
    start, line = text.index("#"), 1 + text.count("\n", 0, text.index("#"))
    *pieces, (last, _) = _split(text, start + len("#NEXUS"), path)
    for piece, stop in pieces:
        source, start_line = text[start:stop], line
        start, line = stop + 1, line + text.count("\n", start, stop + 1)
        words = piece.split(None, 1)
        if not words:
            continue
        word, body = words[0].lower(), (words[1] if len(words) > 1 else "")
        if word == "begin":
            block = " ".join(body.lower().split())
        elif word in ("end", "endblock"):
            block = ""
        elif block:
            first = len(source) - len(source.lstrip())
            first_line = start_line + source.count("\n", 0, first)
            commands.append(Command(block, _written_out(word, block), body, first_line, source[first:]))
    if block and last.strip():
        raise AlignmentError(
            f"{path}: the NEXUS file ends within the command {last.split()[0]!r} of its {block.upper()} block; "
            "a command ends with ';'"
        )
    return commands


def of_blocks(commands: Iterable[Command], *blocks: str) -> list[Command]:
    """The commands of the blocks with these names."""
    return [command for command in commands if command.block in blocks]


def first_word(text: str) -> tuple[str, str]:
    """The first word of a text, without its quotes, and the rest; an equals sign ends a word."""
    found = _WORD.match(text.lstrip())
    if found is None:
        return "", text
    return unquote(found.group()), text.lstrip()[found.end() :]


def _written_out(word: str, block: str) -> str:
    """The command of this block that the word abbreviates; the word itself, if that is none or more than one."""
    meant = re.findall(rf"\b{re.escape(word)}\w*", _COMMANDS_OF.get(block, ""))
    return meant[0] if len(meant) == 1 else word


def _split(text: str, start: int, path: Path) -> list[tuple[str, int]]:
    """The text from `start` on without comments, at its semicolons, each with its place; what follows the last comes last."""
    pieces, kept = [], []
    depth, here, opened = 0, start, 0
    # An apostrophe in a comment quotes nothing, so brackets alone count there.
    while mark := (_BRACKETS if depth else _MARKS).search(text, here):
        here = mark.end()
        if mark.group() == "[":
            if depth == 0:
                kept.append(text[start : mark.start()])
                opened = mark.start()
            depth += 1
        elif depth:
            depth -= 1
            start = here
        elif mark.group() == ";":
            pieces.append(("".join([*kept, text[start : mark.start()]]), mark.start()))
            kept, start = [], here
    if depth:
        line = 1 + text[:opened].count("\n")
        raise AlignmentError(
            f"{path}: the NEXUS file is malformed: the comment that line {line} opens is not closed by ']'"
        )
    return [*pieces, ("".join([*kept, text[start:]]), len(text))]
