"""NEXUS as programs and people write it: what is read, and where a message says that a fault is."""

import gzip

import numpy as np
import pytest

from vbpi_mix.errors import AlignmentError
from vbpi_mix.phylo.data.alignment import read_alignment
from vbpi_mix.phylo.data.partitions import read_partitions
from vbpi_mix.phylo.models.constraints import parse_constraints
from vbpi_mix.phylo.report.rooting import Rooting
from vbpi_mix.phylo.trees.sample import read_tree_sample

HEAD = "#NEXUS\n[a\ncomment]\nbegin data;\ndimensions ntax=4 nchar=4;\nformat datatype=dna;\nmatrix\n"
ROWS = "a-1 ACGT\nb ACGA\nit's ACG-\nd ?CGT\n"
TAXA = ("a-1", "b", "it's", "d")
STATES = [[1, 2, 4, 8], [1, 2, 4, 1], [1, 2, 4, 15], [15, 2, 4, 8]]
WHOLE = f"{HEAD}{ROWS};\nend;\n"


@pytest.fixture
def read(tmp_path):
    def read_text(text):
        path = tmp_path / "x.nex"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_alignment(path)

    return read_text


@pytest.mark.parametrize(
    "text",
    [
        WHOLE,
        WHOLE.removesuffix("end;\n"),
        HEAD.replace("matrix\n", "matrix ") + ROWS + ";end;",
        WHOLE.replace("begin data;", "begin data;\ntitle 'a; b';\nlink taxa = x;\nblockid 1234;"),
        WHOLE.replace("begin data;", "begin mesquite;\nversion 2;\nmatrix nothing; x 'y;z' [;];\nend;\nbegin data;"),
        WHOLE + "begin trees;\ntree x = [&R] ((a-1[&rate={1,2}]:1,b:1)[&p=0.5]:1,(it's:1,d:1):1);\nend;\n",
        WHOLE.replace("begin data;", "begin trees;\ntree x = ((a-1,b),('it''s',d));\nend;\nbegin data;"),
        WHOLE.replace("a-1 ", "'a-1' ").replace("it's", "'it''s'"),
        WHOLE.replace("matrix\n", "charstatelabels 1 x, 2 y;\noptions a=b;\nmatrix\n[1234]\n"),
        WHOLE.replace("ACGA", "AC[G]GA").replace("b AC", "b [\n]AC"),
        "#nexus BEGIN TAXA; DIMENSIONS NTAX=4; TAXLABELS a-1 b it's d; END;"
        + WHOLE[len("#NEXUS") :].replace("data", "characters").replace("ntax=4 ", "").replace("typecharacters", "type"),
    ],
    ids=["plain", "no end", "matrix line", "title", "mesquite", "trees behind", "trees before", "quoted", "labels", "comments",
         "taxa"],
)  # fmt: skip
def test_what_does_not_matter_is_passed_over(read, text):
    if "characters" in text:
        text = text.replace("format characterstype", "format datatype")
    alignment = read(text)
    assert alignment.taxa == TAXA
    assert alignment.states.tolist() == STATES


def test_uncertain_states_are_sets(read):
    states = read(HEAD + "a {AG}CG(CT)\nb A C{A C G T}T\nc (A,G)CGT\nd ACGT\n;end;").states.tolist()
    assert states == [[5, 2, 4, 10], [1, 2, 15, 8], [5, 2, 4, 8], [1, 2, 4, 8]]


def test_excluded_sites_are_those_of_every_way_to_say_it(read):
    for text in ("begin assumptions; exset * x = 2-3; end;", "begin paup; exclude 2 3; end;", "begin mrbayes; exclude 2-3; end;"):
        assert read(WHOLE + text).excluded.tolist() == [1, 2]


def test_sets_may_be_vectors_of_0_and_1(read):
    text = (
        "begin sets; charset first (vector) = 1000; charset Rest (characters=x VECTOR) = 01 11; taxset t (vector) = 10000; end;"
        "begin assumptions; exset * x (vector) = 0110; end;"
    )
    five = WHOLE.replace("ntax=4", "ntax=5").replace("matrix\n", "matrix\nz AAAA\n")
    alignment = read(five + text + "begin paup; delete t; end;")
    assert alignment.excluded.tolist() == [1, 2]
    assert {name: sites.tolist() for name, sites in alignment.charsets.items()} == {"first": [0], "Rest": [1, 2, 3]}
    assert alignment.deleted == ("z",)
    assert alignment.taxa == TAXA
    assert read(WHOLE + "begin assumptions; exset * x (standard) = 3; end;").excluded.tolist() == [2]
    for vector, length in (("01100", 5), ("0120", 4), ("0110 1", 5)):
        with pytest.raises(AlignmentError, match=f"exset 'x': a vector is a 0 or 1 .* 4 sites, .* of length {length}$"):
            read(WHOLE + f"begin assumptions; exset * x (vector) = {vector}; end;")


SIX = (
    "#NEXUS\nbegin data;\ndimensions ntax=6 nchar=10;\nformat datatype=dna;\nmatrix\n"
    "A ACGTACGTAC\nB ACGTACGTAC\nC ACGAACGTAC\nD ACGAACGTTC\nE ACGAACCTTC\nF ACGAACGTTG\n;\nend;\n"
)


