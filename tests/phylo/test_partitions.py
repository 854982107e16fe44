"""Partitions of alignments in the dialects of NEXUS, MrBayes, IQ-TREE and RAxML; every fault has its line."""

from pathlib import Path

import numpy as np
import pytest

from vbpi_mix.errors import AlignmentError
from vbpi_mix.phylo.data.alignment import Alignment, read_alignment
from vbpi_mix.phylo.data.alphabets import DNA, PROTEIN, standard
from vbpi_mix.phylo.data.partitions import default_parts, read_partitions
from vbpi_mix.phylo.data.site_sets import SiteSets

MRBAYES_EXAMPLES = Path("/usr/share/doc/mrbayes/examples")
IQTREE_EXAMPLES = Path("/usr/share/doc/iqtree/examples")
TAXA = tuple("abcd")


def alignment(n_sites=12, excluded=(), **more):
    return Alignment(TAXA, np.ones((4, n_sites), dtype=np.uint8), excluded=np.array(excluded, dtype=np.int64), **more)


def mixed():
    """Sites 1 to 4 are morphology, 5 to 12 nucleotides."""
    return alignment(alphabets=(standard("012"), DNA), alphabet_of=np.repeat([0, 1], [4, 8]).astype(np.uint8))


@pytest.fixture
def read(tmp_path):
    def read_text(text, of=None, **options):
        (tmp_path / "parts").write_text(text, encoding="utf-8")
        return read_partitions(tmp_path / "parts", of or alignment(), **options)

    return read_text


def shown(parts):
    """Name, sites counted from 1, and model of every part."""
    return [(part.name, (part.sites + 1).tolist(), part.model) for part in parts]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1-4", [1, 2, 3, 4]), ("3", [3]), ("2 - 4 , 7", [2, 3, 4, 7]), ("1-12\\3", [1, 4, 7, 10]), ("2-.\\3", [2, 5, 8, 11]),
        ("1-6/3,2-6/3", [1, 2, 4, 5]),
        ("10-.", [10, 11, 12]),
        (".", [12]),
        ("all", list(range(1, 13))),
        ("5-9 \\ 2", [5, 7, 9]),
        ("6\\3", [6, 9, 12]), ("codon2 12", [2, 5, 8, 11, 12]), ("CODON2", [2, 5, 8, 11]), ("'my set'", [1, 2]), ("16S", [9]),
        ("both", [1, 2, 9]), ("4 4 3-5", [3, 4, 5]),
    ],
)  # fmt: skip
def test_expressions_of_sites(expression, expected):
    sets = SiteSets(12, "x", {"codon2": np.array([1, 4, 7, 10])})
    sets.define("my set", "1-2")
    sets.define("16S", "9")
    sets.define("both", "'my set' 16S")
    assert (sets.sites(expression, "x") + 1).tolist() == expected


@pytest.mark.parametrize("step", [1, 2, 3, 7])
def test_ranges_are_those_of_counting(step):
    """By a loop over the sites."""
    sets = SiteSets(50, "x")
    for first, last in [(1, 50), (3, 44), (50, 50)]:
        by_counting = [site for site in range(first, last + 1) if (site - first) % step == 0]
        assert (sets.sites(f"{first}-{last}\\{step}", "x") + 1).tolist() == by_counting


NEXUS = "#nexus\nbegin sets;\n  charset one = 1-6\\3 2-6\\3;\n  charset two = 3-6\\3;\n  charset rest = 7-.;\n{}\nend;\n"
ONE, TWO, REST = [1, 2, 4, 5], [3, 6], [7, 8, 9, 10, 11, 12]


