"""What files of other programs hold, letter by letter, of an answer that is written down (written_answer.py)."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from types import SimpleNamespace

import dendropy
import numpy as np
import pytest
from reference import jukes_cantor
from small_posteriors import small_data
from written_answer import TAXA, exported

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.report.consensus import Consensus, ConsensusClade
from vbpi_mix.phylo.report.export_draws import _column, trace
from vbpi_mix.phylo.report.export_files import ENDINGS, KnownTree, _comments, endings
from vbpi_mix.phylo.report.export_trees import EdgeFacts, annotation_mark, consensus_facts, sampled_trees, tree_text
from vbpi_mix.phylo.report.hpd import Spread
from vbpi_mix.phylo.report.rooting import Rooted, Rooting, root
from vbpi_mix.phylo.report.weighted import TopologyEstimates

HEAD = "#NEXUS\n[{comment}]\n"
TAXA_BLOCK = "begin taxa;\n   dimensions ntax=4;\n   taxlabels\n      a\n      b\n      c\n      d\n   ;\nend;\n"
TRANSLATE = "begin trees;\n   translate\n      1 a,\n      2 b,\n      3 c,\n      4 d;\n"
FIGTREE = (
    'begin figtree;\n   set nodeLabels.isShown=true;\n   set nodeLabels.displayAttribute="prob";\n'
    "   set nodeLabels.significantDigits=3;\nend;\n"
)
SOURCE = "3 of 3 draws from a mixture fitted by vbpi-mix, resampled by their importance weights"
TABLE = "Gen\tLnL\tLnPr\tTL\n0\t-10.5\t2.25\t1.5\n1\t-11.5\t3\t1.6\n2\t-12.25\t1\t1.5\n"
ALWAYS = "[&prob=1,prob_error=0]"
# Residuals of {b, c} are shares times 1 - 3/4 or - 3/4: 1/8, 1/16, -3/16. Their variance of three draws, 3/2 times the squares.
ERROR = math.sqrt(1.5 * (1 / 8**2 + 1 / 16**2 + 9 / 16**2))
BC = f"[&prob=0.75,prob_error={ERROR:.3g}]"


def length(mean, median, low, high):
    """An edge's length, and what is said of it."""
    return f":{mean:.8g}[&length_mean={mean:.8g},length_median={median:.8g},length_95%HPD={{{low:.8g},{high:.8g}}}]"


# Over all draws, and of {b, c} over the two that have it: (0.3 / 2 + 0.5 / 4) / (3 / 4).
A, B, C, D = length(0.325, 0.2, 0.1, 0.5), length(0.15, 0.1, 0.1, 0.3), length(0.275, 0.2, 0.2, 0.4), length(0.4, 0.4, 0.2, 0.6)
WITH = 0.275 / 0.75
CONSENSUS = f"(1{ALWAYS}{A},4{ALWAYS}{D},(2{ALWAYS}{B},3{ALWAYS}{C}){BC}{length(WITH, 0.3, 0.3, 0.5)});"
# Over the two draws with the most probable topology.
A1, B1, C1, D1 = (length(x / 3, *rest) for x, *rest in (
    (1.1, 0.5, 0.1, 0.5), (0.5, 0.1, 0.1, 0.3), (0.8, 0.2, 0.2, 0.4), (1.0, 0.4, 0.2, 0.4)
))  # fmt: skip
BEST = f"(1{ALWAYS}{A1},(2{ALWAYS}{B1},3{ALWAYS}{C1}){BC}{length(WITH, 0.3, 0.3, 0.5)},4{ALWAYS}{D1});"
HALF = BC + length(WITH / 2, 0.15, 0.15, 0.25)
ROOTED_CONSENSUS = f"((2{ALWAYS}{B},3{ALWAYS}{C}){HALF},(1{ALWAYS}{A},4{ALWAYS}{D}){HALF});"
ROOTED_BEST = f"((2{ALWAYS}{B1},3{ALWAYS}{C1}){HALF},(1{ALWAYS}{A1},4{ALWAYS}{D1}){HALF});"

UNROOTED = ("(1:0.5,(2:0.1,3:0.2):0.3,4:0.4)", "(1:0.2,2:0.1,(3:0.3,4:0.6):0.4)", "(1:0.1,(2:0.3,3:0.4):0.5,4:0.2)")
AT_A = ("(1:0.25,((2:0.1,3:0.2):0.3,4:0.4):0.25)", "(1:0.1,(2:0.1,(3:0.3,4:0.6):0.4):0.1)",
        "(1:0.05,((2:0.3,3:0.4):0.5,4:0.2):0.05)")  # fmt: skip
