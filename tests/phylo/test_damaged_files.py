"""Files of random bytes and damaged ones: every reader reads them or says in one short line why not, and nothing else happens.

`pytest -m slow tests/phylo/test_damaged_files.py` tries for FUZZ_MINUTES (10) with each reader.
"""

import pytest
from damage import check_message, damaged_texts, read_or_refuse, try_for_minutes, try_often

from vbpi_mix.errors import VbpiMixError
from vbpi_mix.phylo.data.alignment import read_alignment
from vbpi_mix.phylo.data.partitions import read_partitions
from vbpi_mix.phylo.models.constraints import parse_constraints
from vbpi_mix.phylo.trees.files import read_tree_file, read_tree_taxa
from vbpi_mix.phylo.trees.sample import read_tree_sample

TAXA = ("a", "b_c", "d", "e")

NEXUS = (
    "#NEXUS\nbegin taxa; taxlabels a b_c d e; end;\nbegin data;\ndimensions ntax=4 nchar=6;\n"
    "format datatype=mixed(dna:1-4,standard:5-6) interleave=no gap=- missing=? symbols=\"012\" equate=\"x=(01)\" matchchar=.;\n"
    "matrix\na AC{AG}T01\n'b_c' ACGT.x\nd ....0{01}\ne ??--10\n;\nend;\n"
    "begin sets; charset x = 1-3\\2 .; end; begin assumptions; exset * y = 2; end;\n"
)
TREES = (
    "#NEXUS\nbegin trees;\ntranslate 1 a, 2 'b_c', 3 d, 4 e;\ntree gen.1 = [&U] [&W 1/2] ((1:0.1,2:-1e-9)[&p=1]:1,3:2,4:3);\n"
    "utree * y = [&R] (1,2,3,4);\nend;\n"
)
TABLE = "Iteration\tPosterior\tpsi\n0\t-1\t((a[&i=1]:1,b_c:2):1,d:3,e:1);\n10\t-1\t(a:1,b_c:1,(d:1,e:1):1);\n"
SEEDS = {
    "alignment": [NEXUS, ">a x\nACGT\n>b_c\nAC-T\n>d\nACNT\n>e\nA{CG}GT\n",
                  "4 6\na ACG\nb_c ACG\nd AC-\ne ACG\n\nTAC\nTAA\nTAC\nTAC\n",
                  "4 4\na         ACGT\nb_c       ACGT\nd         ACGT\ne         AC\nGT\n"],
    "trees": [TREES, "((a:0.1,b_c:0.2)0.9:0.1,d:1e-3,'e':2);\n(a,b_c,d,e);\n", TABLE],
    "partitions": ["DNA, x = 1-3\\3, 5\nGTR+G{0.5}, y = 2 4 6\n",
                   NEXUS + "begin sets; charpartition p = GTR+G: x, JC: 2 4-6; end;"],
    "constraints": ["(a,b_c)\n", "constraint g = a 2;\nconstraint h partial = a : b;\n", "((a,b_c),d,e);"],
}  # fmt: skip


def read_alignment_of(path):
    read_alignment(path)


def _pruned(path):
    read_tree_sample([path], TAXA, prune=True)


def read_trees(path):
    for read, *others in ((_pruned,), (read_tree_file, TAXA), (read_tree_taxa,)):
        try:
            read(path, *others)
        except VbpiMixError as error:
            check_message(error)


def read_parts(path):
    read_partitions(path, ALIGNMENT[0])


def read_groups(path):
    for texts, fixed in (([str(path)], None), ([], str(path))):
        try:
            parse_constraints(texts, TAXA, fixed)
        except VbpiMixError as error:
            check_message(error)


READERS = {"alignment": read_alignment_of, "trees": read_trees, "partitions": read_parts, "constraints": read_groups}
ALIGNMENT = []


@pytest.fixture(scope="module", autouse=True)
def alignment_of_partitions(tmp_path_factory):
    path = tmp_path_factory.mktemp("alignment") / "x.fasta"
    path.write_text("".join(f">{name}\nACGTAC\n" for name in TAXA))
    ALIGNMENT.append(read_alignment(path))


def try_on(reader, data, path):
    path.write_bytes(data)
    read_or_refuse(READERS[reader], path)


def damaged(reader):
    marks = [b"end;", b"matrix", b"tree x = (", b"#NEXUS"]
    return damaged_texts(SEEDS[reader], marks, ["utf-8", "utf-8", "utf-16", "latin-1"])


