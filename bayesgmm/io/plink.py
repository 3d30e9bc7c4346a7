"""PLINK 1 binary genotypes (.bed, .bim, .fam), read by bed-reader, the variants asked for only."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd

from bayesgmm.errors import InputError, MissingExtraError, first_few

_MAGIC = b"\x6c\x1b\x01"  # PLINK 1, variants in rows
_CELLS_LIMIT = 200_000_000  # genotypes read without being named: 1.6 GB of dosages


def read_plink(path: str | PathLike[str], variants: Sequence[str] | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Dosages of the effect allele (PLINK's A1, the fifth column of the .bim) and what is known of the variants.

    Parameters
    ----------
    path : path
        The ``.bed``; ``.bim`` and ``.fam`` lie beside it.
    variants : sequence of str, optional
        Ids to read. None: all, up to 2e8 genotypes.

    Returns
    -------
    dosages : pandas.DataFrame
        Indexed by sample id (IID), one column a variant, NaN where missing.
    about : pandas.DataFrame
        Indexed by variant: contig, position (base pairs, NaN when unplaced), effect_allele, other_allele.

    Raises
    ------
    InputError
        If a file is absent, truncated, of another kind, or does not match the others.
    """
    bed = Path(path)
    about, samples = _read_bim(bed.with_suffix(".bim")), _read_fam(bed.with_suffix(".fam"))
    check_bed(bed, len(samples), len(about))
    columns = _columns(about, variants, len(samples), bed)
    try:
        from bed_reader import open_bed
    except ImportError as error:
        raise MissingExtraError("PLINK files need the extra: pip install 'bayesgmm[plink]'") from error
    with open_bed(bed, iid_count=len(samples), sid_count=len(about), num_threads=1) as handle:
        values = handle.read(index=np.s_[:, columns], dtype="float64")
    chosen = about.iloc[columns]
    return pd.DataFrame(values, index=pd.Index(samples, name="sample"), columns=list(chosen.index)), chosen


def check_bed(bed: Path, n_samples: int, n_variants: int) -> None:
    """Compare magic number and size of a .bed with its .fam and .bim before anything is read from it."""
    if not bed.exists():
        raise InputError(f"cannot read {bed}: there is no such file")
    if bed.is_dir():
        raise InputError(f"cannot read {bed}: it is a folder; give the path of a .bed")
    with bed.open("rb") as handle:
        magic = handle.read(3)
    if magic != _MAGIC:
        raise InputError(
            f"{bed}: bytes 0 to 2 are {magic.hex(' ') or '(nothing)'}, not {_MAGIC.hex(' ')}; it is not a PLINK 1 "
            "variant-major .bed"
        )
    expected, found = 3 + n_variants * ((n_samples + 3) // 4), bed.stat().st_size
    if expected != found:
        raise InputError(
            f"{bed} has {found} bytes; {n_variants} variants of {bed.with_suffix('.bim').name} and {n_samples} people "
            f"of {bed.with_suffix('.fam').name} make {expected}; the file is "
            f"{'truncated' if found < expected else 'too long'} or the three do not belong together"
        )


def _columns(about: pd.DataFrame, variants: Sequence[str] | None, n_samples: int, bed: Path) -> list[int]:
    if variants is None:
        if len(about) * n_samples > _CELLS_LIMIT:
            raise InputError(
                f"{bed} holds {len(about)} variants of {n_samples} people, too many to read at once; name those you "
                "need with variants=[...]"
            )
        if about.index.has_duplicates:
            raise InputError(f"{bed}: duplicated variants {first_few(about.index[about.index.duplicated()].unique())}")
        return list(range(len(about)))
    columns = []
    for variant in variants:
        found = np.flatnonzero(about.index == variant)
        if len(found) == 0:
            near = difflib.get_close_matches(variant, list(about.index), 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError(f"variant {variant!r} is not in {bed.with_suffix('.bim')}{hint}")
        if len(found) > 1:
            raise InputError(f"variant {variant!r} stands {len(found)} times in {bed.with_suffix('.bim')}")
        columns.append(int(found[0]))
    return columns


def _read_bim(path: Path) -> pd.DataFrame:
    names = ["contig", "variant", "morgans", "position", "effect_allele", "other_allele"]
    frame = _read_columns(path, names).set_index("variant")
    position = pd.to_numeric(frame["position"], errors="coerce")
    frame["position"] = position.where(position > 0)
    return frame[["contig", "position", "effect_allele", "other_allele"]]


def _read_fam(path: Path) -> list[str]:
    samples = _read_columns(path, ["family", "sample", "father", "mother", "sex", "phenotype"])["sample"]
    if samples.duplicated().any():
        raise InputError(f"{path}: duplicated sample ids {first_few(samples[samples.duplicated()].unique())}")
    return list(samples)


def _read_columns(path: Path, names: list[str]) -> pd.DataFrame:
    if not path.exists():
        raise InputError(f"cannot read {path}: there is no such file; .bed, .bim and .fam must lie together")
    frame = pd.read_csv(path, sep=r"\s+", header=None, dtype=str, keep_default_na=False)
    if frame.shape[1] != len(names):
        raise InputError(f"{path} has {frame.shape[1]} columns; expected {len(names)}: {', '.join(names)}")
    return frame.set_axis(names, axis=1)
