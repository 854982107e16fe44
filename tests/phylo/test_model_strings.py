"""Model strings: what each fixes and leaves open, what is refused and how, and what other programs are told."""

import pytest

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.data.alphabets import BINARY, DNA, PROTEIN, standard
from vbpi_mix.phylo.models.matrices import protein_matrices
from vbpi_mix.phylo.models.mrbayes_lines import mrbayes_lines
from vbpi_mix.phylo.models.named import ALIASES, EMPIRICAL, INDEX
from vbpi_mix.phylo.models.parameters import DEFAULT_PRIORS
from vbpi_mix.phylo.models.strings import alphabet_of_model, model_text, parse_model

ALPHABETS = {"dna": DNA, "protein": PROTEIN, "standard": BINARY}


@pytest.mark.parametrize(
    ("text", "canonical", "free"),
    [
        ("jc69", "JC", ()),
        ("JC+F", "F81+F", ()),
        ("F81", "F81", ("frequencies",)),
        ("K2P+I", "K80+I", ("kappa", "pinvar")),
        ("HKY85+G", "HKY+G4", ("kappa", "frequencies", "alpha")),
        ("HKY{2.5}+F{0.31,0.19,0.22,0.28}+G6{.45}+I{0.2}", "HKY{2.5}+F{0.31,0.19,0.22,0.28}+I{0.2}+G6{0.45}", ()),
        ("GTR+FQ", "SYM", ("rates",)),
        ("SYM+FO+I+G4", "GTR+I+G4", ("rates", "frequencies", "alpha", "pinvar")),
        ("GTR{2,4,6,8,10,2}+F", "GTR{1,2,3,4,5}+F", ()),
        ("GTR{1/2/3/4/5}+F", "GTR{1,2,3,4,5}+F", ()),
        ("010010", "HKY", ("kappa", "frequencies")),
        ("232343+FQ", "232343+FQ", ("rates",)),
        ("TrNef", "TNe", ("rates",)),
        ("K3Puf+F", "K81u+F", ("rates",)),
        ("TIM2", "TIM2", ("rates", "frequencies")),
        ("TVM+FE+G", "TVMe+G4", ("rates", "alpha")),
    ],
)
def test_models_of_nucleotides(text, canonical, free):
    spec = parse_model(text, DNA)
    assert (spec.text, spec.free) == (canonical, free)
    assert parse_model(canonical, DNA) == spec
    assert parse_model(model_text(spec, explicit=True), DNA) == spec


@pytest.mark.parametrize(
    ("text", "alphabet", "canonical", "free"),
    [
        ("lg+i+g", PROTEIN, "LG+I+G4", ("alpha", "pinvar")),
        ("JTT+F", PROTEIN, "JTT+F", ()),
        ("WAG+FO", PROTEIN, "WAG+FO", ("frequencies",)),
        ("Poisson", PROTEIN, "Poisson", ()),
        ("GTR20", PROTEIN, "GTR20", ("rates", "frequencies")),
        ("MK+ASC+G", standard("0123"), "MK+G4+ASC", ("alpha",)),
        ("ORDERED", standard("012"), "ORDERED", ()),
        ("JC2", BINARY, "JC2", ()),
        ("GTR2+ASC_LEWIS", BINARY, "GTR2+ASC", ("frequencies",)),
    ],
)
def test_models_of_other_characters(text, alphabet, canonical, free):
    spec = parse_model(text, alphabet)
    assert (spec.text, spec.free) == (canonical, free)
    assert parse_model(canonical, alphabet) == spec


def test_classes_of_rates_end_with_that_of_the_last_pair():
    assert parse_model("HKY", DNA).classes == (1, 0, 1, 1, 0, 1)
    assert parse_model("TIM2{2,3,4}", DNA).classes == (0, 1, 0, 3, 2, 3)
    assert parse_model("TIM2{2,3,4}", DNA).exchangeabilities == (2, 3, 4, 1)
    ordered = parse_model("ORDERED", standard("0123"))
    assert [ordered.exchangeabilities[c] for c in ordered.classes] == [1, 0, 0, 1, 0, 1]


def test_every_name_is_a_model_of_its_alphabet_and_of_no_other():
    for word, (kind, name) in INDEX.items():
        spec = parse_model(word, ALPHABETS[kind])
        assert spec.alphabet == kind == alphabet_of_model(word.lower() + "+G")
        assert word in (name.upper(), *(alias.upper() for alias in ALIASES))
        for other in set(ALPHABETS) - {kind}:
            with pytest.raises(ConfigError, match="the characters are"):
                parse_model(word, ALPHABETS[other])
    assert alphabet_of_model("GRT") is None


