"""Every refusal is one line with exit status 2, and leaves nothing behind."""

import pytest
import torch
import yaml


def files(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture
def untouched(six):
    """Nothing may be written beside what the test itself made."""
    yield six
    assert not [p for p in six.iterdir() if p.name.startswith(".") or p.name.endswith(".vbpi")]


def fit(run, *options, alignment="six.nex", trees="all.ufboot"):
    return run("fit", alignment, "--trees", trees, "--iterations", 2, "--threads", 1, "--quiet", *options)


def fasta(path, **sequences):
    path.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in sequences.items()))


def test_missing_file(run, untouched):
    assert "nowhere/x.nex" in fit(run, alignment="nowhere/x.nex").error_line()


def test_unknown_name(run, untouched):
    assert "mine.nex" in fit(run, alignment="mine.nex").error_line()


def test_empty_file(run, untouched):
    (untouched / "x.nex").write_text("")
    assert "x.nex" in fit(run, alignment="x.nex").error_line()


def test_no_alignment(run, untouched):
    (untouched / "x.nex").write_text("Dear reader,\nthis is a letter.\n")
    assert "x.nex" in fit(run, alignment="x.nex").error_line()


def test_unequal_lengths(run, untouched):
    fasta(untouched / "x.fasta", a="ACGT", b="ACG", c="ACGT", d="ACGT")
    assert "'b' has 3" in fit(run, alignment="x.fasta").error_line()


def test_duplicate_taxon(run, untouched):
    (untouched / "x.fasta").write_text(">a\nAC\n>b\nAC\n>a\nAC\n>d\nAC\n")
    line = fit(run, alignment="x.fasta").error_line()
    assert "a" in line
    assert "twice" in line or "duplicate" in line.lower()


def test_three_taxa(run, untouched):
    fasta(untouched / "x.fasta", a="ACGT", b="ACGT", c="ACGT")
    assert "4" in fit(run, alignment="x.fasta").error_line()


def test_no_nucleotide(run, untouched):
    fasta(untouched / "x.fasta", a="ACGT", b="ACET", c="ACGT", d="ACGT")
    line = fit(run, alignment="x.fasta").error_line()
    assert "b" in line
    assert "3" in line
    assert "E" in line


def test_taxa_that_differ(run, untouched):
    text = (untouched / "all.ufboot").read_text().replace("t03", "other")
    (untouched / "x.ufboot").write_text(text)
    line = fit(run, trees="x.ufboot").error_line()
    assert "other" in line
    assert "x.ufboot" in line


def test_a_tree_cut_short_among_others(run, untouched):
    """The last one may be cut short, by a program that was stopped; no other."""
    lines = (untouched / "all.ufboot").read_text().splitlines()
    (untouched / "x.ufboot").write_text("\n".join([*lines[:4], lines[4][:20], *lines[5:7]]) + "\n")
    assert "tree 5" in fit(run, trees="x.ufboot").error_line()


def test_no_tree_sample_matches(run, untouched):
    assert "nothing/*" in fit(run, trees="nothing/*").error_line()


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--A", 2, "--S", 3), "S=3"),
        (("--A", 0), "error: --A must be a whole number of at least 1, not 0"),
        (("--A", 2, "--S", 1, "--estimator", "a2a"), "a2a"),
        (("--K", 0), "error: --K must be a whole number of at least 1, not 0"),
        (("--hpd", 1.5), "hpd"),
        (("--burn-in", 1.5), "burn_in"),
        (("--seconds", -1), "seconds"),
        (("--seed", -1), "seed"),
    ],
)
def test_options_that_do_not_fit(run, untouched, options, part):
    assert part.lower() in fit(run, *options).error_line().lower()


def test_unknown_option_is_shown_with_usage(run, untouched):
    outcome = fit(run, "--componets", 3)
    assert outcome.status == 2
    assert "--componets" in outcome.err


def test_existing_run_is_kept_without_force(run, six):
    assert fit(run).status == 0
    before = (six / "six.vbpi" / "summary.json").read_bytes()
    assert "--force" in fit(run).error_line()
    assert (six / "six.vbpi" / "summary.json").read_bytes() == before
    assert fit(run, "--force", "--A", 1).status == 0
    assert yaml.safe_load((six / "six.vbpi" / "config.yaml").read_text())["model"]["A"] == 1


def test_a_failing_start_with_force_keeps_the_old_run(run, six):
    assert fit(run).status == 0
    before = (six / "six.vbpi" / "checkpoint.pt").read_bytes()
    fit(run, "--force", trees="missing.ufboot").error_line()
    assert (six / "six.vbpi" / "checkpoint.pt").read_bytes() == before


def test_folder_that_is_no_run_is_never_removed(run, six):
    (six / "six.vbpi").mkdir()
    (six / "six.vbpi" / "thesis.txt").write_text("all of it")
    assert "not a run" in fit(run, "--force").error_line()
    assert (six / "six.vbpi" / "thesis.txt").read_text() == "all of it"


