"""The errors and warnings a person meets: each names the argument, the value, the bound, and what to do."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_ALIKE = 0.65  # share of letters in common from which a name is taken for a misspelling
_PACKAGE = str(Path(__file__).parent)


class InputError(ValueError):
    """Input that cannot be used as it is: data, a file, a prior, a formula or a model card."""


class PropernessError(InputError):
    """A prior under which the posterior has no finite integral, so that it cannot be sampled."""


class SingularTraitsError(InputError):
    """Traits whose sample covariance is not positive definite, where a default rests on it."""


class MissingExtraError(ImportError):
    """An optional dependency is not installed; the message says which extra brings it."""


class Interrupted(KeyboardInterrupt):
    """Long work was interrupted (Ctrl-C), and what was done by then is kept.

    It is a ``KeyboardInterrupt``, so that whatever else was to run does not. After one in a notebook or at the prompt,
    the result is ``sys.last_value.partial``.

    Attributes
    ----------
    partial : object
        The result, as far as it goes.
    """

    def __init__(self, message: str, partial: Any) -> None:
        super().__init__(message)
        self.partial = partial


class DataWarning(UserWarning):
    """Data that was used in part or changed: how many, which ones and why."""


class FitWarning(UserWarning):
    """A fit that should be read with care: not converged, degenerate, improper prior."""


class SlowWarning(UserWarning):
    """Work that will take long: what, about how long, and how to ask for less."""


def first_few(items: Iterable[object], limit: int = 5) -> str:
    """Return the first offenders as text, e.g. ``'m1', 'm2', 'm3' and 7 more``."""
    listed = [repr(str(item)) for item in items]
    shown = ", ".join(listed[:limit])
    return shown if len(listed) <= limit else f"{shown} and {len(listed) - limit} more"


def nearest(name: str, known: Iterable[object]) -> str:
    """Return what to say of a name that is not known, e.g. ``"did you mean 'rs1'?"``, or else which names are.

    Capitals are as small letters. Ids that have little but ``rs`` in common are different ids: ``rs9`` is not meant to
    be ``rs303``.
    """
    every = [str(item) for item in known]
    near = difflib.get_close_matches(name.lower(), [item.lower() for item in every], 1, cutoff=_ALIKE)
    if near:
        return f"did you mean {next(item for item in every if item.lower() == near[0])!r}?"
    return f"known are {first_few(every, 8)}" if every else "there are none"


def warn(message: str, category: type[Warning]) -> None:
    """Warn, pointing to the line outside this package from which it was called, however deep the call."""
    warnings.warn(message, category, skip_file_prefixes=(_PACKAGE,))
