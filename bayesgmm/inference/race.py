"""Many starts, few climbs: rounds of EM steps after which the starts that fall behind are left.

What a start will reach is foretold from its last round: EM gains less in every round than in the one before, so a start
that is further below the highest than a few times its last gain is left (a race in the sense of Maron and Moore 1994).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.core.ascent import CONVERGED, MEMORY, SINGULAR, ascend_each
from bayesgmm.core.objective import MixtureArrays, Parameters
from bayesgmm.inference.em import Climb, SingularComponentError, climb, polish

Array = NDArray[np.float64]

ROUNDS = ((6, 8), (12, 6), (24, 3))  # passes of a round, and how many starts are in the next at most
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
    at : ndarray, optional
        Full coordinates where it is.
    history : list of float
        Log posterior, in standardised units, at the start and after every step.
    gain : float
        Log posterior gained in its last round.
    resting : bool
        Whether EM came to rest.
    run : Climb or None
        To the top; None where it was left before.
    note : str
        Why it was.
    """

    method: str
    start: Parameters | None
    at: Array | None = None
    history: list[float] = field(default_factory=list)
    gain: float = np.inf
    resting: bool = False
    run: Climb | None = None
    note: str = ""

    @property
    def height(self) -> float:
        """Log posterior, in standardised units, where it is."""
        return self.history[-1] if self.history else -np.inf

    def fail(self, why: str) -> None:
        """Leave it for good."""
        self.start, self.at, self.run, self.history, self.note = None, None, None, [], why


def race(
    arrays: MixtureArrays,
    some: MixtureArrays,
    entrants: Sequence[Entrant],
    *,
    tolerance: float,
    max_iterations: int,
    bar: float = -np.inf,
    finishers: int = 2,
    rounds: Sequence[tuple[int, int]] = ROUNDS,
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
    rounds : sequence of (int, int)
        Passes of each round, and how many starts are in the next at most.
    """
    whole = some is arrays
    bar = bar if whole else -np.inf
    for entrant in entrants:
        if entrant.start is None:
            entrant.fail(_COLLAPSED)
        elif entrant.at is None:
            entrant.at = entrant.start.full()
    running = [e for e in entrants if e.at is not None]
    left: list[Entrant] = []
    for passes, most in rounds:
        _advance(some, running, passes, tolerance)
        running = _ahead(running, bar)
        left = [*running[most:], *left]
        running = running[:most]
    finished: list[Entrant] = []
    behind = [e for e in entrants if e.at is not None and e not in running and e not in left]
    behind.sort(key=lambda e: -e.height)
    # one that fails gives its place to the next; those that were behind have a chance where all others fail
    for entrant in [*running, *left, *(behind if bar == -np.inf else [])]:
        if len(finished) == finishers or (finished and entrant in behind):
            entrant.note = entrant.note or _BEHIND
            continue
        entrant.note = ""
        _finish(arrays, None if whole else some, entrant, max_iterations, tolerance)
        if entrant.run is not None:
            finished.append(entrant)
    return max(finished, key=lambda e: e.height, default=None)


def polished(arrays: MixtureArrays, run: Climb, *, max_iterations: int, tolerance: float) -> Climb:
    """A converged run finished by Newton's method where that is cheap; see :func:`bayesgmm.inference.em.polish`."""
    if not run.converged:
        return run
    return polish(arrays, run, max_iterations=max(max_iterations - len(run.history), 1), tolerance=tolerance)


def table_of(entrants: Sequence[Entrant]) -> list[dict[str, Any]]:
    """One row a start: how it was made, where it got, whether it reached the highest mode, why it was left."""
    top = max((e.height for e in entrants if e.run is not None), default=-np.inf)
    return [
        {
            "start": j,
            "method": e.method,
            names.LOG_POSTERIOR: np.nan if e.run is None else e.height,
            "iterations": len(e.history),
            "converged": e.run is not None and e.run.converged,
            "reached_best": e.run is not None and top - e.height < _SAME_MODE,
            "note": e.note,
        }
        for j, e in enumerate(entrants)
    ]


def _advance(arrays: MixtureArrays, running: Sequence[Entrant], passes: int, tolerance: float) -> None:
    """Some more EM steps of every entrant in one call; one that fails has no place any more, and a note."""
    moving = [e for e in running if not e.resting]
    for entrant in running:
        entrant.gain = 0.0
    if not moving:
        return
    fulls = np.stack([e.at for e in moving if e.at is not None])
    histories = np.empty((len(moving), passes))
    accepted, status = np.empty(len(moving), dtype=np.int64), np.empty(len(moving), dtype=np.int64)
    counts = np.empty((len(arrays.sample.predictors), arrays.n_components))
    engine, hyper = arrays.engine(), arrays.hyper
    ascend_each(
        fulls, arrays.sample, engine, hyper, arrays.floor, counts, tolerance, MEMORY, histories, accepted, status
    )
    for j, entrant in enumerate(moving):
        if status[j] == SINGULAR:
            entrant.fail(_COLLAPSED)
            continue
        made = histories[j, : accepted[j]].tolist()
        entrant.gain = made[-1] - (entrant.history[-1] if entrant.history else made[0])
        entrant.at, entrant.resting = fulls[j], status[j] == CONVERGED
        entrant.history.extend(made)


def _ahead(running: list[Entrant], bar: float) -> list[Entrant]:
    """Entrants that may still become the highest, the highest first, one a hill."""
    alive = sorted((e for e in running if e.at is not None), key=lambda e: -e.height)
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


def _finish(
    arrays: MixtureArrays, some: MixtureArrays | None, entrant: Entrant, max_iterations: int, tolerance: float
) -> None:
    """To the top: of a subset first, where the rounds were run on one."""
    assert entrant.start is not None
    assert entrant.at is not None
    at = entrant.start.of_full(entrant.at)
    try:
        if some is not None:
            near = climb(some, at, max_iterations=max_iterations, tolerance=_NEAR, newton=False, polished=False)
            at, before = near.parameters, []
        else:
            before = entrant.history
        left = max(max_iterations - len(before), 1)
        # the Hessian of a curved family costs more than the steps of EM that it saves
        newton = arrays.family.linear
        run = climb(arrays, at, max_iterations=left, tolerance=tolerance, newton=newton, polished=False)
    except SingularComponentError as error:
        entrant.fail(str(error))
        return
    run.history = entrant.history = [*before, *run.history]
    entrant.run = run