# As MrBayes 3.2.7 shows of this block by charstat and taxastat.
@pytest.mark.parametrize(
    "text",
    [
        "begin mrbayes; charse first = 1-4; taxs two = A F; exclud first; i 2; de E; delet two; rest F; end;",
        "begin MrBayes; charset first = 1-4; exc first; inclu 2; del E A F; resto 6; charst; taxas; s; end;",
        "begin paup; charse first = 1-4; taxse two = A F; EXCLU first; inc 2; del E; dele two; undel F; end;",
        "begin paup; exs * x = 1 3 4; de all; delet E A; end;",
    ],
)
def test_commands_may_be_abbreviated_where_one_alone_is_meant(read, text):
    alignment = read(SIX + text)
    assert alignment.excluded.tolist() == [0, 2, 3]
    assert alignment.deleted == ("A", "E")
    assert alignment.taxa == ("B", "C", "D", "F")


def test_what_abbreviates_several_commands_or_stands_elsewhere_is_none(read):
    for text in ("begin mrbayes; ex 1-3; d E; e 1; end;", "begin sets; charse x = 1-4; end;", "begin notes; exclud 1; end;"):
        alignment = read(SIX + text)
        assert (alignment.excluded.tolist(), alignment.deleted, dict(alignment.charsets)) == ([], (), {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD + ROWS + "end;\n", ", line 7: the matrix has no ';' at its end; add it"),
        (WHOLE.replace("b ACGA", "b ACG"), ", line 9: taxon 'b' has 3 characters, not the 4"),
        (WHOLE.replace("b ACGA", "[x\ny]\nb ACGT[z]A"), ", line 11: taxon 'b' has 5 characters"),
        (WHOLE.replace("it's ACG-", "it's ACG"), ", line 10: taxon \"it's\" has 3 characters"),
        (WHOLE + WHOLE[6:], "2 matrices, on lines 7 and 20; leave one"),
        (HEAD.replace("dna", "dna interleave").replace("nchar=4", "nchar=8") + ROWS + ROWS.replace("?CGT", "?CG") + ";end;",
         ", line 11: taxon 'd' has 7 characters in all"),
        (WHOLE.replace("ntax=4", "ntax=5"), ", line 7: 4 taxa in the matrix where NTAX says 5"),
        (WHOLE.replace("ACGA", "ACGJ"), "taxon 'b', site 4: character 'J' is not a nucleotide"),
        (WHOLE.replace("[a\n", "[a\n[b\n"), "the comment that line 2 opens is not closed"),
        ("\n \n" + WHOLE.replace("b ACGA", "b ACG"), ", line 11: taxon 'b' has 3 characters"),
        (HEAD + ROWS, "ends within the command 'matrix' of its DATA block"),
    ],
)  # fmt: skip
def test_a_message_names_the_line_and_the_cause(read, text, expected):
    with pytest.raises(AlignmentError) as caught:
        read(text)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_every_reader_takes_every_encoding_and_line_end(tmp_path, encoding, line_end):
    def write(name, text, pack=False):
        data = text.replace("\n", line_end).encode(encoding)
        (tmp_path / name).write_bytes(gzip.compress(data) if pack else data)
        return tmp_path / name

    taxa = ("bär", "b", "c", "d")
    rows = [f"{name} ACGT\n" for name in taxa]
    for pack in (False, True):
        fasta = "".join(f">{row}".replace(" ", "\n") for row in rows)
        for text in (HEAD + "".join(rows) + ";end;", "4 4\n" + "".join(rows), fasta):
            alignment = read_alignment(write("x", text, pack))
            assert alignment.taxa == taxa
            assert alignment.states.tolist() == [[1, 2, 4, 8]] * 4
    assert read_tree_sample([write("x.nwk", "((bär,b),\n(c,d));\n")], taxa).weights.tolist() == [1]
    parts = read_partitions(write("parts", "DNA, bär = 1-2\nDNA, rest = 3-4\n"), alignment)
    assert [part.name for part in parts] == ["bär", "rest"]
    prior = parse_constraints([str(write("groups", "(bär,b)\n"))], taxa)
    assert np.array_equal(prior.splits, (frozenset({2, 3}),))


def test_accents_composed_or_not_are_one_name(tmp_path):
    """As macOS and others write them."""
    apart, composed = "ba\u0308r", "b\u00e4r"
    rows = "".join(f"{name} ACGT\n" for name in (apart, "b", "c", "d"))
    tree = tmp_path / "x.nwk"
    for encoding in ("utf-8", "utf-16"):
        (tmp_path / "x.nex").write_bytes((HEAD + rows + ";end; begin paup; exclude 1; end;").encode(encoding))
        alignment = read_alignment(tmp_path / "x.nex")
        assert alignment.taxa == (composed, "b", "c", "d")
        for name in (apart, composed):
            tree.write_text(f"(({name},c),(b,d));\n")
            for taxa in (alignment.taxa, (apart, "b", "c", "d")):
                assert np.array_equal(read_tree_sample([tree], taxa).children, [[[1, 3], [4, 2]]])
                assert parse_constraints([f"({name},b)"], taxa).splits == (frozenset({2, 3}),)
            assert Rooting.of(name, False, alignment.taxa) == Rooting((composed,))
    (tmp_path / "x.fasta").write_text(f">{apart}\nA\n>{composed}\nA\n>c\nA\n>d\nA\n")
    with pytest.raises(AlignmentError, match="appears twice"):
        read_alignment(tmp_path / "x.fasta")


def test_utf16_cut_in_a_character_is_refused(read):
    with pytest.raises(AlignmentError, match="begins as UTF-16, and is none; save it as UTF-8"):
        read(WHOLE.encode("utf-16")[:-1])
