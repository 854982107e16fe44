"""Models by the names that people call them: what each name fixes, its other names, and names of what is not here.

Standard library only: a command line checks names before anything heavy is imported.
"""

from __future__ import annotations

import re

# Of nucleotides: which of the rates AC, AG, AT, CG, CT, GT are equal, and the names with equal and with free frequencies.
NUCLEOTIDE = {
    "000000": ("JC", "F81"),
    "010010": ("K80", "HKY"),
    "010020": ("TNe", "TN"),
    "012210": ("K81", "K81u"),
    "010212": ("TPM2", "TPM2u"),
    "012012": ("TPM3", "TPM3u"),
    "012230": ("TIMe", "TIM"),
    "010232": ("TIM2e", "TIM2"),
    "012032": ("TIM3e", "TIM3"),
    "012314": ("TVMe", "TVM"),
    "012345": ("SYM", "GTR"),
}
EMPIRICAL = (
    "LG", "WAG", "JTT", "Dayhoff", "DCMut", "VT", "Blosum62", "cpREV", "mtREV", "mtMAM", "mtART", "rtREV", "HIVb", "HIVw",
    "FLU",
)  # fmt: skip
PROTEIN = (*EMPIRICAL, "Poisson", "GTR20")
STANDARD = ("MK", "ORDERED", "JC2", "GTR2")

ALIASES = {
    "JC69": "JC", "K2P": "K80", "HKY85": "HKY", "TN93": "TN", "TrN": "TN", "TN93ef": "TNe", "TrNe": "TNe", "TrNef": "TNe",
    "K3P": "K81", "K3ST": "K81", "TPM1": "K81", "K3Pu": "K81u", "K81uf": "K81u", "K3Puf": "K81u", "TPM1u": "K81u",
    "TPM1uf": "K81u", "TPM2uf": "TPM2u", "TPM3uf": "TPM3u", "TIM1": "TIM", "TIM1e": "TIMe", "TIMef": "TIMe", "TIM1uf": "TIM",
    "TIM2ef": "TIM2e", "TIM2uf": "TIM2", "TIM3ef": "TIM3e", "TIM3uf": "TIM3", "TVMef": "TVMe",
    "PAM": "Dayhoff", "JONES": "JTT", "BIN": "GTR2",
}  # fmt: skip

# Names that other programs have, as patterns, and what they are.
ABSENT = {
    r"R\d*": "free rates of sites",
    r"\*?H\d*|.*\*H?.*": "heterotachy",
    r"LG4[MX]|C[1-6]0|CF4|EX[23]|EHO|UL[23]|EX_EHO|MIX|FMIX": "mixtures of matrices",
    r"JTTDCMut|PMB|mtZOA|mtMet|mtVer|mtInv|gcpREV|stmtREV|N?Q\..*|AB|NONREV": "this protein matrix",
    r"GTRX|MULTI\d*_.*": "free rates of unordered characters",
    r"UNREST|STRSYM|(RY|WS|MK)?\d+\.\d+[ABC]?": "models that are not reversible",
    r"GY.*|MG.*|ECM.*|KOSI07|SCHN05|F[13]X4": "codon models",
    r"T|P|N\d*|E|GT16.*|GT10.*|.*POMO.*": "polymorphism and sequencing errors",
    r"M|MF|MFP|TEST|TESTNEW|TESTONLY|TESTMERGE|MF\+MERGE|AUTO": "the choice of a model",
    r"GC?\d*A|GA|G\d+A": "gamma categories by their median",
    r"ASC_FELS|ASC_STAM": "this correction of ascertainment",
}


def absent(name: str) -> str | None:
    """What a name of another program stands for that is not here; None if it is not such a name."""
    return next((what for pattern, what in ABSENT.items() if re.fullmatch(pattern, name, re.IGNORECASE)), None)


def _index() -> dict[str, tuple[str, str]]:
    """Every name in capitals -> its alphabet and the name it has here."""
    found = {name.upper(): ("dna", name) for pair in NUCLEOTIDE.values() for name in pair}
    found |= {name.upper(): ("protein", name) for name in PROTEIN} | {name.upper(): ("standard", name) for name in STANDARD}
    return found | {alias.upper(): found[name.upper()] for alias, name in ALIASES.items()}


INDEX = _index()
