"""Many starts, few climbs: rounds of EM steps after which the starts that fall behind are left.

What a start will reach is foretold from its last round: EM gains less in every round than in the one before, so a start
that is further below the highest than a few times its last gain is left (a race in the sense of Maron and Moore 1994).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesgmm import names
from bayesgmm.core.objective import MixtureArrays, Parameters
from bayesgmm.inference.em import Climb, SingularComponentError, climb, polish

_ROUNDS = ((4, 8), (8, 4), (16, 2))  # passes of a round, and how many starts are in the next at most
_HOPE = 4.0  # gains of the last round that a start may still be below the highest
_SAME_HILL = 1e-3  # log posterior units within which two starts climb the same hill
_SAME_MODE = 1e-4  # log posterior units within which two starts reached the same mode
_NEAR = 1e-4  # distance to the limit at which the top of a subset is near enough
_BEHIND = "left: behind after some steps"
_COLLAPSED = "a component collapsed on too few people and its covariance is singular"


@dataclass(eq=False)
class Entrant:
    """A start, and where it got.

    Attributes
    ----------
    method : str
        How it was made.
    start : Parameters or None
        None where a component of it would be singular.
    run : Climb or None
    gain : float
        Log posterior gained in its last round.
    finished : bool
        Whether it was climbed to the top.
    note : str
        Why it was not.
    """

    method: str
    start: Parameters | None
    run: Climb | None = None
    gain: float = np.inf
    finished: bool = False
    note: str = ""

    @property
    def height(self) -> float:
        """Log posterior, in standardised units, where it is."""
        return -np.inf if self.run is None or not self.run.history else self.run.history[-1]


def race(
    arrays: MixtureArrays,
    some: MixtureArrays,
    entrants: Sequence[Entrant],
    *,
    tolerance: float,
    max_iterations: int,
    bar: float = -np.inf,
    finishers: int = 2,
) -> Entrant | None:
    """Climb from the most promising starts; the highest, or None where all failed or none promises to reach the bar.

    Parameters
    ----------
    arrays : MixtureArrays
    some : MixtureArrays
        A subset of the people on which the rounds are run; ``arrays`` itself where there are few.
    entrants : sequence of Entrant
        Written: where each got.
    tolerance : float
    max_iterations : int
    bar : float
        Log posterior on the whole that is to be passed; starts that do not promise it are left.
    finishers : int
        Starts that are climbed to the top, at most.
    """
    whole = some is arrays
    bar = bar if whole else -np.inf
    running = list(entrants)
    left: list[Entrant] = []
    for steps, most in _ROUNDS:
        for entrant in running:
            _advance(some, entrant, steps, tolerance)
        running = _ahead(running, bar)
        left = [*running[most:], *left]
        running = running[:most]
    finished: list[Entrant] = []
    behind = sorted((e for e in entrants if e.run and e not in running and e not in left), key=lambda e: -e.height)
    # one that fails gives its place to the next; those that were behind have a chance where all others fail
    for entrant in [*running, *left, *(behind if bar == -np.inf else [])]:
        if len(finished) == finishers or (finished and entrant in behind):
            entrant.note = entrant.note or _BEHIND
            continue
        entrant.note = ""
        if not whole:
            _advance(some, entrant, max_iterations, _NEAR)
        _finish(arrays, entrant, max_iterations, tolerance, fresh=not whole)
        if entrant.finished:
            finished.append(entrant)
    return max(finished, key=lambda e: e.height, default=None)


def polished(arrays: MixtureArrays, run: Climb, *, max_iterations: int, tolerance: float) -> Climb:
    """A converged run finished by Newton's method where that is cheap; see :func:`bayesgmm.inference.em.polish`."""
    if not run.converged:
        return run
    return polish(arrays, run, max_iterations=max(max_iterations - len(run.history), 1), tolerance=tolerance)


def table_of(entrants: Sequence[Entrant]) -> list[dict[str, Any]]:
    """One row a start: how it was made, where it got, whether it reached the highest mode, why it was left."""
    top = max((e.height for e in entrants if e.finished), default=-np.inf)
    return [
        {
            "start": j,
            "method": e.method,
            names.LOG_POSTERIOR: e.height if e.finished else np.nan,
            "iterations": 0 if e.run is None else len(e.run.history),
            "converged": e.finished and e.run is not None and e.run.converged,
            "reached_best": e.finished and top - e.height < _SAME_MODE,
            "note": e.note,
        }
        for j, e in enumerate(entrants)
    ]


def _advance(arrays: MixtureArrays, entrant: Entrant, steps: int, tolerance: float) -> None:
    """Some more EM steps; an entrant that fails has no run, and a note."""
    before = entrant.height
    start = entrant.start if entrant.run is None else entrant.run.parameters
    if start is None:
        entrant.note = _COLLAPSED
        return
    if entrant.run is not None and entrant.run.converged:
        entrant.gain = 0.0
        return
    try:
        run = climb(arrays, start, max_iterations=steps, tolerance=tolerance, newton=False, polished=False)
    except SingularComponentError as error:
        entrant.start, entrant.run, entrant.note = None, None, str(error)
        return
    if entrant.run is not None:
        run.history = [*entrant.run.history, *run.history[1:]]
    entrant.gain = run.history[-1] - (before if np.isfinite(before) else run.history[0])
    entrant.run = run


def _ahead(running: list[Entrant], bar: float) -> list[Entrant]:
    """Entrants that may still become the highest, the highest first, one a hill."""
    alive = sorted((e for e in running if e.run is not None), key=lambda e: -e.height)
    kept: list[Entrant] = []
    highest = max(bar, alive[0].height) if alive else bar
    for entrant in alive:
        if any(abs(entrant.height - other.height) <= _SAME_HILL for other in kept):
            entrant.note = "on the hill of another start"
        elif entrant.height + _HOPE * entrant.gain < highest:
            entrant.note = _BEHIND
        else:
            kept.append(entrant)
    return kept


def _finish(arrays: MixtureArrays, entrant: Entrant, max_iterations: int, tolerance: float, *, fresh: bool) -> None:
    assert entrant.run is not None
    run = entrant.run
    if run.converged and not fresh:
        entrant.finished = True
        return
    left = max(max_iterations - (0 if fresh else len(run.history)), 1)
    # the Hessian of a curved family costs more than the steps of EM that it saves
    newton = arrays.family.linear
    try:
        rest = climb(arrays, run.parameters, max_iterations=left, tolerance=tolerance, newton=newton, polished=False)
    except SingularComponentError as error:
        entrant.run, entrant.note = None, str(error)
        return
    if not fresh:
        rest.history = [*run.history, *rest.history[1:]]
    entrant.run, entrant.finished = rest, True
