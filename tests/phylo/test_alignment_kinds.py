"""Proteins, discrete characters and mixed data, in every dialect; other readers and programs judge."""

import gzip
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from vbpi_mix.errors import AlignmentError, ConfigError
from vbpi_mix.phylo.data.alignment import Alignment, read_alignment, write_fasta, write_nexus
from vbpi_mix.phylo.data.alphabets import BINARY, DNA, PROTEIN, standard
from vbpi_mix.phylo.data.site_patterns import compress

MRBAYES_EXAMPLES = Path("/usr/share/doc/mrbayes/examples")
IQTREE_EXAMPLES = Path("/usr/share/doc/iqtree/examples")
AMINO = "ARNDCQEGHILKMFPSTWYV"


def nexus(matrix, form, n_sites, more="", n_taxa=4):
    return (
        f"#NEXUS\nbegin data;\ndimensions ntax={n_taxa} nchar={n_sites};\nformat {form};\nmatrix\n{matrix}\n;\nend;\n{more}"
    )


@pytest.fixture
def read(tmp_path):
    def read_text(text, kind=None):
        (tmp_path / "file").write_text(text, encoding="utf-8")
        return read_alignment(tmp_path / "file", kind)

    return read_text


def sets(alignment):
    """Every state as the string of its symbols; '?' where it is all of them."""
    shown = []
    for row in alignment.states:
        cells = []
        for state, which in zip(row.tolist(), alignment.alphabet_of, strict=True):
            alphabet = alignment.alphabets[which]
            members = "".join(symbol for k, symbol in enumerate(alphabet.symbols) if state >> k & 1)
            cells.append("?" if members == alphabet.symbols else members)
        shown.append(cells)
    return shown


FOUR_PROTEINS = "a ARNDC\nb EQGHI\nc LKMFP\nd STWYV"


@pytest.mark.parametrize(
    "text",
    [
        nexus(FOUR_PROTEINS, "datatype=protein", 5),
        nexus(FOUR_PROTEINS, "", 5),
        nexus("a AR\nb EQ\nc LK\nd ST\n\na NDC\nb GHI\nc MFP\nd WYV", "datatype=Protein interleave", 5),
        "4 5\n" + FOUR_PROTEINS,
        "".join(f">{row[0]}\n{row[2:].lower()}\n" for row in FOUR_PROTEINS.split("\n")),
    ],
    ids=["nexus", "nexus without a type", "interleaved", "phylip", "fasta"],
)
def test_proteins_are_read_from_every_format(read, text):
    alignment = read(text)
    assert alignment.alphabets == (PROTEIN,)
    assert alignment.states.dtype == np.uint64
    assert ["".join(row) for row in sets(alignment)] == [row[2:] for row in FOUR_PROTEINS.split("\n")]


def test_ambiguous_amino_acids_are_sets(read):
    alignment = read(nexus("a BZJX\nb UO*-\nc AC?L\nd {AR}(NDC)AA", "datatype=protein", 4))
    assert sets(alignment) == [["ND", "QE", "IL", "?"], ["?"] * 4, ["A", "C", "?", "L"], ["AR", "NDC", "A", "A"]]