@pytest.mark.parametrize(
    ("scheme", "models"),
    [
        ("", [None] * 3),
        ("charpartition mine = HKY:one, GTR+G:two, GTR+G: rest;", ["HKY", "GTR+G", "GTR+G"]),
        ("charpartition * mine = GTR+I{0.1}+G4{0.5}:one, 010010 : two, rest:rest;",
         ["GTR+I{0.1}+G4{0.5}", "010010", None]),
        ("charpartition mine = GTR+F{0.1,0.2,0.3,0.4}:one, HKY{2.0}:two, JC:rest;", ["GTR+F{0.1,0.2,0.3,0.4}", "HKY{2.0}", "JC"]),
        ("charpartition m = TIM2{5.2,8.1,23.9}+F{0.3,0.2,0.2,0.3}+G4{0.49}: one{4.17}, TIM2+I{0.1}: two{3.6}, JC: rest{1};",
         ["TIM2+F+G4", "TIM2+I", "JC"]),
        ("charpartition m = 1:one, 2:two, 3:rest;", [None] * 3),
        ("charpartition other = 1:all; charpartition * m (CHARACTERS = x) = JC:one, JC:two, JC:rest;", ["JC"] * 3),
    ],
    ids=["charsets", "models", "star and digits", "fixed values", "best_model", "numbers", "the starred one"],
)  # fmt: skip
def test_nexus_charpartitions(read, scheme, models):
    expected = [("one", ONE, models[0]), ("two", TWO, models[1]), ("rest", REST, models[2])]
    assert shown(read(NEXUS.format(scheme))) == expected


def test_names_before_ranges_are_the_parts_own(read):
    parts = read(NEXUS.format("charpartition m = head: 1-6, 'the tail': 7-11 12;"))
    assert shown(parts) == [("head", [1, 2, 3, 4, 5, 6], None), ("the tail", REST, None)]


def test_a_model_before_several_charsets_or_ranges_is_theirs(read):
    """It was the part's name, and the part had JC69."""
    parts = read(NEXUS.format("charpartition m = GTR+G4: one two, 'HKY{2.0}': rest;"))
    assert shown(parts) == [("one+two", [1, 2, 3, 4, 5, 6], "GTR+G4"), ("rest", REST, "HKY{2.0}")]
    parts = read(NEXUS.format("charpartition m = HKY+I{0.2}: 1-6{1.5}, 012345: 7-11 12;"))
    assert shown(parts) == [("1-6", [1, 2, 3, 4, 5, 6], "HKY+I"), ("7-11+12", REST, "012345")]
    scheme = NEXUS.format("charpartition m = hky: 1-6, tail: 7-11 12;")
    assert [(part.name, part.model) for part in read(scheme, models={"HKY"})] == [("1-6", "hky"), ("tail", None)]
    assert [(part.name, part.model) for part in read(scheme)] == [("hky", None), ("tail", None)]


def test_mrbayes_partitions_and_the_one_that_set_names(read):
    text = NEXUS.format("").replace("sets", "mrbayes").replace(
        "end;", "partition a = 3: one, two, rest;\npartition b = 2: one two, rest;\nset autoclose=yes partition=b;\nend;"
    )  # fmt: skip
    assert shown(read(text)) == [("one+two", [1, 2, 3, 4, 5, 6], None), ("rest", REST, None)]
    short = text.replace("partition a", "parti a").replace("partition b", "parti b").replace("partition=b", "pa = b")
    assert shown(read(short.replace("charset", "charse"))) == shown(read(text))
    with pytest.raises(AlignmentError, match="there are several partitions, a, b; mark one"):
        read(text.replace("partition=b", "nowarn=yes"))
    with pytest.raises(AlignmentError, match="SET PARTITION names 'c'; there are a, b"):
        read(text.replace("partition=b", "partition=c"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("DNA, gene1 = 1-12", ("gene1", None)),
        ("DNAF, gene1=1-6\\1,7-12", ("gene1", None)),
        ("GTR+G, g = 1-12/1", ("g", "GTR+G")),
        ("GTR{1/2/3/4/5/6}+F{0.1/0.2/0.3/0.4}+G4, g = 1-.", ("g", "GTR{1/2/3/4/5/6}+F{0.1/0.2/0.3/0.4}+G4")),
        ("HKY+F{0.1,0.2,0.3,0.4}, g = all;  # a comment", ("g", "HKY+F{0.1,0.2,0.3,0.4}")),
        ("# x\n\nJC, g = 1-12\n", ("g", "JC")),
        ("g = 1-12", ("g", None)),
    ],
)  # fmt: skip
def test_lines_of_raxml(read, line, expected):
    (part,) = read(line)
    assert (part.name, part.model) == expected
    assert (part.sites.tolist(), part.alphabet) == (list(range(12)), DNA)


def test_raxml_words_for_protein_models(read):
    of = alignment(alphabets=(PROTEIN,))
    parts = read("WAGF, a = 1-4\nLGX, b = 5-8\nLG, c = 9-10\nAA, d = 11-12", of)
    assert [part.model for part in parts] == ["WAG+F", "LG+FO", "LG", None]