# b and c are apart in the second, which is rooted at b.
AT_BC = ("((2:0.1,3:0.2):0.15,(1:0.5,4:0.4):0.15)", "((2:0.1,(3:0.3,4:0.6):0.4):0.1,1:0.1)",
         "((2:0.3,3:0.4):0.25,(1:0.1,4:0.2):0.25)")  # fmt: skip


def trees(names, mark, newicks):
    return "".join(f"   tree {name} = {mark} {newick};\n" for name, newick in zip(names, newicks, strict=True)) + "end;\n"


def single(name, mark, newick, comment):
    return HEAD.format(comment=comment) + TAXA_BLOCK + TRANSLATE + trees([name], mark, [newick[:-1]]) + FIGTREE


def named(newick):
    for number, name in zip("1234", "abcd", strict=True):
        newick = newick.replace(f"({number}:", f"({name}:").replace(f",{number}:", f",{name}:")
    return newick


COMMENTS = (
    "Majority-rule consensus of 3 draws from a mixture fitted by vbpi-mix, weighted; mean branch lengths",
    f"The most probable topology of 3 draws from a mixture fitted by vbpi-mix, weighted: probability 0.75, error {ERROR:.2g}; "
    "mean branch lengths given it",
)


@pytest.mark.parametrize(
    ("rooting", "mark", "consensus", "best", "of_beast"),
    [(None, "[&U]", CONSENSUS, BEST, AT_A), (Rooting(("b", "c")), "[&R]", ROOTED_CONSENSUS, ROOTED_BEST, AT_BC)],
)
def test_nexus_of_mrbayes_and_of_beast(rooting, mark, consensus, best, of_beast):
    singles = {
        ".con.tre": single("consensus", mark, consensus, COMMENTS[0]),
        ".map.tre": single("most_probable", mark, best, COMMENTS[1]),
    }
    texts, remarks = exported(rooting).texts("mrbayes")
    assert remarks == ()
    assert texts[".t"] == HEAD.format(comment=SOURCE) + TRANSLATE + trees(("gen.0", "gen.1", "gen.2"), "[&U]", UNROOTED)
    assert texts[".p"] == f"[ID: {SOURCE}]\n{TABLE}"
    texts = texts | exported(rooting).texts("beast")[0]
    states = trees(("STATE_0", "STATE_1", "STATE_2"), "[&R]", of_beast)
    assert texts[".trees"] == HEAD.format(comment=SOURCE) + TAXA_BLOCK + TRANSLATE + states
    assert texts[".log"] == (
        f"# {SOURCE}\n# equally weighted draws, none of them burn-in\nstate\tposterior\tlikelihood\tprior\ttreeLength\n"
        "0\t-8.25\t-10.5\t2.25\t1.5\n1\t-8.5\t-11.5\t3\t1.6\n2\t-11.25\t-12.25\t1\t1.5\n"
    )
    for ending, text in singles.items():
        assert texts[ending] == text
        assert exported(rooting).texts("mrbayes")[0][ending] == text


@pytest.mark.parametrize("rooting", [None, Rooting(("b", "c"))])
def test_newick(rooting):
    texts, _ = exported(rooting).texts("newick")
    assert texts[".nwk"].splitlines() == [f"{named(tree)};" for tree in (AT_BC if rooting else UNROOTED)]
    assert texts[".p"] == f"[ID: {SOURCE}]\n{TABLE}"
    if rooting:
        assert texts[".con.nwk"] == "((b:0.15,c:0.275)0.75:0.18333333,(a:0.325,d:0.4)0.75:0.18333333);\n"
        assert texts[".map.nwk"] == (
            "((b:0.16666667,c:0.26666667)0.75:0.18333333,(a:0.36666667,d:0.33333333)0.75:0.18333333);\n"
        )
    else:
        assert texts[".con.nwk"] == "(a:0.325,d:0.4,(b:0.15,c:0.275)0.75:0.36666667);\n"
        assert texts[".map.nwk"] == "(a:0.36666667,(b:0.16666667,c:0.26666667)0.75:0.36666667,d:0.33333333);\n"


def squares(*values):
    """The Monte Carlo error of a mean over all three draws, from their residuals."""
    return f"{math.sqrt(1.5 * sum(x * x for x in values)):.3g}"