@pytest.mark.parametrize(
    ("text", "symbols", "expected"),
    [
        (">a\n0011\n>b\n01?-\n>c\n1111\n>d\n0000\n", "01", ["0011", "01??", "1111", "0000"]),
        ("4 4\na 0021\nb 01?-\nc 1111\nd 0000\n", "012", ["0021", "01??", "1111", "0000"]),
        (nexus("a 0021\nb 01?-\nc 1111\nd 0000", 'datatype=standard symbols="0~4"', 4), "012", ["0021", "01??", "1111", "0000"]),
        (nexus("a 00A1\nb 01?-\nc 1111\nd 0000", "datatype=standard", 4), "0123456789A", ["00A1", "01??", "1111", "0000"]),
        (nexus("a yyx1\nb x1?-\nc 1111\nd yyyy", "datatype=standard symbols='1 X Y'", 4),
         "1XY", ["YYX1", "X1??", "1111", "YYYY"]),
        (nexus("a aaA1\nb A1?-\nc 1111\nd aaaa", 'datatype=standard respectcase symbols="1Aa"', 4),
         "1Aa", ["aaA1", "A1??", "1111", "aaaa"]),
        (nexus("a 0011\nb 01?-\nc 1111\nd 0000", "datatype=restriction", 4), "01", ["0011", "01??", "1111", "0000"]),
    ],
    ids=["fasta", "phylip", "range", "letters", "own symbols", "respectcase", "restriction"],
)  # fmt: skip
def test_discrete_characters_have_the_symbols_that_are_met(read, text, symbols, expected):
    alignment = read(text)
    assert alignment.alphabets == (standard(symbols),)
    assert ["".join(row) for row in sets(alignment)] == expected


def test_polymorphic_and_uncertain_states_are_sets(read):
    matrix = "a 0{01}(0 2)1\nb 0(0,1)01\nc 0000\nd {1~2}000"
    alignment = read(nexus(matrix, "datatype=standard", 4))
    assert sets(alignment)[0] == ["0", "01", "02", "1"]
    assert sets(alignment)[1][1] == "01"
    assert sets(alignment)[3][0] == "12"
    assert sets(read(">a\n0{01}1\n>b\n001\n>c\n(01)22\n>d\n000\n"))[0] == ["0", "01", "1"]


def test_equate_gap_missing_and_matchchar(read):
    form = 'datatype=standard gap=. missing=N matchchar=+ symbols="012" equate="x=(01) y=2"'
    assert sets(read(nexus("a 01xy\nb ++.n\nc 0000\nd +++2", form, 4))) == [
        ["0", "1", "01", "2"], ["0", "1", "?", "?"], ["0"] * 4, ["0", "1", "01", "2"],
    ]  # fmt: skip


MIXED = nexus(
    "a 01 2ACG\nb 00 0AC-\n\nc 1{01}1ANG\nd ??0ACG", "interleave=no datatype=mixed(Standard:1-3, DNA:4-6)", 6,
    more="begin mrbayes;\nexclude 2;\ncharset morph = 1-3;\ncharset genes = 4-.;\nend;\n",
)  # fmt: skip


def test_mixed_data_have_an_alphabet_for_each_site(read):
    alignment = read(MIXED)
    assert alignment.alphabets == (standard("012"), DNA)
    assert alignment.alphabet_of.tolist() == [0, 0, 0, 1, 1, 1]
    assert alignment.states.dtype == np.uint8
    assert sets(alignment)[2] == ["1", "01", "1", "A", "?", "G"]
    assert {name: sites.tolist() for name, sites in alignment.charsets.items()} == {"morph": [0, 1, 2], "genes": [3, 4, 5]}
    assert alignment.excluded.tolist() == [1]
    genes = compress(alignment, alignment.charsets["genes"])
    assert (genes.alphabet, genes.states.dtype, genes.weights.sum()) == (DNA, np.uint8, 3)
    morphology = compress(alignment, alignment.charsets["morph"])
    assert morphology.alphabet == standard("012")
    assert sorted(map(tuple, morphology.states.T.tolist())) == sorted([(1, 1, 2, 7), (4, 1, 2, 1)])
    with pytest.raises(AlignmentError, match="mixes standard and dna characters"):
        compress(alignment)
    with pytest.raises(AlignmentError, match="no site is left"):
        compress(alignment, np.array([1]))


