"""Which allele two tables count: the same, the other one, or one that cannot be told from the letters."""

from __future__ import annotations

from dataclasses import dataclass

_UNKNOWN = ("", "0", ".", "NA", "NAN", "#NA", "N/A", "NONE", "-")
_COMPLEMENT = str.maketrans("ACGT", "TGCA")
_CONTIGS = {"23": "X", "24": "Y", "25": "MT", "26": "MT", "M": "MT", "XY": "X", "PAR1": "X", "PAR2": "X"}


@dataclass(frozen=True)
class Alignment:
    """How a row's effect allele stands to a study's.

    Attributes
    ----------
    fits : bool
        Whether the two name the same pair of alleles, on either strand.
    flipped : bool
        Whether the row counts the study's other allele, so that its effect changes sign.
    other_strand : bool
        Whether the row names the alleles of the complementary strand.
    ambiguous : bool
        Whether the pair is its own complement (A/T, C/G): the letters do not say which strand is meant, so neither
        whether the row is flipped.
    """

    fits: bool
    flipped: bool = False
    other_strand: bool = False
    ambiguous: bool = False


def clean_allele(allele: object) -> str:
    """An allele in capitals; empty where it is not known."""
    text = str(allele).strip().upper()
    return "" if text in _UNKNOWN else text


def complement(allele: str) -> str:
    """The allele on the other strand, read in its direction; empty when it is not written in A, C, G and T."""
    if not allele or set(allele) - set("ACGT"):
        return ""
    return allele.translate(_COMPLEMENT)[::-1]


def align(effect: str, other: str, study_effect: str, study_other: str) -> Alignment:
    """Alignment of a row that counts ``effect`` against ``other`` to a study that counts ``study_effect``.

    Alleles are those of :func:`clean_allele`. One of the two pairs may lack an allele: PLINK 1.9 does not write the
    other one. The effect alleles must be known.
    """
    pairs = [(a, b) for a, b in ((effect, other), (study_effect, study_other)) if a and b]
    if not (effect and study_effect and pairs):
        return Alignment(False)
    ambiguous = any(complement(a) == b for a, b in pairs)
    for other_strand in (False, True):
        a, b = (complement(effect), complement(other)) if other_strand else (effect, other)
        if other_strand and not a:
            break
        if a == study_effect and (b == study_other or not other or not study_other):
            return Alignment(True, False, other_strand, ambiguous)
        if (a == study_other and (b == study_effect or not other)) or (b == study_effect and not study_other):
            return Alignment(True, True, other_strand, ambiguous)
    return Alignment(False)


def contig_name(contig: object) -> str:
    """A chromosome under one name: ``chr1``, ``01`` and ``1`` are 1; 23 is X, 24 Y, 25 (GWAS-SSF) and 26 (PLINK) MT."""
    text = str(contig).strip().upper().removeprefix("CHROM").removeprefix("CHR").removesuffix(".0")
    text = text.lstrip("0") or text
    return _CONTIGS.get(text, text)