def test_lines_with_steps_share_out_the_sites(read):
    assert shown(read("DNA, p1 = 1-12\\3\nDNA, p23 = 2-12\\3, 3-12\\3\n")) == [
        ("p1", [1, 4, 7, 10], None), ("p23", [2, 3, 5, 6, 8, 9, 11, 12], None),
    ]  # fmt: skip


def test_a_charset_may_be_called_a_number(read):
    text = "#nexus begin sets; charset 1 = 7-12; charset it''s = 1-6; charpartition x = JC:1, HKY:it''s; end;"
    assert shown(read(text)) == [("1", [7, 8, 9, 10, 11, 12], "JC"), ("it''s", [1, 2, 3, 4, 5, 6], "HKY")]


def test_excluded_sites_are_in_no_part_and_need_be_in_none(read):
    of = alignment(excluded=[0, 5, 11])
    assert shown(read("DNA, a = 1-6\nDNA, b = 6-11", of)) == [("a", [2, 3, 4, 5], None), ("b", [7, 8, 9, 10, 11], None)]


def test_charsets_of_the_alignment_can_be_named(read):
    of = alignment(charsets={"Head": np.arange(5), "tail": np.arange(5, 12)})
    assert shown(read("JC, a = head\nHKY, b = tail", of))[0] == ("a", [1, 2, 3, 4, 5], "JC")
    parts = read("#NEXUS begin sets; charpartition x = JC:head, HKY:tail; end;", of)
    assert [(part.name, part.model, part.sites.size) for part in parts] == [("head", "JC", 5), ("tail", "HKY", 7)]


def test_parts_of_mixed_data(read):
    parts = read("MK, m = 1-4\nDNA, g = 5-12", mixed())
    assert [part.alphabet for part in parts] == [standard("012"), DNA]
    parts = read("#nexus begin sets; charset m = MORPH, 1-4; charset g = DNA, 5-12; end;", mixed())
    assert shown(parts) == [("m", [1, 2, 3, 4], None), ("g", list(range(5, 13)), None)]


def test_default_parts():
    (part,) = default_parts(alignment(excluded=[2]))
    assert (part.name, part.alphabet, part.sites.size, part.model) == ("all", DNA, 11, None)
    assert [(part.name, part.sites.tolist()) for part in default_parts(mixed())] == [
        ("standard", [0, 1, 2, 3]), ("dna", list(range(4, 12))),
    ]  # fmt: skip
    two = alignment(alphabets=(standard("012"), standard("01")), alphabet_of=np.repeat([0, 1], 6).astype(np.uint8))
    assert [part.name for part in default_parts(two)] == ["standard", "standard 01"]


