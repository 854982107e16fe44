"""Reading alignments: the formats agree with each other and with Biopython; bad files are refused."""

import gzip

import numpy as np
import pytest

from vbpi_mix.errors import AlignmentError
from vbpi_mix.phylo.data.alignment import Alignment, read_alignment, write_fasta, write_nexus

FASTA = ">a first\nACGT\nUu\n>b\nRYSWKM\n>c\nBDHVNX\n>d\n-?nxry\n"
STATES = [
    [1, 2, 4, 8, 8, 8],
    [5, 10, 6, 9, 12, 3],
    [14, 13, 11, 7, 15, 15],
    [15, 15, 15, 15, 5, 10],
]
NEXUS = """#NEXUS
[a comment with [another] and it's fine]
begin {block};
dimensions ntax=4 nchar=6;
{format}
matrix
{matrix}
;
end;
"""


def nexus(matrix, format="format datatype=dna gap=- missing=?;", block="data"):
    return NEXUS.format(matrix=matrix, format=format, block=block)


@pytest.fixture
def write(tmp_path):
    def write_file(content, name="alignment.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


def test_every_iupac_code_is_the_set_it_stands_for(write):
    alignment = read_alignment(write(FASTA))
    assert alignment.taxa == ("a", "b", "c", "d")
    assert alignment.states.dtype == np.uint8
    assert alignment.states.tolist() == STATES


@pytest.mark.parametrize(
    "change", [lambda t: t.replace("\n", "\r\n"), lambda t: t.replace("\n", "\r"), "\ufeff".__add__]
)
def test_line_ends_and_byte_order_mark_do_not_matter(write, change):
    assert read_alignment(write(change(FASTA))).states.tolist() == STATES


def test_gzip_is_found_by_content(write):
    assert read_alignment(write(gzip.compress(FASTA.encode()), "no_suffix")).states.tolist() == STATES


ROWS = "a ACGTAC\nb ACGTAA\nc AC-TAC\nd ?CGTAC"
EXPECTED = [[1, 2, 4, 8, 1, 2], [1, 2, 4, 8, 1, 1], [1, 2, 15, 8, 1, 2], [15, 2, 4, 8, 1, 2]]


@pytest.mark.parametrize(
    "text",
    [
        nexus(ROWS),
        nexus(ROWS, format="", block="characters"),
        nexus(ROWS.replace(" AC", " AC\n  ").replace("?C", "\n?C")),
        nexus(ROWS.replace("-", "~").replace("?", "!"), "format datatype=nucleotide gap=~ missing=!;"),
        nexus("a ACGTAC\nb .....A\nc ..-...\nd ?.....", "format datatype=dna matchchar=.;"),
        nexus("a ACG\nb ACG\nc AC-\nd ?CG\n\na TAC\nb TAA\nc TAC\nd TAC", "format interleave=yes;"),
        "4 6\n" + ROWS,
        " 4 6\na ACG\n TAC\nb ACG TAA\nc AC-\nTAC\nd ?CGTAC\n",
        "4 6\na ACG\nb ACG\nc AC-\nd ?CG\n\nTAC\nTAA\nTAC\nTAC\n",
        "4 6\n" + "".join(f"{row[0]:<10}{row[2:]}\n" for row in ROWS.split("\n")),
        " 4  6 s\na ACG\n TAC\nb ACG TAA\nc AC-\nTAC\nd ?CGTAC\n",
        "4 6\tI \na ACG\nb ACG\nc AC-\nd ?CG\n\nTAC\nTAA\nTAC\nTAC\n",
    ],
    ids=[
        "nexus", "no format", "lines", "symbols", "matchchar", "interleaved", "phylip", "sequential",
        "interleaved phylip", "strict phylip", "option S", "option I",
    ],
)  # fmt: skip
def test_nexus_and_phylip_layouts_give_the_same_alignment(write, text):
    alignment = read_alignment(write(text))
    assert alignment.taxa == ("a", "b", "c", "d")
    assert alignment.states.tolist() == EXPECTED


def test_the_suffix_of_the_name_does_not_decide(write):
    assert read_alignment(write(nexus(ROWS), "x.fasta")).states.tolist() == EXPECTED


@pytest.mark.parametrize("writer", [write_fasta, write_nexus])
def test_writing_and_reading_gives_the_same_alignment(tmp_path, writer):
    states = np.random.default_rng(1).integers(1, 16, size=(5, 40)).astype(np.uint8)
    alignment = Alignment(("a_b", "c.1", "x-2", "Ünï", "e|f"), states)
    writer(alignment, tmp_path / "out")
    back = read_alignment(tmp_path / "out")
    assert back.taxa == alignment.taxa
    assert np.array_equal(back.states, states)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_nexus_quotes_names_that_need_it(tmp_path):
    taxa = ("a b", "it's", "x[1]", "p;q")
    write_nexus(Alignment(taxa, np.ones((4, 3), dtype=np.uint8)), tmp_path / "out.nex")
    assert read_alignment(tmp_path / "out.nex").taxa == taxa


def sequences(path):
    """Sequences of a FASTA file by Biopython, with N written as the writers write it."""
    from Bio import SeqIO

    with open(path) as stream:
        return [str(record.seq).replace("N", "?") for record in SeqIO.parse(stream, "fasta")]


def test_written_files_read_the_same_in_biopython_and_dendropy(tmp_path, benchmark_data):
    import dendropy

    alignment = read_alignment(benchmark_data / "DS7" / "DS7.fasta")
    write_fasta(alignment, tmp_path / "out.fasta")
    write_nexus(alignment, tmp_path / "out.nex")
    original = sequences(benchmark_data / "DS7" / "DS7.fasta")
    assert sequences(tmp_path / "out.fasta") == original
    matrix = dendropy.DnaCharacterMatrix.get(
        path=str(tmp_path / "out.nex"), schema="nexus", preserve_underscores=True
    )
    assert tuple(taxon.label for taxon in matrix.taxon_namespace) == alignment.taxa
    assert [matrix[taxon].symbols_as_string() for taxon in matrix.taxon_namespace] == original


@pytest.mark.parametrize("name", [f"DS{k}" for k in range(1, 9)] + ["primates"])
def test_fasta_and_nexus_of_a_benchmark_agree(benchmark_data, name):
    fasta = read_alignment(benchmark_data / name / f"{name}.fasta")
    other = read_alignment(benchmark_data / name / f"{name}.nex")
    assert fasta.taxa == other.taxa
    assert np.array_equal(fasta.states, other.states)


def complaint(path):
    with pytest.raises(AlignmentError) as caught:
        read_alignment(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


PROTEIN = ">a\nACEF\n>b\nACLQ\n>c\nACP1\n>d\nACEF\n"
CUT = gzip.compress(bytes(np.random.default_rng(0).integers(65, 90, 4000).astype(np.uint8)))[:-20]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "the file is empty"),
        (" \n\n", "the file is empty"),
        (b"PK\x03\x04\x00\x00", "this is not a text file"),
        ("The quick brown fox\njumps.\n", "not an alignment; FASTA begins with '>'"),
        (CUT, "the gzip file is damaged or cut short"),
        (">a\nAC\n>b\nAC\n>c\nACG\n>d\nAC\n", "taxon 'c' has 3 characters and 'a' has 2"),
        (">a x\nAC\n>b\nAC\n>a y\nAC\n>d\nAC\n", "taxon 'a' appears twice"),
        (">a\nAC\n>b\nAC\n>c\nAC\n", "3 taxa; at least 4 are needed"),
        (">a\nAC\n>b\nAC\n>c\nA1\n>d\nAC\n", "taxon 'c', site 2: character '1' is not a nucleotide; use IUPAC"),
        (">a\nAC\n>b\nA\u03a9\n>c\n??\n>d\nAC\n", "taxon 'b', site 2: character '\u03a9' is not a nucleotide"),
        (PROTEIN, "taxon 'c', site 4: character '1' is not an amino acid"),
        (">a\n>b\n>c\n>d\n", "the alignment has no sites"),
        (">a\nA\n>\nA\n>c\nA\n>d\nA\n", "sequence 2 has no name"),
        (nexus("a ACGTAC\nb ACGTA\nc ACGTAC\nd ACGTAC"), "taxon 'b' has 5 characters, not the 6 that NCHAR says"),
        (nexus("a ACGTAC\nb ACGTAC\nc ACGTAC\nd ACGTA"), "taxon 'd' has 5 characters, not the 6"),
        (nexus("a ACGTAC\nb ACGTAC\nb ACGTAC\nd ACGTAC"), "taxon 'b' appears twice"),
        (nexus("a ACGTAC\nb ACZTAC\nc ACGTAC\nd ACGTAC"), "taxon 'b', site 3: character 'Z' is no"),
        (nexus("a ACGTAC\nb ACGTAC\nc ACGTAC"), "3 taxa in the matrix where NTAX says 4"),
        (nexus(ROWS, "format datatype=continuous;"), "DATATYPE=CONTINUOUS is not read"),
        ("#NEXUS\nbegin trees;\ntree a = (a,b);\nend;\n", "no DATA or CHARACTERS block"),
        ("#NEXUS\nbegin data; [dimensions ntax=4\n", "the NEXUS file is malformed: the comment that line 2 opens"),
        ("4 6\na ACGTAC\nb ACGTAC\nc ACGTA\nd ACGTAC\n", "taxon 'c' has 5 characters where the header"),
        ("4 6 GC\na ACGTAC\n", "'GC' in the head line '4 6 GC' is not read; a PHYLIP file begins with two numbers"),
        ("4 6 7\na ACGTAC\n", "'7' in the head line '4 6 7' is not read"),
        ("4 6 I S\na ACGTAC\n", "'I S' in the head line '4 6 I S' is not read"),
        ("4 6\na ACGTAC\n", "the sequences do not fit the header '4 6'"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_in_one_line_that_names_the_fault(write, content, expected):
    path = write(content)
    message = complaint(path)
    assert message.startswith((f"{path}: ", f"{path}, line "))
    assert expected in message


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "no such file" in complaint(tmp_path / "none.fasta")
    assert "this is a folder" in complaint(tmp_path)


def test_writing_where_it_cannot_be_is_refused(tmp_path):
    alignment = Alignment(("a b", "c", "d", "e"), np.ones((4, 2), dtype=np.uint8))
    with pytest.raises(AlignmentError, match="blank in its name; FASTA cannot hold it"):
        write_fasta(alignment, tmp_path / "out.fasta")
    with pytest.raises(AlignmentError, match="cannot be written"):
        write_nexus(alignment, tmp_path / "no" / "folder.nex")
    assert not list(tmp_path.iterdir())