def test_excluded_sites_are_kept_and_not_compressed(read):
    text = nexus("a ACGT\nb ACGA\nc ACGC\nd AAGT", "datatype=dna", 4)
    plain = read(text)
    assert plain.excluded.size == 0
    less = read(text + "begin assumptions; exset * out = 1 3; exset other = 4; end;\n")
    assert less.excluded.tolist() == [0, 2]
    assert np.array_equal(less.states, plain.states)
    patterns = compress(less)
    assert patterns.weights.sum() == 2
    assert sorted(map(tuple, patterns.states.T.tolist())) == sorted([(2, 2, 2, 1), (8, 1, 2, 8)])
    assert less.of_included().states.tolist() == plain.states[:, [1, 3]].tolist()
    assert read(text + "begin paup; exclude all; include 2-3; end;").excluded.tolist() == [0, 3]


SIX = nexus("a ACG\nB ACA\n'c x' ACC\nd AAG\n12 TTT\nf GGG", "datatype=dna", 3, n_taxa=6)


@pytest.mark.parametrize(
    ("commands", "left"),
    [
        ("delete b;", "a cx d 12 f"), ("delete 'c x' f;", "a B d 12"), ("delete 1 3;", "B d 12 f"), ("delete 5-.;", "a B cx d"),
        ("delete 12;", "a B cx d f"), ("taxset out = a 4; delete out;", "B cx 12 f"), ("delete all; restore 1-4;", "a B cx d"),
        ("taxset odd = 1-.\\2; taxset one = odd; delete one; restore 'c x';", "B cx d f"), ("taxset out = a 4;", "a B cx d 12 f"),
    ],
)  # fmt: skip
def test_deleted_taxa_are_dropped(read, commands, left):
    """Names whatever their case, numbers unless they are names, ranges, and sets of MrBayes and PAUP blocks."""
    whole = read(SIX)
    alignment = read(f"{SIX}begin mrbayes; {commands} end;")
    assert whole.deleted == ()
    names = tuple("c x" if name == "cx" else name for name in left.split())
    assert alignment.taxa == names
    assert alignment.deleted == tuple(name for name in whole.taxa if name not in names)
    assert np.array_equal(alignment.states, whole.states[[whole.taxa.index(name) for name in names]])


@pytest.mark.parametrize("alphabets", [(PROTEIN,),
(BINARY,),
(standard("0123456789A"),),
(standard("012"), DNA),
(DNA, PROTEIN)])
def test_what_is_written_reads_the_same(tmp_path, alphabets):
    rng = np.random.default_rng(5)
    of_site = np.sort(rng.integers(0, len(alphabets), 40)).astype(np.uint8)
    of_site[-3:] = 0  # an alphabet in two stretches
    dtype = np.result_type(*(alphabet.dtype for alphabet in alphabets))
    states = np.array([[rng.integers(1, alphabets[k].missing + 1) for k in of_site] for _ in range(5)]).astype(dtype)
    for k, alphabet in enumerate(alphabets):  # the last symbol is met, so that reading finds the alphabet
        states[0, np.flatnonzero(of_site == k)[0]] = 1 << (alphabet.n_states - 1)
    charsets = {"first half": np.arange(20), "thirds": np.arange(0, 40, 3)}
    alignment = Alignment(("a_b", "c d", "x-2", "e|f", "g"), states, alphabets, of_site, charsets, np.array([3, 4, 5, 9]))
    write_nexus(alignment, tmp_path / "out.nex")
    back = read_alignment(tmp_path / "out.nex")
    assert (back.taxa, back.alphabets) == (alignment.taxa, alphabets)
    assert np.array_equal(back.states, states)
    assert back.states.dtype == dtype
    assert np.array_equal(back.alphabet_of, of_site)
    assert {name: sites.tolist() for name, sites in back.charsets.items()} == {k: v.tolist() for k, v in charsets.items()}
    assert back.excluded.tolist() == [3, 4, 5, 9]
    plain = Alignment(tuple("abcde"), states, alphabets, of_site)
    if len(alphabets) > 1:
        with pytest.raises(AlignmentError, match="FASTA cannot say which sites are"):
            write_fasta(plain, tmp_path / "out.fasta")
    else:
        write_fasta(plain, tmp_path / "out.fasta")
        kind = alphabets[0].name
        assert np.array_equal(read_alignment(tmp_path / "out.fasta", kind).states, states)