def test_every_matrix_has_all_its_figures():
    assert set(protein_matrices()) == set(EMPIRICAL)
    for matrix in protein_matrices().values():
        assert (len(matrix.exchangeabilities), len(matrix.frequencies)) == (190, 20)
        assert sum(matrix.frequencies) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    ("text", "alphabet", "words"),
    [
        ("GRT+G", DNA, "the nearest is GTR"),
        ("WGA", PROTEIN, "the nearest is WAG"),
        ("qqqq", DNA, "no model is called qqqq"),
        ("GTR+R4", DNA, r"\+R4 is not here \(free rates of sites\)"),
        ("LG4X", PROTEIN, "mixtures of matrices"),
        ("C20+F", PROTEIN, "mixtures of matrices"),
        ("GTR*H4", DNA, "heterotachy"),
        ("MFP", DNA, "the choice of a model"),
        ("GY", DNA, "codon models"),
        ("mtZOA", PROTEIN, "this protein matrix"),
        ("JC2", standard("012"), "is for two states"),
        ("GTR+G4+G4", DNA, "says again"),
        ("GTR+F+FQ", DNA, "says again"),
        ("GTR+G1", DNA, "categories are 2 to"),
        ("GTR+G4{0}", DNA, "one number from"),
        ("GTR+I{1}", DNA, "one number from"),
        ("GTR+I{0.1,0.2}", DNA, "one number from"),
        ("HKY{1,2,3}", DNA, "takes 1 rates"),
        ("GTR{0,1,1,1,1}", DNA, "rates above 0"),
        ("JC{1}", DNA, "no rates to be given"),
        ("LG{1}", PROTEIN, "no rates to be given"),
        ("GTR+F{0.2,0.2,0.2}", DNA, "4 frequencies"),
        ("GTR+F{0.2,0.2,0.2,0.2}", DNA, "sum to 1"),
        ("GTR+F{a,b,c,d}", DNA, "needs numbers"),
        ("MK+I+ASC", BINARY, "do not go together"),
        ("GTR+Q", DNA, r"what is \+Q\?"),
        ("GTR+G4{0.5", DNA, "NAME or NAME{numbers}"),
        ("", DNA, "NAME or NAME{numbers}"),
    ],
)
def test_what_is_refused(text, alphabet, words):
    with pytest.raises(ConfigError, match=words) as caught:
        parse_model(text, alphabet)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "alphabet", "lines"),
    [
        ("JC", DNA, ("lset applyto=(2) nst=1 rates=equal;", "prset applyto=(2) statefreqpr=fixed(equal);")),
        (
            "HKY+FQ+I+G4",
            DNA,
            (
                "lset applyto=(2) nst=2 rates=invgamma ngammacat=4;",
                "prset applyto=(2) statefreqpr=fixed(equal) tratiopr=beta(1,1) shapepr=exponential(1) "
                "pinvarpr=uniform(0,1);",
            ),
        ),
        (
            "GTR{1,2,3,4,5}+I{0.1}",
            DNA,
            (
                "lset applyto=(2) nst=6 rates=propinv;",
                "prset applyto=(2) statefreqpr=dirichlet(1,1,1,1) revmatpr=fixed(1,2,3,4,5,1) pinvarpr=fixed(0.1);",
            ),
        ),
        (
            "LG+G8{0.5}",
            PROTEIN,
            (
                "lset applyto=(2) rates=gamma ngammacat=8;",
                "prset applyto=(2) aamodelpr=fixed(lg) shapepr=fixed(0.5);",
            ),
        ),
        (
            "MK+ASC",
            BINARY,
            ("lset applyto=(2) coding=variable rates=equal;", "prset applyto=(2) symdirihyperpr=fixed(infinity);"),
        ),
    ],
)
def test_lines_for_mrbayes(text, alphabet, lines):
    assert mrbayes_lines(parse_model(text, alphabet), DEFAULT_PRIORS, 2) == lines
    assert mrbayes_lines(parse_model(text, alphabet), DEFAULT_PRIORS)[0] == lines[0].replace("applyto=(2) ", "")


@pytest.mark.parametrize(
    ("text", "alphabet"),
    [
        ("TIM", DNA), ("K81", DNA), ("LG+F", PROTEIN), ("FLU", PROTEIN), ("GTR2", BINARY), ("JC+ASC", DNA),
        ("ORDERED", standard("012")), ("MK", standard("0123456789A")),
    ],
)
def test_models_that_mrbayes_lacks(text, alphabet):
    with pytest.raises(ConfigError, match="MrBayes"):
        mrbayes_lines(parse_model(text, alphabet), DEFAULT_PRIORS)


@pytest.mark.parametrize(
    ("text", "prior", "words"),
    [
        ("GTR", {"rates": "dirichlet:1,2,3,4,5,6"}, "revmatpr=dirichlet(1,2,3,4,5,6)"),
        ("GTR", {"rates": "dirichlet:2"}, "revmatpr=dirichlet(2,2,2,2,2,2)"),
        ("HKY", {"kappa": "beta:2,3"}, "tratiopr=beta(2,3)"),
        ("F81", {"frequencies": "dirichlet:10,5,5,9"}, "statefreqpr=dirichlet(10,5,5,9)"),
        ("JC+G4", {"alpha": "exp:0.5"}, "shapepr=exponential(0.5)"),
        ("JC+I", {"pinvar": "uniform:0,1"}, "pinvarpr=uniform(0,1)"),
    ],
)
def test_every_prior_is_handed_to_mrbayes(text, prior, words):
    assert words in mrbayes_lines(parse_model(text, DNA), {**DEFAULT_PRIORS, **prior})[1]


@pytest.mark.parametrize(("name", "prior"), [("alpha", "gamma:2,1"), ("pinvar", "beta:1,2")])
def test_priors_that_mrbayes_lacks(name, prior):
    with pytest.raises(ConfigError, match="MrBayes has"):
        mrbayes_lines(parse_model("JC+I+G4", DNA), {**DEFAULT_PRIORS, name: prior})
