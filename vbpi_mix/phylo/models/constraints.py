"""Groups of taxa that trees must have, as users write them: what is known of the topology.

A constraint is a group `(A,B,C)`, which may hold others, or `A,B,C`; or MrBayes's `constraint NAME = A B C`, where a taxon
may also be its number and `3-6` a range of them; or a file with one of these on each line, or with such commands of MrBayes
in it. A topology to be fixed is a tree in Newick or in a file; where it has polytomies, what it resolves is kept. Trees are
unrooted: a group and all the others is one and the same constraint.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vbpi_mix.errors import ConfigError
from vbpi_mix.files import read_text
from vbpi_mix.phylo.models.topology_prior import TopologyPrior
from vbpi_mix.phylo.trees.files import read_tree_texts
from vbpi_mix.phylo.trees.newick import composed, unquote, without_comments
from vbpi_mix.phylo.trees.nexus import whole_number

_FORMS = "give (A,B,C) or A,B,C, a file with one such group a line, or 'constraint NAME = A B C'"
_COMMENT = r"\[[^\]]*(?:\]|$)"
_WORD = r"'(?:[^']|'')*'|\"[^\"]*\""
_TOKENS = re.compile(rf"\s*({_WORD}|[(),;]|[^(),;'\"]+)")
_MRBAYES = re.compile(r"constraint\s+([^\s=]+)\s*([^\s=]*)\s*=\s*(.*?)\s*;?\s*$", re.IGNORECASE | re.DOTALL)
_SHOWN_LETTERS = 60


@dataclass(frozen=True)
class _Group:
    """Taxa by their numbers, and what the group is called in messages."""

    members: frozenset[int]
    name: str


def parse_constraints(texts: Sequence[str], taxa: Sequence[str], fixed: str | None = None) -> TopologyPrior:
    """The prior that constraints leave. taxa: n names, in the order of the alignment; fixed: a tree, or a file with one.

    Raises ConfigError, in one line, for a text that cannot be read, a taxon that is not in the alignment, a group of fewer
    than 2 or more than n-2 taxa, and two groups that no tree has both.

    >>> parse_constraints(["(b,c)", "(a,b,c)"], ["a", "b", "c", "d", "e", "f"]).count
    3
    """
    reader = _Reader(tuple(taxa))
    groups = [group for text in texts for group in reader.constraints(text)]
    if fixed is not None:
        groups += reader.tree(fixed)
    _check_conflicts(groups, len(taxa))
    return TopologyPrior.of(len(taxa), [group.members for group in groups])


def split_constraints(text: str) -> list[str]:
    """Several constraints in one text, with semicolons between them.

    >>> split_constraints("(a,b);constraint x = c d;")
    ['(a,b)', 'constraint x = c d']
    """
    parts = re.findall(rf"(?:{_WORD}|[^;])+", text)
    return [part.strip() for part in parts if part.strip()]


def _check_conflicts(groups: Sequence[_Group], n_taxa: int) -> None:
    """ConfigError for the first two groups that no tree has both: all four of their intersections hold taxa."""
    everything = frozenset(range(n_taxa))
    for k, one in enumerate(groups):
        for other in groups[:k]:
            a, b = one.members, other.members
            if a & b and a - b and b - a and everything - a - b:
                raise ConfigError(f"constraints {other.name} and {one.name} contradict each other: no tree has both groups")


class _Reader:
    """Reads groups of the taxa of an alignment."""

    def __init__(self, taxa: tuple[str, ...]) -> None:
        self.taxa = taxa
        self._number = {name: k for k, name in reversed(list(enumerate(taxa)))}
        # Files are read with letters composed; options and names in memory need not be.
        self._number = {composed(name): k for name, k in self._number.items()} | self._number
        self._spaced = {name.replace("_", " "): k for name, k in self._number.items()}

    def constraints(self, text: str) -> Iterator[_Group]:
        """The groups of one option's text."""
        for statement in _statements(text):
            found = _MRBAYES.match(statement.strip())
            if found:
                yield self._checked(self._of_mrbayes(found[1], found[2], found[3], _shown(statement)))
            elif "(" in statement:
                groups = self._nested(statement, {}, "constraint")
                # Around a whole tree there is no group.
                whole = len(groups) > 1 and len(groups[-1]) == len(self.taxa)
                for members in groups[:-1] if whole else groups:
                    yield self._checked(_Group(members, _shown(statement)))
            elif "," in statement:
                members = self._nested(f"({statement})", {}, "constraint")[-1]
                yield self._checked(_Group(members, _shown(statement)))
            else:
                raise ConfigError(f"constraint {_shown(statement)} cannot be read: {_FORMS}")

    def tree(self, text: str) -> list[_Group]:
        """The splits of a tree to be fixed: a Newick text or a file."""
        tokens: dict[str, str] = {}
        tree, shown = text, "the topology to fix"
        if "(" not in text or _is_file(text):
            trees, tokens = read_tree_texts(text)
            if len(trees) != 1:
                raise ConfigError(f"{text}: it holds {len(trees)} trees; a topology to fix is one")
            tree, shown = trees[0], text
        groups = self._nested(without_comments(tree), tokens, shown)
        absent = [name for k, name in enumerate(self.taxa) if k not in groups[-1]]
        if absent:
            raise ConfigError(f"{shown}: taxon {absent[0]!r} is not in the tree, which must have all of the alignment's")
        return [_Group(members, shown) for members in groups[:-1] if 2 <= len(members) <= len(self.taxa) - 2]

    def _checked(self, group: _Group) -> _Group:
        size, n_taxa = len(group.members), len(self.taxa)
        if not 2 <= size <= n_taxa - 2:
            raise ConfigError(
                f"constraint {group.name} has {size} of {n_taxa} taxa: a group that says something of an unrooted tree has "
                f"2 to {n_taxa - 2}"
            )
        return group

    def _of_mrbayes(self, name: str, kind: str, members: str, shown: str) -> _Group:
        if kind.lower() in ("partial", "negative"):
            raise ConfigError(f"constraint {name}: a {kind.lower()} constraint is not known here, only that of a whole group")
        numbers: set[int] = set()
        for word in re.findall(rf"{_WORD}|[^\s,]+", members):
            first, _, last = word.partition("-")
            if word not in self._number and first.isdecimal() and (last.isdecimal() or last in ("", ".")):
                end = first if not last and "-" not in word else str(len(self.taxa)) if last == "." else last
                if not 1 <= whole_number(first) <= whole_number(end or "0") <= len(self.taxa):
                    raise ConfigError(f"constraint {name}: {word} is not among the {len(self.taxa)} taxa")
                numbers.update(range(int(first) - 1, int(end)))
            else:
                numbers.add(self._taxon(word, {}, f"constraint {name}"))
        return _Group(frozenset(numbers), shown if len(shown) <= _SHOWN_LETTERS else name)

    def _nested(self, text: str, tokens: dict[str, str], where: str) -> list[frozenset[int]]:
        """The taxa inside every pair of parentheses, inner ones first, the outermost last."""
        wrong = ConfigError(f"{where} {_shown(text)} cannot be read: {_FORMS}" if where == "constraint" else
                            f"{where}: its parentheses are not those of one tree")  # fmt: skip
        open_groups: list[list[int]] = []
        done: list[frozenset[int]] = []
        after_group = over = False
        for token in _TOKENS.findall(text):
            if over:
                # What follows the last parenthesis is a label or a length, if anything.
                if token in ("(", ")", ","):
                    raise wrong
            elif token == "(":
                open_groups.append([])
            elif token == ")":
                if not open_groups:
                    raise wrong
                members = open_groups.pop()
                done.append(frozenset(members))
                over = not open_groups
                if open_groups:
                    open_groups[-1] += members
            elif token not in (",", ";") and not after_group and token.strip() and not token.startswith(":"):
                if not open_groups:
                    raise wrong
                open_groups[-1].append(self._taxon(token, tokens, where))
            after_group = token == ")"
        if not over:
            raise wrong
        if len(members) != len(set(members)):
            twice = next(k for k in members if members.count(k) > 1)
            raise ConfigError(f"{where} {_shown(text)} names taxon {self.taxa[twice]!r} twice")
        return done

    def _taxon(self, label: str, tokens: dict[str, str], where: str) -> int:
        """The number of a taxon, of which `label` is the name, perhaps quoted, or with a branch length behind it."""
        label = label.strip()
        bare = unquote(label) if label[:1] in ("'", '"') else label.split(":")[0].strip()
        name = composed(tokens.get(label, tokens.get(bare, bare)))
        number = self._number.get(name, self._spaced.get(name.replace("_", " ")))
        if number is None:
            near = difflib.get_close_matches(name, self.taxa, n=1, cutoff=0.4)
            hint = f"; the nearest is {near[0]!r}" if near else ""
            raise ConfigError(f"{where}: taxon {name!r} is not in the alignment{hint}")
        return number


def _statements(text: str) -> list[str]:
    """What one option holds: itself, or what its file does, a group each."""
    if not _is_file(text):
        return [text]
    content = read_text(Path(text), "file of constraints", ConfigError)
    commands = []
    for command in re.sub(_COMMENT, "", content).split(";")[:-1]:
        found = re.search(r"\bconstraint\s", command, re.IGNORECASE)
        if found and "=" in command[found.end() :]:
            commands.append(f"{command[found.start() :]};")
    lines = commands or [line for line in content.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise ConfigError(f"{text}: the file holds no constraint; {_FORMS}")
    return lines


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def _shown(text: str) -> str:
    """A text in messages, on one line and not too long."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_LETTERS else f"{line[:_SHOWN_LETTERS]}..."