def test_the_kind_given_is_the_kind_read(read):
    text = ">a\nACGT\n>b\nACGT\n>c\nANGT\n>d\nACGT\n"
    assert read(text).alphabets == (DNA,)
    assert sets(read(text, "protein"))[2] == ["A", "N", "G", "T"]
    binary = ">a\n01\n>b\n01\n>c\n00\n>d\n11\n"
    assert read(binary, "binary").alphabets == read(binary, "standard").alphabets == (BINARY,)
    assert read(MIXED, "mixed").alphabets == (standard("012"), DNA)


def complaint(read, text, kind=None):
    with pytest.raises(AlignmentError) as caught:
        read(text, kind)
    assert "\n" not in str(caught.value)
    return str(caught.value)


ROWS = "a 010\nb 010\nc 010\nd 010"
DNA_ROWS = "a ACG\nb ACG\nc ACG\nd ACG"


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        (
            nexus("a 012\nb 010\nc 010\nd 010", "datatype=restriction", 3), None,
            "taxon 'a', site 3: character '2' is not one of the states; the states are 01",
        ),
        (nexus("a 010\nb 0%0\nc 010\nd 010", "datatype=standard", 3), None, "taxon 'b', site 2: character '%'"),
        (
            nexus("a ARN\nb A1N\nc ARN\nd ARN", "datatype=protein", 3), None,
            "taxon 'b', site 2: character '1' is not an amino acid",
        ),
        (
            nexus("a A{A1}N\nb ARN\nc ARN\nd ARN", "datatype=dna", 3), None,
            "taxon 'a', site 2: character '{A1}' is not a nucleotide",
        ),
        (nexus(ROWS, "datatype=continuous", 3), None, "DATATYPE=CONTINUOUS is not read"),
        (nexus(ROWS, "datatype=mixed(standard:1-2,continuous:3)", 3), None, "DATATYPE=CONTINUOUS is not read"),
        (nexus(ROWS, "datatype=mixed(standard:1,dna:3)", 3), None, "gives site 2 no kind of data"),
        (nexus(ROWS, "datatype=mixed(standard:1-3,dna:3)", 3), None, "gives site 3 two kinds of data"),
        (nexus(ROWS, "datatype=mixed(standard:1-3,dna:4)", 3), None, "DATATYPE=MIXED, dna: site 4 is beyond the 3 sites"),
        (nexus(ROWS, "datatype=mixed", 3), None, "does not say which sites are what"),
        (nexus(ROWS, "datatype=standard transpose", 3), None, "FORMAT says TRANSPOSE, which is not read"),
        (nexus(ROWS, "datatype=standard", 3), "mixed", "its DATATYPE is STANDARD, and mixed was asked for"),
        (MIXED, "dna", "its DATATYPE is MIXED, and dna was asked for"),
        (">a\n01\n>b\n01\n>c\n00\n>d\n11\n", "mixed", "only NEXUS says which sites are what"),
        (">a\n02\n>b\n01\n>c\n00\n>d\n11\n", "binary", "taxon 'a', site 2: character '2'"),
        (
            nexus("a ACG\nb ACG\nc ACG\nd ACG\na ACG\nb ACG\nc ACG\nd ACG", "datatype=dna", 6), None,
            "FORMAT does not say INTERLEAVE",
        ),
        (
            nexus("a ACG\nb ACG\nc ACG\nd ACG\na ACG\nb ACG\nC ACG\nd ACG", "datatype=dna interleave", 6), None,
            "5 taxa in the interleaved matrix where NTAX says 4",
        ),
        (nexus("a ACG\nb ACG\nb ACG\nd ACG", "datatype=dna interleave", 3), None, "taxon 'b' appears twice in a block"),
        (
            nexus(DNA_ROWS, "datatype=dna", 3).replace(";\nend;", ""), None,
            "ends within the command 'matrix' of its DATA block",
        ),
        (nexus(DNA_ROWS, "datatype=dna", 3) + "begin characters; matrix a A; end;", None, "2 matrices, on lines 5 and 12;"),
        (nexus(DNA_ROWS, "datatype=dna", 3).replace("nchar=3", ""), None, "no DIMENSIONS with NCHAR"),
        (
            nexus(DNA_ROWS, "datatype=dna", 3, "begin sets; exset * x = 1-4; end;"), None,
            "exset 'x': site 4 is beyond the 3 sites",
        ),
        (
            nexus(DNA_ROWS, "datatype=dna", 3, "begin mrbayes; exclude gone; end;"), None,
            "EXCLUDE: 'gone' is neither a site nor a charset",
        ),
        (
            nexus(DNA_ROWS, "datatype=dna", 3, "begin paup; taxset x = a; delete gone; end;"), None,
            "DELETE: 'gone' is neither a taxon nor a taxset; there are x, a, b, c, d",
        ),
        (
            nexus(DNA_ROWS, "datatype=dna", 3, "begin mrbayes; delete 5; end;"), None,
            "DELETE: taxon 5 is beyond the 4 taxa",
        ),
        (
            nexus(DNA_ROWS, "datatype=dna", 3, "begin mrbayes; delete a; end;"), None,
            "DELETE leaves 3 of 4 taxa; at least 4 are needed",
        ),
        (
            "#nexus\nbegin sets; charset a = 1-3; end;", None,
            "no DATA or CHARACTERS block with a MATRIX; its blocks are: SETS",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_its_reason(read, text, kind, expected):
    assert expected in complaint(read, text, kind)


def test_an_unknown_kind_is_refused(read):
    with pytest.raises(ConfigError, match="'codon' is no kind of data; there are dna, protein, standard, binary, mixed"):
        read(">a\nA\n", "codon")


def test_a_charset_that_cannot_be_read_does_not_refuse_the_data(read):
    alignment = read(nexus(DNA_ROWS, "datatype=dna", 3, "begin sets; charset a = 1-9; charset b = 2-.; charset c = b c; end;"))
    assert list(alignment.charsets) == ["b"]


def test_names_with_marks_of_the_format(read):
    rows = "'it''s [a];b' ACG\nO'Hara ACG\nHIV-1_ref ACG\n\"x y\" ACG"
    assert read(nexus(rows, "datatype=dna", 3)).taxa == ("it's [a];b", "O'Hara", "HIV-1_ref", "x y")
    comment = "[it's; [nested 'too] ;]a ACG[1]\nb [x]ACG\nc A[']CG\nd ACG"
    assert read(nexus(comment, "datatype=dna", 3)).states.tolist() == [[1, 2, 4]] * 4


LEFT_OVER = "4 3\na ACG\nb ACG\nc ACG\nd ACG\n"


@pytest.mark.parametrize("more", ["e ACG\n", "\nACG\nACG\nACG\nACG\n", "4 3\na ACG\nb ACG\nc ACG\nd ACG\n"])
def test_phylip_with_more_than_its_header_says_is_refused(read, more):
    assert "more follows, from" in complaint(read, LEFT_OVER + more)


@pytest.mark.parametrize("blanks", [" ", ""])
def test_sequential_phylip_is_told_from_interleaved_by_what_makes_sense(read, blanks):
    """An odd number of taxa over two lines each fits the interleaved layout too, with sequences for names."""
    rng = np.random.default_rng(2)
    rows = ["".join(rng.choice(list("ACGT"), 40)) for _ in range(5)]
    text = "5 40\n" + "".join(
        f"taxon{k:05d}{blanks}{row[:10]} {row[10:20]}\n{row[20:30]} {row[30:]}\n" for k, row in enumerate(rows)
    )
    alignment = read(text)
    assert alignment.taxa == tuple(f"taxon{k:05d}" for k in range(5))
    assert ["".join("ACGT"[state.bit_length() - 1] for state in row) for row in alignment.states.tolist()] == rows


def by_biopython(path):
    """Taxa and rows of a protein NEXUS file, by another reader."""
    from Bio.Nexus.Nexus import Nexus

    nexus = Nexus(str(path))
    return nexus.taxlabels, [str(nexus.matrix[name]) for name in nexus.taxlabels]


needs_mrbayes_examples = pytest.mark.skipif(not MRBAYES_EXAMPLES.is_dir(), reason="MrBayes's examples are not here")


@needs_mrbayes_examples
def test_ovomucoids_read_as_biopython_reads_them():
    alignment = read_alignment(MRBAYES_EXAMPLES / "avian_ovomucoids.nex")
    taxa, rows = by_biopython(MRBAYES_EXAMPLES / "avian_ovomucoids.nex")
    assert alignment.taxa == tuple(taxa)
    expected = [[AMINO if letter in "?-X" else letter for letter in row] for row in rows]
    assert [["?" if cell == AMINO else cell for cell in row] for row in expected] == sets(alignment)


# Taxa, sites and excluded sites as the files say them; sceloporus: 4 + 20 + 4 + 4 + 3 + 5 sites by its EXCLUDE, hymfossil: 114
# taxa less the one of its DELETE.
EXAMPLES = {
    "avian_ovomucoids": (89, 88, 0), "cynmix": (32, 3246, 0), "finch": (4, 16119, 0), "primates": (12, 898, 0),
    "replicase": (9, 720, 0), "sceloporus": (123, 1606, 40), "hymfossil": (113, 5449, 358),
}  # fmt: skip


@needs_mrbayes_examples
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_mrbayes_are_read(name):
    alignment = read_alignment(MRBAYES_EXAMPLES / f"{name}.nex")
    assert (*alignment.states.shape, alignment.excluded.size) == EXAMPLES[name]


@needs_mrbayes_examples
def test_a_file_of_commands_is_refused_as_one():
    with pytest.raises(AlignmentError, match="no DATA or CHARACTERS block with a MATRIX; its blocks are: MRBAYES"):
        read_alignment(MRBAYES_EXAMPLES / "codon.nex")


@needs_mrbayes_examples
@pytest.mark.skipif(shutil.which("mb") is None, reason="MrBayes is not installed")
def test_mrbayes_counts_the_same_states_of_every_character(tmp_path):
    """Of cynmix: what MrBayes's charstat lists of each of 3246 characters, from its own reading, and from what we write."""
    alignment = read_alignment(MRBAYES_EXAMPLES / "cynmix.nex")
    write_nexus(alignment, tmp_path / "ours.nex")
    original = (MRBAYES_EXAMPLES / "cynmix.nex").read_text(encoding="latin-1").lower().partition("begin mrbayes")[0]
    (tmp_path / "theirs.nex").write_text(original, encoding="latin-1")
    listed = {}
    for name in ("ours", "theirs"):
        commands = f"set autoclose=yes nowarn=yes;\nexecute {name}.nex;\ncharstat;\nquit;\n"
        run = subprocess.run(["mb"], input=commands, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
        rows = re.findall(r"(\d+) --\s+(DNA|Stand)\s+(\d+)\s+Included", run.stdout)
        listed[name] = [(kind, int(states)) for _, kind, states in rows]
    assert len(listed["theirs"]) == 3246
    assert listed["ours"] == listed["theirs"]
    assert [kind for kind, _ in listed["theirs"]] == ["Stand" if k == 0 else "DNA" for k in alignment.alphabet_of]
    # The number of states MrBayes gives a discrete character is one more than the highest that is met in it.
    symbols = alignment.alphabets[0].symbols
    for site in range(166):
        known = [state for state in alignment.states[:, site].tolist() if state != alignment.alphabets[0].missing]
        met = {k for state in known for k in range(len(symbols)) if state >> k & 1}
        assert listed["theirs"][site] == ("Stand", max(met) + 1), site


@pytest.mark.skipif(shutil.which("iqtree2") is None, reason="IQ-TREE is not installed")
@pytest.mark.parametrize(("name", "model"), [("prot21/prot21.fa", "LG"), ("bin60/bin60.fa", "MK")])
def test_iqtree_counts_the_same_patterns(benchmark_data, tmp_path, name, model):
    if not (benchmark_data / name).is_file():
        pytest.skip(f"{name} is not here")
    alignment = read_alignment(benchmark_data / name)
    command = ["iqtree2", "-s", str(benchmark_data / name), "-m", model, "-n", "0", "-nt", "1", "-pre", str(tmp_path / "out")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    counts = re.search(r"Alignment has (\d+) sequences with (\d+) columns, (\d+) distinct patterns", run.stdout)
    assert tuple(map(int, counts.groups())) == (*alignment.states.shape, compress(alignment).weights.size)


def test_dendropy_reads_the_same_states(tmp_path):
    """What is written of discrete characters, by another library."""
    import dendropy

    states = np.random.default_rng(1).integers(1, 8, size=(5, 30)).astype(np.uint8)
    states[0, 0] = 4
    alignment = Alignment(tuple("abcde"), states, (standard("012"),))
    write_nexus(alignment, tmp_path / "x.nex")
    matrix = dendropy.StandardCharacterMatrix.get(path=str(tmp_path / "x.nex"), schema="nexus")
    for taxon, row in zip(matrix.taxon_namespace, sets(alignment), strict=True):
        theirs = [
            "".join(sorted(str(one) for one in cell.fundamental_symbols)) if str(cell) != "?" else "?" for cell in matrix[taxon]
        ]
        assert theirs == row


def test_columns_of_amino_acids_are_counted(read):
    rows = ["".join(np.random.default_rng(k).choice(list("ARND-X"), 300)) for k in range(4)]
    patterns = compress(read("".join(f">t{k}\n{row}\n" for k, row in enumerate(rows)), "protein"))
    counted = Counter(zip(*(row.replace("X", "-") for row in rows), strict=True))
    assert sorted(patterns.weights.tolist()) == sorted(map(float, counted.values()))
    assert patterns.states.dtype == np.uint64


def test_compressed_protein_files_are_read(tmp_path):
    rows = "".join(f">t{k}\n{'ACDEFGHIKL' * 200}\n" for k in range(4))
    (tmp_path / "x.gz").write_bytes(gzip.compress(rows.encode()))
    assert read_alignment(tmp_path / "x.gz").states.shape == (4, 2000)


DAMAGE = [*";=(){}[]'\":,\\-.0\n~é", "99", "mixed(", "nchar="]


@pytest.mark.parametrize(
    "text", [MIXED, LEFT_OVER, nexus(FOUR_PROTEINS, "datatype=protein", 5), "DNA, a = 1-3\nJC+G{1}, b = 4-6\\2,5\n"]
)
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path, text):
    """Of 300 with letters put in, cut out and doubled at random, none is met with any other error."""
    from vbpi_mix.phylo.data.partitions import read_partitions

    (tmp_path / "whole").write_text(MIXED)
    whole = read_alignment(tmp_path / "whole")
    rng = np.random.default_rng(7)
    refused = []
    for _ in range(300):
        damaged = text
        for at in rng.integers(0, len(text), rng.integers(1, 5)).tolist():
            kind, count = rng.integers(0, 3), int(rng.integers(1, 12))
            put_in = ("", DAMAGE[rng.integers(len(DAMAGE))], damaged[at : at + count])[kind]
            damaged = damaged[:at] + put_in + damaged[at + (count if kind == 0 else 0) :]
        path = tmp_path / "damaged"
        path.write_text(damaged, encoding="utf-8")
        for attempt in (lambda path=path: read_alignment(path), lambda path=path: read_partitions(path, whole, partial=True)):
            try:
                attempt()
            except AlignmentError as error:
                refused.append(str(error))
    assert len(refused) > 100
    assert not [message for message in refused if "\n" in message]