@pytest.mark.parametrize("form", list(ENDINGS))
def test_tables_of_every_format(form):
    texts, _ = exported().texts(form)
    assert texts[".trprobs"] == (
        HEAD.format(
            comment="Topologies met in 3 draws from a mixture fitted by vbpi-mix, weighted by importance: their estimated "
            "probabilities (p) and the cumulative probability (P)"
        )
        + TRANSLATE
        + "   tree tree_1 [p = 0.750000, P = 0.750000] = [&U] [&W 0.75] (1,(2,3),4);\n"
        "   tree tree_2 [p = 0.250000, P = 1.000000] = [&U] [&W 0.25] (1,2,(3,4));\nend;\n"
    )
    of_bc = math.sqrt(1.5 * ((0.5 * (0.3 - WITH)) ** 2 + (0.25 * (0.5 - WITH)) ** 2)) / 0.75
    assert texts[".splits.csv"].splitlines() == [
        "members,size,probability,error,length,length_error,source",
        f"b | c,2,0.75,{ERROR:.3g},{WITH:.8g},{of_bc:.3g},weighted",
        f"c | d,2,0.25,{ERROR:.3g},0.4,0,weighted",
        f"b,1,1,0,0.15,{squares(0.5 * -0.05, 0.25 * 0.15, 0.25 * -0.05)},weighted",
        f"c,1,1,0,0.275,{squares(0.5 * -0.075, 0.25 * 0.125, 0.25 * 0.025)},weighted",
        f"d,1,1,0,0.4,{squares(0.0, 0.25 * -0.2, 0.25 * 0.2)},weighted",
        f"a,1,1,0,0.325,{squares(0.5 * 0.175, 0.25 * -0.225, 0.25 * -0.125)},weighted",
    ]
    # Tree lengths 1.5, 1.5 and 1.6: residuals -0.025 and 0.075.
    error = math.sqrt((0.25 + 0.0625) * 0.025**2 + 0.0625 * 0.075**2)
    assert texts[".parameters.csv"].splitlines() == [
        "name,partition,mean,error,sd,median,lower,upper,hpd_lower,hpd_upper,source",
        f"TL,,1.525,{error:.8g},{0.1 * math.sqrt(3 / 16):.8g},1.5,1.5,1.6,1.5,1.6,weighted",
    ]


def test_an_outgroup_that_is_apart_is_said_of_each_tree():
    texts, remarks = exported(Rooting(("b", "d"))).texts("mrbayes")
    assert [remark.split(":")[0] for remark in remarks] == ["consensus", "most probable tree"]
    for ending, remark in zip((".con.tre", ".map.tre"), remarks, strict=True):
        assert remark.split(": ", 1)[1].translate({91: "(", 93: ")"}) in texts[ending].splitlines()[1]


def test_a_format_that_is_not_known_is_refused():
    assert endings("beast") == (".trees", ".log", ".con.tre", ".map.tre", ".trprobs", ".splits.csv", ".parameters.csv")
    with pytest.raises(ConfigError, match="'docx' is not known: choose one of mrbayes, beast, newick, nexml"):
        endings("docx")


@pytest.mark.parametrize("rooting", [None, Rooting(("b", "c"))])
def test_nexml_has_the_trees_of_the_other_formats(rooting):
    texts, _ = exported(rooting).texts("nexml")
    for ending, comment in ((".xml", SOURCE), (".con.xml", COMMENTS[0]), (".map.xml", COMMENTS[1])):
        assert comment in texts[ending]
        read = dendropy.TreeList.get(data=texts[ending], schema="nexml")
        assert {tree.is_rooted for tree in read} == {rooting is not None}
    read = dendropy.TreeList.get(data=texts[".xml"], schema="nexml")
    # DendroPy gives the root a length of zero.
    plain = [tree.as_string("newick", suppress_rooting=True).strip().replace("):0.0;", ");") for tree in read]
    assert plain == [f"{named(tree)};" for tree in (AT_BC if rooting else UNROOTED)]
    (consensus,) = dendropy.TreeList.get(data=texts[".con.xml"], schema="nexml")
    lengths = {frozenset(leaf.taxon.label for leaf in node.leaf_iter()): node.edge.length for node in consensus}
    assert lengths[frozenset("a")] == pytest.approx(0.325)
    assert lengths[frozenset("bc")] == pytest.approx(WITH / 2 if rooting else WITH)


def test_the_error_that_is_said_is_that_of_the_most_probable_topology():
    made = exported()
    topologies = TopologyEstimates(np.array([0.75, 0.25]), np.array([0.02, 0.01]))
    text = replace(made, answer=replace(made.answer, topologies=topologies)).texts("mrbayes")[0][".map.tre"]
    assert "probability 0.75, error 0.02;" in text


