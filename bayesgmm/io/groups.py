"""Groups of predictors from files: GMT, one group a line, or tables of two columns, one membership a line."""

from __future__ import annotations

import gzip
from collections.abc import Collection, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from bayesgmm.errors import InputError

_MEMBERS = ("predictor", "variant", "variant_id", "rsid", "snp", "marker", "id")
_GROUPS = ("group", "gene", "gene_id", "pathway", "set", "annotation")


def read_groups(
    path: str | PathLike[str],
    *,
    predictors: Collection[str] | None = None,
    through: Mapping[str, Sequence[str]] | str | PathLike[str] | None = None,
) -> dict[str, list[str]]:
    r"""Read groups of predictors.

    Parameters
    ----------
    path : path
        ``.gmt``: lines of group, description and members, separated by tabs (MSigDB's format). Else a table of two
        columns, separated by tabs, commas or blanks, one membership a line: predictor and group, in this order unless
        a header says otherwise (``variant``, ``snp``, ``rsid``, ``predictor``; ``gene``, ``pathway``, ``group``, ...).
        Lines that begin with ``#`` are left out; ``.gz`` may follow.
    predictors : collection of str, optional
        Keep these only, and the groups that have any: the predictors of a model.
    through : mapping or path, optional
        Where the members are themselves groups, as pathways are of genes: which predictors each of them stands for. A
        member that it does not have stands for none.

    Returns
    -------
    dict
        Predictors of each group, in the file's order, each once.

    Raises
    ------
    InputError
        If the file cannot be read so; the message names file and line.

    Examples
    --------
    >>> import pathlib, tempfile, bayesgmm as bg
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "genes.tsv").write_text("variant\tgene\nrs1\tAPOE\nrs2\tAPOE\nrs3\tLDLR\n")
    >>> _ = (folder / "pathways.gmt").write_text("lipids\t-\tAPOE\tLDLR\nclearance\t-\tLDLR\n")
    >>> bg.read_groups(folder / "genes.tsv")
    {'APOE': ['rs1', 'rs2'], 'LDLR': ['rs3']}
    >>> bg.read_groups(folder / "pathways.gmt", through=folder / "genes.tsv")
    {'lipids': ['rs1', 'rs2', 'rs3'], 'clearance': ['rs3']}
    """
    source = Path(path)
    if not source.exists():
        raise InputError(f"cannot read {source}: there is no such file")
    if source.is_dir():
        raise InputError(f"cannot read {source}: it is a folder; give the path of a file of groups")
    is_gmt = ".gmt" in (source.suffix, Path(source.stem).suffix)
    try:
        found = _of_gmt(source) if is_gmt else _of_pairs(source)
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise InputError(f"cannot read {source} as text: {error}") from error
    if not found:
        raise InputError(
            f"{source} holds no groups; expected {'a group' if is_gmt else 'a predictor and a group'} a line"
        )
    if through is not None:
        smaller = through if isinstance(through, Mapping) else read_groups(through)
        found = {name: [m for part in parts for m in smaller.get(part, ())] for name, parts in found.items()}
    if predictors is not None:
        found = {name: [m for m in members if m in predictors] for name, members in found.items()}
    found = {name: list(dict.fromkeys(members)) for name, members in found.items()}
    kept = {name: members for name, members in found.items() if members}
    if not kept:
        raise InputError(f"{source}: no group has a predictor left; are the names those of the model's predictors?")
    return kept


def _lines(source: Path) -> Iterator[tuple[int, str]]:
    opener: Any = gzip.open if source.suffix == ".gz" else open
    with opener(source, "rt", encoding="utf-8-sig") as handle:
        for number, line in enumerate(handle, 1):
            text = line.rstrip("\r\n")
            if text.strip() and not text.startswith("#"):
                yield number, text


def _of_gmt(source: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for number, line in _lines(source):
        name, *rest = (field.strip() for field in line.split("\t"))
        members = [m for m in rest[1:] if m]
        if not name or not members:
            raise InputError(
                f"{source}, line {number}: {line[:60]!r} is no line of a GMT file; expected a group, a description and "
                "at least one member, separated by tabs"
            )
        if name in found:
            raise InputError(f"{source}, line {number}: the group {name!r} was on an earlier line")
        found[name] = members
    return found


def _of_pairs(source: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    separator, turned, first = None, False, True
    for number, line in _lines(source):
        if first:
            separator = next((s for s in ("\t", ",", ";") if s in line), None)
        fields = [field.strip() for field in line.split(separator)]
        if len(fields) != 2 or not all(fields):
            raise InputError(
                f"{source}, line {number}: {line[:60]!r} has {len([f for f in fields if f])} fields; expected a "
                "predictor and a group. Files of one group a line must end in .gmt"
            )
        if first:
            first = False
            one, two = (field.lower() for field in fields)
            turned = one in _GROUPS and two in _MEMBERS
            if turned or (one in _MEMBERS and two in _GROUPS):
                continue
        member, group = reversed(fields) if turned else fields
        found.setdefault(group, []).append(member)
    return found