def test_corrupt_and_foreign_checkpoints(run, six):
    assert fit(run).status == 0
    place = six / "six.vbpi" / "checkpoint.pt"
    whole = place.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"not a checkpoint"):
        place.write_bytes(content)
        for arguments in (("eval", "six.vbpi", "--quiet"), ("fit", "--resume", "six.vbpi", "--quiet")):
            assert "checkpoint.pt" in run(*arguments).error_line()
    torch.save({"model": torch.zeros(3)}, place)
    assert "not a vbpi-mix checkpoint" in run("eval", "six.vbpi", "--quiet").error_line()


def test_eval_without_a_run(run, untouched):
    assert "no run" in run("eval").error_line()


def test_resume_takes_no_other_options(run, six):
    outcome = run("fit", "six.nex", "--resume", "six.vbpi")
    assert outcome.status == 2
    assert "--resume" in outcome.err


def test_loglik_needs_branch_lengths(run, six):
    assert "branch lengths" in run("loglik", "six.nex", "all.ufboot").error_line()


def test_loglik_says_which_numbers_are_lacking(run, six):
    line = run("loglik", "six.nex", "six.nwk.txt", "--model", "HKY+F+I+G4").error_line()
    assert "kappa, alpha, pinvar" in line
    assert "HKY{2.5}, +G4{0.5}, +I{0.1}" in line
    for model, words in (("LG", "LG is for amino acids"), ("GTR+R4", "free rates of sites"), ("JC70", "nearest is JC")):
        assert words in run("loglik", "six.nex", "six.nwk.txt", "--model", model).error_line()


def test_loglik_takes_characters_of_one_kind(run, six):
    text = (six / "six.nex").read_text().replace("datatype=dna", "datatype=mixed(dna:1-60,dna:61-120)")
    (six / "one.nex").write_text(text)
    assert run("loglik", "one.nex", "six.nwk.txt").out == run("loglik", "six.nex", "six.nwk.txt").out
    rows = "\n".join(f"t0{k} AC{k % 2}" for k in range(1, 7))
    form = "dimensions ntax=6 nchar=3; format datatype=mixed(dna:1-2,standard:3)"
    (six / "two.nex").write_text(f"#NEXUS\nbegin data; {form}; matrix\n{rows}\n; end;\n")
    assert "several kinds of characters, and `loglik` takes one model" in run("loglik", "two.nex", "six.nwk.txt").error_line()


def test_loglik_says_what_the_file_leaves_out(run, six):
    text = (six / "six.nex").read_text()
    (six / "few.nex").write_text(text + "begin mrbayes;\nexclud 1-3;\nend;\n")
    few, whole = run("loglik", "few.nex", "six.nwk.txt"), run("loglik", "six.nex", "six.nwk.txt")
    assert few.err.splitlines() == ["few.nex: 6 taxa, 120 sites (3 excluded)"]
    assert whole.err == ""
    rows = "".join(f"{row[:3]}  {row[8:]}\n" for row in text.split("\n") if row.startswith("t0"))
    (six / "cut.nex").write_text(f"#NEXUS\nbegin data;\ndimensions nchar=117;\nformat datatype=dna;\nmatrix\n{rows};\nend;\n")
    assert few.out == run("loglik", "cut.nex", "six.nwk.txt").out != whole.out
    more = text.replace("ntax=6", "ntax=7").replace("matrix\n", f"matrix\nx {'?' * 120}\n")
    (six / "more.nex").write_text(more + "begin paup; del x; end;")
    more = run("loglik", "more.nex", "six.nwk.txt")
    assert more.err.splitlines() == ["more.nex: 6 taxa (1 deleted), 120 sites"]
    assert more.out == whole.out


def test_loglik_takes_the_kind_of_characters(run, six):
    """A, C, G and T that are states of discrete characters."""
    (six / "x.fasta").write_text("".join(f">t0{k}\n{'01'[k % 2]}A\n" for k in range(1, 7)))
    assert "is not a nucleotide" in run("loglik", "x.fasta", "six.nwk.txt", "--model", "MK", "--type", "dna").error_line()
    assert float(run("loglik", "x.fasta", "six.nwk.txt", "--model", "MK", "--type", "standard").out) < 0


def test_simulate_overwrites_nothing(run, six):
    assert run("simulate", "--out", "s.nex").status == 0
    before = (six / "s.nex").read_bytes()
    assert "--force" in run("simulate", "--out", "s.nex", "--seed", 2).error_line()
    assert (six / "s.nex").read_bytes() == before
    assert "at least 4" in run("simulate", "--taxa", 3, "--out", "t.nex").error_line()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--constraint", "(t01,t9)"), "taxon 't9' is not in the alignment"),
        (("--constraint", "(t01,t02)", "--constraint", "(t02,t03)"), "contradict each other"),
        (("--constraint", "t01,t02,t03,t04,t05"), "has 5 of 6 taxa"),
        (("--constraint", "absent.txt"), "cannot be read"),
        (("--fix-topology", "absent.nwk"), "no such file"),
        (("--prior-lengths", "gamma:1"), "is no density"),
        (("--prior-lengths", "exp:0"), "is no density"),
    ],
)
def test_priors_that_cannot_be(run, untouched, options, message):
    assert message in fit(run, *options).error_line()