def test_lengths_are_written_with_eight_digits_whatever_their_size():
    made = exported()
    lengths = np.array([[0.123456789123, 1234.56789123, 1.23456789123e-9, 0.0, 99999999.9]])
    draws = replace(made.draws.take(np.array([0])), lengths=lengths)
    (text,) = sampled_trees(draws, TAXA, None)
    # Edges above b, c, d, the inner node and a, as canonical trees have them.
    numbers = dict(re.findall(r"([abcd)]):([^,()]+)", text))
    assert {name: float(x) for name, x in numbers.items()} == {
        "b": 0.12345679, "c": 1234.5679, "d": 1.2345679e-9, ")": 0.0, "a": 1e8,
    }  # fmt: skip
    assert max(len(x) for x in numbers.values()) <= 13


def test_an_edge_of_no_length_is_of_no_length_on_both_sides_of_a_root():
    edge = ConsensusClade("", 0.75, 0.0, (ConsensusClade("b", 1.0, 0.1), ConsensusClade("c", 1.0, 0.2)))
    tree = Consensus((ConsensusClade("a", 1.0, 0.3), ConsensusClade("d", 1.0, 0.4), edge))
    spread = Spread(0.0, 0.0, 0.0, 0.0, 0.0, 0.25)
    facts = {frozenset(side): EdgeFacts(0.5, 1e-13, spread) for side in ("b", "c", "d", "bc", "bcd")}
    text = tree_text(root(tree, Rooting(("b", "c"))).tree, str, annotation_mark(facts, TAXA))
    none = "[&prob=0.5,prob_error=0]:0[&length_mean=0,length_median=0,length_95%HPD={0,0.25}]"
    assert text.startswith("((b[")
    assert text.endswith(f"){none});")
    assert text.count(none) == 2


def test_sides_of_splits_of_more_taxa_than_a_word_has_bits():
    """Of 70 taxa: the second word has the last six."""
    taxa = tuple(f"t{k}" for k in range(70))
    sides = [{1}, {63, 64}, {63, 64, 65, 69}, set(range(1, 70)), {68, 69}]
    bits = np.array([[sum(1 << (k - 64 * w) for k in side if k // 64 == w) for w in range(2)] for side in sides], np.uint64)
    estimates = SimpleNamespace(frequencies=np.array([1.0, 0.75, 0.625, 1.0, 0.5]), frequency_errors=np.arange(5) / 100)
    answer = SimpleNamespace(split_bits=bits, splits=estimates)
    draws = SimpleNamespace(lengths_of=lambda k: (np.array([k + 1.0]), np.ones(1)))
    found = consensus_facts(answer, draws, taxa)
    assert found.keys() == {frozenset(f"t{k}" for k in side) for side in sides[:4]}
    known = found[frozenset(["t63", "t64", "t65", "t69"])]
    assert (known.probability, known.error, known.lengths.mean) == (0.625, 0.02, 3.0)


def test_a_trace_has_the_likelihood_and_the_priors_of_the_trees_themselves():
    """Likelihoods by sums over internal states; three topologies alike, Exp(10) lengths."""
    patterns, posterior = small_data(4, 40)
    draws = exported().draws
    found = trace(draws, posterior)
    assert found.names == ("LnL", "LnPr", "TL")
    for (children, lengths), row in zip(draws.trees(), found.values, strict=True):
        likelihood = jukes_cantor.log_likelihood_by_summation(children, lengths, patterns.states, patterns.weights)
        prior = 5 * math.log(10) - 10 * lengths.sum() - math.log(3)
        assert row.tolist() == pytest.approx([likelihood, prior, lengths.sum()], rel=1e-9)
    assert found.column("TL").tolist() == pytest.approx([1.5, 1.5, 1.6])


def test_parameters_of_parts_are_numbered_as_mrbayes_has_them():
    parts = ["first", "second"]
    assert _column("alpha", None, parts) == "alpha"
    assert [_column("alpha", part, parts) for part in parts] == ["alpha{1}", "alpha{2}"]
    assert _column("alpha{2}", "first", parts) == "alpha{2}"


def test_no_more_topologies_are_listed_than_a_file_has_room_for(monkeypatch):
    monkeypatch.setattr("vbpi_mix.phylo.report.answer.MOST_TOPOLOGIES", 1)
    text = exported().answer.trprobs(TAXA)
    assert "by vbpi-mix, the 1 most probable, weighted" in text
    assert re.findall(r"tree_\d", text) == ["tree_1"]


def test_each_of_the_two_trees_has_its_own_remark():
    made = exported()
    tree = made.answer.consensus(TAXA)
    one, two = (KnownTree(Rooted(tree, remark), {}, "[&R]") for remark in ("first", "second"))
    assert _comments(made, one, two) == (f"{COMMENTS[0]}. first", f"{COMMENTS[1]}. second")
    assert _comments(made, replace(one, rooted=Rooted(tree)), two) == (COMMENTS[0], f"{COMMENTS[1]}. second")
