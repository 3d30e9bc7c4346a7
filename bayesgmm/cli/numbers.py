"""Numbers of components as people write them on the command line."""

from __future__ import annotations

from bayesgmm.errors import InputError


def numbers_of_components(given: str | None) -> list[int]:
    """Numbers of components from the command line: ``1:6``, both ends, or ``1,2,4``; none where nothing is given."""
    try:
        if given is None:
            return []
        first, colon, last = given.partition(":")
        numbers = list(range(int(first), int(last) + 1)) if colon else [int(k) for k in given.split(",")]
    except ValueError:
        numbers = []
    if not numbers:
        raise InputError(f"--components {given!r}; write a range as 1:6, both ends, or a list as 1,2,4")
    return numbers


def noises(given: str | None) -> list[bool | float]:
    """Without, with, or the volume of its box: ``no,yes`` or ``no,120.5``; none where nothing is given."""
    known = {"no": False, "yes": True}
    try:
        return [known[each] if each in known else float(each) for each in (given or "").split(",") if each]
    except ValueError:
        raise InputError(f"--noise {given!r}; write no, yes, or the volume of its box, as no,yes") from None


def tails(given: str | None) -> list[float | str | None]:
    """Degrees of freedom: ``gaussian,each,shared,5``; none where nothing is given."""
    known = {"gaussian": None, "each": "each", "shared": "shared"}
    try:
        return [known[each] if each in known else float(each) for each in (given or "").split(",") if each]
    except ValueError:
        raise InputError(f"--df {given!r}; write gaussian, each, shared or numbers, as gaussian,shared") from None