def test_sites_may_be_left_out_if_that_is_asked_for(read):
    assert shown(read("JC, a = 2-5", partial=True)) == [("a", [2, 3, 4, 5], "JC")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("DNA, a = 1-6\nDNA, b = 6-12", "site 6 is in two parts, 'a' and 'b'"),
        ("DNA, a = 1-6", "site 7 and 5 more are in no part"),
        ("DNA, a = 1-11", "site 12 is in no part"),
        ("DNA, a = 1-13", "part 'a': site 13 is beyond the 12 sites of the alignment"),
        ("DNA, a = 0-12", "part 'a': '0-12' is no range of sites"),
        ("DNA, a = 5-2", "part 'a': '5-2' is no range of sites"),
        ("DNA, a = 1-12\\0", "is no range of sites"),
        ("DNA, a = head", "part 'a': 'head' is neither a site nor a charset"),
        ("DNA, a = 1-6\nDNA, a = 7-12", "two parts are called 'a'"),
        ("AA, a = 1-12", "part 'a' says protein, and its sites are dna"),
        ("CODON, a = 1-12", "line 1: codon models are not here"),
        ("ASC_DNA, a = 1-12", "line 1: 'ASC_DNA' is RAxML's word for variable characters alone"),
        ("DNA, a = 1-6\nwhat is this", "parts, line 2: 'what is this' is no part"),
        ("charset a = 1-12;", "line 1: 'charset a = 1-12' is no part"),
        ("(a,b);", "line 1: '(a,b)' is no part"),
        (NEXUS.format("charpartition m = JC:one, HKY:gone;"),
         "part 'HKY:gone': 'gone' is neither a site nor a charset; there are one, two, rest"),
        (NEXUS.format("charpartition m = JC one;"), "the charpartition is malformed at 'JC one'"),
        (NEXUS.format("charset x = x 1;"), "charset 'x': the charset 'x' contains itself"),
        (NEXUS.format("charset f = gene.phy: 1-12;"), "charset 'f' names the file 'gene.phy'"),
        (NEXUS.format("charset f = gene.phy:CODON, *;"), "charset 'f' names the file 'gene.phy'"),
        (NEXUS.format("charset f = JC, 1-3;"), "charset 'f' begins with 'JC', which is no kind of data"),
        ("#nexus\nbegin trees;\nend;\n", "no charset and no charpartition"),
        ("#nexus\nbegin mrbayes;\npartition m = 3: 1-5, 6-12;\nend;", "says '3' parts and lists 2"),
        ("", "the file is empty"),
        ("a\x00b", "this is not a text file; give NEXUS charsets, or lines"),
    ],
)  # fmt: skip
def test_a_fault_is_named_in_one_line(read, text, expected):
    with pytest.raises(AlignmentError) as caught:
        read(text)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_part_of_two_kinds_or_of_nothing_is_refused(read, tmp_path):
    with pytest.raises(AlignmentError, match=r"part 'a' mixes standard \(site 3\) and dna \(site 5\); a part has one kind"):
        read("JC, a = 3-12", mixed(), partial=True)
    with pytest.raises(AlignmentError, match="part 'a' has no site that is not excluded"):
        read("JC, a = 1-2\nJC, b=3-12", alignment(excluded=[0, 1]))
    with pytest.raises(AlignmentError, match="no such file; check the path of the partition file"):
        read_partitions(tmp_path / "none", alignment())


def test_several_hundred_parts(read):
    """As many as genes of a phylogenomic data set, sites interleaved."""
    n_parts = 467
    of = alignment(n_parts * 4)
    charsets = "".join(f"charset g{k} = {k}-.\\{n_parts};\n" for k in range(1, n_parts + 1))
    scheme = ", ".join(f"GTR+G:g{k}" for k in range(1, n_parts + 1))
    parts = read(f"#nexus begin sets; {charsets} charpartition all = {scheme}; end;", of)
    assert len(parts) == n_parts
    assert all(part.sites.tolist() == [k, k + n_parts, k + 2 * n_parts, k + 3 * n_parts] for k, part in enumerate(parts))


@pytest.mark.skipif(not IQTREE_EXAMPLES.is_dir(), reason="IQ-TREE's examples are not here")
def test_the_example_of_iqtree():
    """IQ-TREE's own table of these: 666, 333 and 999 sites, 413, 208 and 612 patterns."""
    from vbpi_mix.phylo.data.site_patterns import compress

    read = read_alignment(IQTREE_EXAMPLES / "example.phy")
    parts = read_partitions(IQTREE_EXAMPLES / "example.nex", read)
    assert [(part.name, part.model, part.sites.size) for part in parts] == [
        ("part1", "HKY", 666), ("part2", "GTR+G", 333), ("part3", "GTR+G", 999),
    ]  # fmt: skip
    assert [compress(read, part.sites).weights.size for part in parts] == [413, 208, 612]


@pytest.mark.skipif(not MRBAYES_EXAMPLES.is_dir(), reason="MrBayes's examples are not here")
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("cynmix", {"morphology": 166, "COI": 1078, "EF1a": 367, "LWRh": 481, "28S": 1154}),
        # Sites of its charsets less what it excludes: ten characters and every third site of CO1.
        ("hymfossil", {"MV+MS": 343, "12S+16S": 425, "18S": 891, "28S": 552, "CO1_12+CO1_3": 696,
                       "Ef1aF1_12+Ef1aF2_12": 1456, "Ef1aF1_3+Ef1aF2_3": 728}),
    ],
)  # fmt: skip
def test_the_examples_of_mrbayes(name, sizes):
    path = MRBAYES_EXAMPLES / f"{name}.nex"
    read = read_alignment(path)
    parts = read_partitions(path, read)
    assert {part.name: part.sites.size for part in parts} == sizes
    assert {part.alphabet.name for part in parts if part.sites[0] < 166} == {"standard"}
