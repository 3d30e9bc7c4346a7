"""Formats of summary statistics, told by their headers: one entry a format, and what its columns hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# what a column holds -> names that say so by themselves: GWAS-SSF's, and those of a study's own variants
PLAIN = {
    "id": ("rsid", "id", "variant", "snp", "variant_id"),
    "second_id": ("variant_id",),
    "contig": ("chromosome", "contig"),
    "position": ("base_pair_location", "position"),
    "effect_allele": ("effect_allele",),
    "other_allele": ("other_allele",),
    "effect_allele_frequency": ("effect_allele_frequency",),
    "beta": ("beta",),
    "odds_ratio": ("odds_ratio",),
    "standard_error": ("standard_error",),
    "p_value": ("p_value",),
    "minus_log10_p": ("neg_log_10_p_value",),
    "ci_lower": ("ci_lower",),
    "ci_upper": ("ci_upper",),
}
FIELDS = (*PLAIN, "reference_allele", "alternate_allele", "test", "error_code")


@dataclass(frozen=True)
class Format:
    """A format by its header, letter case aside.

    Attributes
    ----------
    name : str
    signature : tuple of str
        Columns that tell it; ``"beta|or"`` means one of them.
    columns : mapping
        Field to the columns that may hold it, the preferred first.
    """

    name: str
    signature: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]

    def knows(self, header: Mapping[str, str]) -> bool:
        """Whether a header (by lower case) has the signature."""
        return all(any(name in header for name in group.split("|")) for group in self.signature)


FORMATS = (
    Format(
        "PLINK 2 .glm",
        ("id", "a1", "test", "beta|or"),
        {
            "id": ("id",),
            "contig": ("#chrom", "chrom"),
            "position": ("pos",),
            "effect_allele": ("a1",),
            "other_allele": ("omitted", "ax"),
            "reference_allele": ("ref",),
            "alternate_allele": ("alt",),
            "effect_allele_frequency": ("a1_freq",),
            "test": ("test",),
            "beta": ("beta",),
            "odds_ratio": ("or",),
            "standard_error": ("log(or)_se", "se"),
            "ci_lower": ("l95",),
            "ci_upper": ("u95",),
            "p_value": ("p",),
            "minus_log10_p": ("log10_p", "neg_log10_p"),
            "error_code": ("errcode",),
        },
    ),
    Format(
        "PLINK 1.9 .assoc",
        ("snp", "a1", "beta|or", "test|stat|chisq"),
        {
            "id": ("snp",),
            "contig": ("chr",),
            "position": ("bp",),
            "effect_allele": ("a1",),
            "other_allele": ("a2",),
            "test": ("test",),
            "beta": ("beta",),
            "odds_ratio": ("or",),
            "standard_error": ("se",),
            "ci_lower": ("l95",),
            "ci_upper": ("u95",),
            "p_value": ("p",),
        },
    ),
    Format(
        "GCTA",  # .ma, .mlma and .fastGWA
        ("snp", "a1", "a2", "b|beta", "se"),
        {
            "id": ("snp",),
            "contig": ("chr",),
            "position": ("bp", "pos"),
            "effect_allele": ("a1",),
            "other_allele": ("a2",),
            "effect_allele_frequency": ("freq", "af1"),
            "beta": ("b", "beta"),
            "standard_error": ("se",),
            "p_value": ("p",),
        },
    ),
    Format(
        "GEMMA .assoc",
        ("rs", "allele1", "allele0", "beta"),
        {
            "id": ("rs",),
            "contig": ("chr",),
            "position": ("ps",),
            "effect_allele": ("allele1",),
            "other_allele": ("allele0",),
            "effect_allele_frequency": ("af",),
            "beta": ("beta",),
            "standard_error": ("se",),
            "p_value": ("p_wald", "p_lrt", "p_score"),
        },
    ),
    Format(
        "REGENIE",
        ("id", "allele0", "allele1", "beta"),
        {
            "id": ("id",),
            "contig": ("chrom",),
            "position": ("genpos",),
            "effect_allele": ("allele1",),
            "other_allele": ("allele0",),
            "effect_allele_frequency": ("a1freq",),
            "test": ("test",),
            "beta": ("beta",),
            "standard_error": ("se",),
            "minus_log10_p": ("log10p",),
        },
    ),
    Format("GWAS-SSF", ("chromosome", "base_pair_location", "effect_allele", "beta|odds_ratio"), PLAIN),
    Format("plain columns", ("rsid|id|variant|snp|variant_id|chromosome|contig", "beta|odds_ratio"), PLAIN),
)