@pytest.mark.parametrize("reader", list(READERS))
def test_damaged_files_are_read_or_refused_in_one_line(reader, tmp_path):
    try_often(damaged(reader), lambda data: try_on(reader, data, tmp_path / "x"))


@pytest.mark.slow
@pytest.mark.parametrize("reader", list(READERS))
def test_damaged_files_for_minutes(reader, tmp_path):
    try_for_minutes(damaged(reader), lambda data: try_on(reader, data, tmp_path / "x"))


# What such tries have found, and what is made to be slow.
MANY = b"9" * 5_000
FOUND = {
    "alignment": [
        b"4 " + MANY + b"\na AC\nb AC\nc AC\nd AC\n",
        b"4 999999999999999\na AC\nb AC\nc AC\nd AC\n",
        b"#NEXUS begin data; dimensions ntax=4 nchar=999999999999999; matrix a AC\nb AC\nc AC\nd AC\n; end;",
        b"#NEXUS begin data; dimensions nchar=999999999999999; matrix\n; end;",
        b"#NEXUS begin data; dimensions nchar=" + MANY + b"; format interleave; matrix\n; end;",
        b"#NEXUS begin data; dimensions nchar=2; format datatype=\"a\nb\"; matrix a AC\nb AC\nc AC\nd AC\n; end;",
        b"4 1\n" + b"".join(b"t%d {%s}\n" % (k, b"A" * k) for k in range(4)) + b"".join(b"{%x}" % k for k in range(70_000)),
    ],
    "trees": [b"(zz,b_c,(d," + b"[" * 300_000, b"(zz,b_c,(d,e)" + b"[x" * 300_000 + b"]" * 300_000 + b");"],
    "partitions": [
        b"DNA, x = 1-" + MANY,
        b"#NEXUS begin sets; charset s0 = 1; " + b"".join(b"charset s%d = s%d;" % (k, k - 1) for k in range(1, 2_000)) + b"end;",
        b"#NEXUS begin sets; charset s0 = 1-6; "
        + b"".join(b"charset s%d = s%d s%d;" % (k, k - 1, k - 1) for k in range(1, 45)) + b"end;",
    ],
    "constraints": [b"constraint x = 1-" + MANY + b";", "constraint x = ² 1;".encode(), b"(a,b_c)" + b"[" * 300_000,
                    b"constraint " * 100_000],
}  # fmt: skip


@pytest.mark.parametrize(("reader", "data"), [(reader, data) for reader, found in FOUND.items() for data in found])
def test_what_was_found(reader, data, tmp_path):
    try_on(reader, data, tmp_path / "x")


LONG = "x" * 1_000_000


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        ("alignment", f">{LONG}\nACGT\n>{LONG}\nACGT\n>b\nACGT\n>c\nACGT\n"),
        ("alignment", f">{LONG}\nACGT\n>b\nACG\n>c\nACGT\n>d\nACGT\n"),
        ("alignment", LONG * 10),
        ("alignment", f"4 4\n{LONG} ACG\nb ACGT\nc ACGT\nd ACGT\n"),
        ("alignment", f"#NEXUS begin data; dimensions nchar=4; matrix {LONG} ACG\n; end;"),
        ("alignment", f"#NEXUS begin {LONG}; {LONG} "),
        ("alignment", f"#NEXUS begin data; dimensions nchar=4; format datatype={LONG}; matrix a ACGT\n; end;"),
        ("trees", LONG * 10),
        ("trees", f"({LONG},b_c,(d,e));"),
        ("trees", f"(a:{LONG},b_c:1,(d:1,e:1):1);"),
        ("trees", f"#NEXUS begin trees; translate {LONG}; tree x = (1,2);"),
        ("trees", "(" * 1_000_000),
        ("trees", "[" * 1_000_000),
        ("trees", f"#NEXUS begin trees; tree {LONG} = {'[' * 1_000}"),
        ("partitions", f"DNA, {LONG} = 1-{LONG}\n"),
        ("partitions", f"{LONG} = 1-3\n"),
        ("partitions", "DNA, x = 1-" + "9" * 1_000_000),
        ("constraints", f"({LONG},b_c)"),
        ("constraints", f"constraint {LONG} = a {LONG};"),
        ("constraints", "(" * 1_000_000),
    ],
)
def test_long_lines_and_names_have_short_messages(reader, text, tmp_path):
    try_on(reader, text.encode(), tmp_path / "x")
