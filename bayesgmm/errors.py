"""The errors and warnings a person meets: each names the argument, the value, the bound, and what to do."""

from __future__ import annotations

from collections.abc import Iterable


class InputError(ValueError):
    """Input that cannot be used as it is: data, a file, a prior, a formula or a model card."""


class PropernessError(InputError):
    """A prior under which the posterior has no finite integral, so that it cannot be sampled."""


class SingularTraitsError(InputError):
    """Traits whose sample covariance is not positive definite, where a default rests on it."""


class MissingExtraError(ImportError):
    """An optional dependency is not installed; the message says which extra brings it."""


class DataWarning(UserWarning):
    """Data that was used in part or changed: how many, which ones and why."""


class FitWarning(UserWarning):
    """A fit that should be read with care: not converged, degenerate, improper prior."""


def first_few(items: Iterable[object], limit: int = 5) -> str:
    """Return the first offenders as text, e.g. ``'m1', 'm2', 'm3' and 7 more``."""
    listed = [repr(str(item)) for item in items]
    shown = ", ".join(listed[:limit])
    return shown if len(listed) <= limit else f"{shown} and {len(listed) - limit} more"
