"""Many mixtures of the same people, each climbed from the ones that it contains or that contain it.

Models differ in the number of components, the covariance family, the formula of the weights, noise and tails.
Partitions to start from are made once for a number of components and serve every family. A fit of a smaller model is
a start of a larger: a family within another as it is, predictors that are added from no effect, one component more
from each component split along its longest axis. Then every model is tried from what the others found: from the
memberships of other families, and from pairs merged of one component more. At last no model is left lower than one
that it contains.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.gather import thinned
from bayesgmm.core.labels import canonical_order
from bayesgmm.core.objective import MixtureArrays
from bayesgmm.core.starts import StartMoments, StartPoints, spread_over, starts_of
from bayesgmm.inference.compiling import CompileClock, compile_clock
from bayesgmm.inference.em import Climb, some_coincide
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.inference.nested_starts import Member, barely_split, merged_memberships, split_memberships
from bayesgmm.inference.race import ROUNDS, Entrant, polished, race, table_of
from bayesgmm.inference.search import SCREENING_ROWS, fit_map, fit_of_climb, partitions_of
from bayesgmm.problem import Problem

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

FAILURES = (ValueError, ArithmeticError, MemoryError)  # of one model, which must not take the others with it
_HIGHER = 1e-6  # log posterior units by which another's parameters must be higher to be climbed from
_SWEEPS = 4  # over models that are lower than one within them
_EXCHANGES = 2  # rounds in which models start from what the others found
_SPLIT = 3  # components that are parted where a larger model is lower


class Key(NamedTuple):
    """One model: which formula and kind of components, which family, how many components that have a mean."""

    base: int
    covariance: str
    n_components: int


@dataclass
class Cell:
    """One model and the best that was found for it.

    Attributes
    ----------
    key : Key
    problem : Problem or None
        None where the study cannot carry the model.
    failure : str
        Why there is no fit; empty when there is one.
    run : Climb or None
    entrants : list of Entrant
        Every start.
    fit : MapFit or None
    seconds : float
        Of all threads, without those in which numba compiled, as on a machine's first run.
    same_as : Key or None
        The cell of the same model under another formula: one component has no weights, so it knows no formula. Only
        that cell is climbed; this one is its mode in the coordinates of this formula, for larger models to start from.
    """

    key: Key
    problem: Problem | None
    failure: str = ""
    run: Climb | None = None
    entrants: list[Entrant] = field(default_factory=list)
    fit: MapFit | None = None
    seconds: float = 0.0
    same_as: Key | None = None

    @property
    def height(self) -> float:
        """Log posterior in standardised units."""
        return -np.inf if self.run is None else self.run.history[-1]

    @property
    def arrays(self) -> MixtureArrays:
        """Data and priors of the problem."""
        assert self.problem is not None
        return self.problem.arrays


def cells_of(
    bases: Sequence[Problem | str], covariances: Sequence[str], sizes: Sequence[int], specify: Callable[..., Problem]
) -> dict[Key, Cell]:
    """A cell for every combination, those within others first; what cannot be carried has its reason.

    Parameters
    ----------
    bases : sequence of Problem or str
        Of each formula and kind of components (noise, a spike, heavy tails), or why there is none.
    covariances : sequence of str
    sizes : sequence of int
    specify : callable
        ``specify(base, n_components, covariance)`` makes the problem of a cell.
    """
    # data are gathered once for the families of one unit and once for the others
    first: dict[tuple[int, bool], Problem] = {}
    cells: dict[Key, Cell] = {}
    for n_components, (number, base), covariance in itertools.product(sizes, enumerate(bases), covariances):
        key = Key(number, covariance, n_components)
        if isinstance(base, str):
            cells[key] = Cell(key, None, base)
            continue
        try:
            problem = specify(base, n_components, covariance)
            shared = first.get((number, problem.family.one_unit))
            if shared is None:
                first[(number, problem.family.one_unit)] = problem
                _ = problem.arrays, problem.log_likelihood_shift
            else:
                problem = specify(shared, n_components, covariance)
            cells[key] = Cell(key, problem)
        except FAILURES as error:
            cells[key] = Cell(key, None, str(error))
    return cells


class NestedSearch:
    """Modes of many models of the same people.

    Parameters
    ----------
    cells : dict of Cell
        From :func:`cells_of`; written.
    restarts, seed, tolerance, max_iterations
        As in :func:`bayesgmm.inference.search.fit_map`.
    workers : int, optional
        Models fitted side by side; by default as many as there are processors. The answer does not depend on it.
    told : callable, optional
        Called each time a model is done in a phase.
    """

    def __init__(
        self,
        cells: dict[Key, Cell],
        *,
        restarts: int = 10,
        seed: int = 0,
        tolerance: float = 1e-8,
        max_iterations: int = 5000,
        workers: int | None = None,
        told: Callable[[], None] | None = None,
    ) -> None:
        self._cells = cells
        self._restarts, self._seed = restarts, seed
        self._limits: dict[str, Any] = {"tolerance": tolerance, "max_iterations": max_iterations}
        self._workers = max(1, (os.cpu_count() or 1) if workers is None else workers)
        self._told = told or (lambda: None)
        self._arrays: dict[Key, MixtureArrays] = {}
        self._some: dict[Key, MixtureArrays] = {}
        self._people: dict[tuple[int, bool], StartPoints] = {}
        self._partitions: dict[tuple[int, int, bool], list[tuple[str, StartMoments]]] = {}
        self._members: dict[Key, Member] = {}
        self._before: dict[Key, list[Key]] = {}
        self._clock = CompileClock()
        for key, cell in cells.items():
            if cell.problem is None:
                continue
            self._arrays[key] = replace(cell.arrays, threads=self._workers == 1)
            kind = (key.base, cell.problem.family.one_unit)
            if kind not in self._people:
                sample = thinned(cell.arrays.sample, SCREENING_ROWS)
                self._people[kind] = StartPoints.of(sample, cell.problem.start_points(sample))
            sample, whole = self._people[kind].sample, self._arrays[key]
            self._some[key] = whole if sample is whole.sample else replace(whole, sample=sample)

    def run(self) -> None:
        """Fit every cell."""
        plain = [key for key, cell in self._cells.items() if cell.problem is not None and not _is_special(cell.problem)]
        special = [key for key, cell in self._cells.items() if cell.problem is not None and key not in plain]
        made = list(dict.fromkeys((key.base, key.n_components) for key in plain))
        with compile_clock() as self._clock, ThreadPoolExecutor(self._workers) as pool:
            for partitions in pool.map(self._make_partitions, made):
                self._partitions |= partitions
            before = {key: [*self._inner(key, plain), *self._smaller(key, plain)] for key in plain}
            before |= {key: [same] for key in plain if (same := self._cells[key].same_as) is not None}
            self._before = before
            self._each(pool, plain, before, self._first)
            own = [key for key in plain if self._cells[key].same_as is None]
            self._exchange(pool, own)
            within = {key: [other for other in before[key] if other in own] for key in own}
            for _ in range(_SWEEPS):
                heights = [self._cells[key].height for key in own]
                self._each(pool, own, within, lambda key: self._at_least(key, before[key]))
                if [self._cells[key].height for key in own] == heights:
                    break
            self._each(pool, plain, {}, self._conclude)
            self._each(pool, [key for key in special if self._cells[key].same_as is None], {}, self._alone)

    # -- phases ---------------------------------------------------------------------------------

    def _first(self, key: Key) -> None:
        """From partitions and from the fits of smaller models."""
        cell, arrays, some = self._cells[key], self._arrays[key], self._some[key]
        if cell.same_as is not None:
            same = self._cells[cell.same_as]
            carried = self._carried(cell.same_as, key)
            if same.run is None or carried[0].start is None:
                cell.failure = same.failure or "no start reached a mode"
            else:
                cell.run = replace(same.run, parameters=carried[0].start)
            return
        entrants = self._started(key, self._partitions[(key.base, key.n_components, self._unit(key))])
        for other in self._before[key]:
            inner = other.n_components == key.n_components
            entrants += self._carried(other, key) if inner else self._splits(other, key)
        cell.entrants = entrants
        best = race(arrays, some, entrants, rounds=self._rounds(key), **self._limits)
        if best is None:
            cell.failure = next((e.note for e in entrants if e.note), "no start reached a mode")
        else:
            cell.run = best.run

    def _rounds(self, key: Key) -> Sequence[tuple[int, int]]:
        """Rounds of the starts: shorter ones where models of as many components make good what one of them misses."""
        beside = sum((other.base, other.n_components) == (key.base, key.n_components) for other in self._arrays)
        return _TOGETHER if beside >= _MANY else ROUNDS

    def _exchange(self, pool: ThreadPoolExecutor, keys: Sequence[Key]) -> None:
        """Let models start from what others have found, and once more from what these found then."""
        changed = keys
        for sweep in range(_EXCHANGES):
            self._members |= dict(zip(changed, pool.map(self._member, changed), strict=True))
            before = {key: self._cells[key].height for key in keys}
            # the smaller models have been split already
            near = self._neighbours(keys, changed, smaller=sweep > 0)

            def across(key: Key, near: dict[Key, list[Key]] = near) -> None:
                self._across(key, near[key])

            self._each(pool, list(near), {}, across)
            changed = [key for key in keys if self._cells[key].height > before[key]]

    def _across(self, key: Key, others: Sequence[Key]) -> None:
        """From memberships of other families, from pairs merged of one component more, from splits of one fewer."""
        cell, own, unit = self._cells[key], self._members[key], self._unit(key)
        if cell.run is None and not cell.failure:
            return
        starts: list[tuple[str, StartMoments]] = []
        # of memberships that are alike the first is tried
        seen = [own.compared] if own.moments else []
        splits: list[Entrant] = []
        for other in others:
            found = self._members[other]
            offered: list[tuple[str, Array, StartMoments]] = []
            if other.n_components > key.n_components:
                offered = [(f"merged from {other.n_components}", r, moments) for r, moments in found.merged]
            elif other.n_components < key.n_components:
                splits = self._splits(other, key)
            elif found.moments:
                offered = [(f"as {other.covariance}", found.compared, found.moments[unit])]
            for method, r, moments in offered:
                if all(float(np.abs(one - r).mean()) >= _ALIKE for one in seen):
                    seen.append(r)
                    starts.append((method, moments))
        entrants = [*self._started(key, starts), *splits]
        best = race(
            self._arrays[key],
            self._some[key],
            entrants,
            bar=cell.height,
            finishers=1,
            rounds=_ACROSS,
            **self._limits,
        )
        self._keep(cell, entrants, best)

    def _at_least(self, key: Key, within: Iterable[Key]) -> None:
        """From models within this one that are higher."""
        cell, arrays = self._cells[key], self._arrays[key]
        for other in within:
            if self._cells[other].run is None:
                continue
            entrants = []
            if other.n_components == key.n_components:
                entrants = self._carried(other, key)
            elif self._is_flat(cell) and self._cells[other].height > cell.height + _HIGHER:
                entrants = self._barely_split(other, key)
            entrants = [
                e
                for e in entrants
                if e.start is not None
                and (other.n_components < key.n_components or arrays.log_posterior(e.start) > cell.height + _HIGHER)
            ]
            best = race(arrays, arrays, entrants, finishers=1, **self._limits) if entrants else None
            self._keep(cell, entrants, best)

    def _conclude(self, key: Key) -> None:
        cell = self._cells[key]
        if cell.run is None:
            cell.failure = cell.failure or "no start reached a mode"
            return
        if some_coincide(cell.run.parameters):
            # EM stands still there, though the log posterior may rise
            cell.run = polished(self._arrays[key], cell.run, **self._limits)
        assert cell.problem is not None
        cell.fit = fit_of_climb(cell.problem, cell.run, table_of(cell.entrants), self._seed, **self._limits)
        cell.failure = ""

    def _alone(self, key: Key) -> None:
        """A model whose fit is more than a climb, by itself."""
        cell = self._cells[key]
        assert cell.problem is not None
        problem = cell.problem if self._workers == 1 else cell.problem.in_one_thread()
        cell.fit = fit_map(problem, seed=self._seed, restarts=self._restarts, **self._limits)

    # -- starts from other models -----------------------------------------------------------------

    def _carried(self, other: Key, key: Key) -> list[Entrant]:
        """The fit of a model within this one, in this one's coordinates."""
        source, target = self._cells[other], self._cells[key]
        if source.run is None:
            return []
        assert source.problem is not None
        assert target.problem is not None
        p, ratio = source.run.parameters, source.problem.unit / target.problem.unit
        beta = np.zeros((len(target.problem.predictor_names), len(p.alpha)))
        place = {name: j for j, name in enumerate(target.problem.predictor_names)}
        for name, row in zip(source.problem.predictor_names, p.beta, strict=True):
            # a formula's predictors are the same columns in the same units, whatever other columns there are
            beta[place[name]] = row
        start = replace(p, beta=beta, means=p.means * ratio, roots=p.roots / ratio[:, None], shifts=p.shifts * ratio)
        return [Entrant(f"from {_named(other, key)}", start)]

    def _splits(self, other: Key, key: Key) -> list[Entrant]:
        """The fit of one component fewer, each component in turn cut in two across its longest axis."""
        if self._cells[other].run is None:
            return []
        people = self._people[(key.base, self._unit(key))]
        points = people.both[: self._arrays[key].n_traits]
        cut = split_memberships(self._membership(other), other.n_components, points, people.sample)
        located = self._arrays[key].n_located
        return self._started(key, [(f"split of {other.n_components}", people.moments(r, located)) for r in cut])

    def _barely_split(self, other: Key, key: Key) -> list[Entrant]:
        """The fit of one component fewer, a component as two of half the weight, hardly apart: the heaviest in turn.

        Without a prior the way up from one of them may have no end, and lead on from another.
        """
        run = self._cells[other].run
        assert run is not None
        heaviest = np.argsort(-run.parameters.log_pi[: other.n_components], kind="stable")[:_SPLIT]
        n_df = self._arrays[key].tails.n_free
        made = [barely_split(run.parameters, n_df, int(k)) for k in heaviest]
        return [Entrant(f"from {other.n_components}", start) for start in made]

    # -- which models are within which ------------------------------------------------------------

    def _inner(self, key: Key, keys: Iterable[Key]) -> list[Key]:
        """Models within this one of as many components, without those within another of them."""
        same = [other for other in keys if other.n_components == key.n_components and other != key]
        found = [other for other in same if self._is_within(other, key)]
        return [o for o in found if not any(o != p and self._is_within(o, p) for p in found)]

    def _smaller(self, key: Key, keys: Iterable[Key]) -> list[Key]:
        fewer = Key(key.base, key.covariance, key.n_components - 1)
        return [fewer] if fewer in keys else []

    @staticmethod
    def _neighbours(keys: Sequence[Key], changed: Sequence[Key], *, smaller: bool) -> dict[Key, list[Key]]:
        """Models that changed and from which a model may start: of other families, of one component more or fewer."""
        among, found = set(changed), {}
        for key in keys:
            near = [k for k in changed if k[::2] == key[::2] and k != key]
            sizes = (key.n_components + 1, key.n_components - 1) if smaller else (key.n_components + 1,)
            near += [k for k in (Key(key.base, key.covariance, size) for size in sizes) if k in among]
            if near:
                found[key] = near
        return found

    def _is_within(self, inner: Key, outer: Key) -> bool:
        one, other = self._cells[inner].problem, self._cells[outer].problem
        if one is None or other is None:
            return False
        names = set(one.predictor_names) <= set(other.predictor_names)
        return names and one.family.within(other.family) and _is_of_one_kind(one, other)

    # -- helpers ----------------------------------------------------------------------------------

    def _unit(self, key: Key) -> bool:
        """Whether a model's traits have one unit."""
        problem = self._cells[key].problem
        assert problem is not None
        return problem.family.one_unit

    def _started(self, key: Key, starts: Sequence[tuple[str, StartMoments]]) -> list[Entrant]:
        people = self._people[(key.base, self._unit(key))]
        made = starts_of(self._some[key], people, [moments for _, moments in starts])
        return [Entrant(method, start) for (method, _), start in zip(starts, made, strict=True)]

    def _membership(self, key: Key) -> Array:
        """Responsibilities of the people on whom starts are screened; none without a fit."""
        run = self._cells[key].run
        return _NOBODY if run is None else self._some[key].membership(run.parameters)[0]

    def _member(self, key: Key) -> Member:
        """What other models start from."""
        r, located = self._membership(key), self._arrays[key].n_located
        if not len(r):
            return Member(r, {}, [])
        run = self._cells[key].run
        assert run is not None
        # components in the order of their means, so that a mixture whose components are named otherwise is alike
        order = canonical_order(run.parameters.means)
        r[:, :located] = r[:, order]
        every = max(1, len(r) // _COMPARED)
        units = {kind[1]: people for kind, people in self._people.items() if kind[0] == key.base}
        moments = {unit: people.moments(r, located) for unit, people in units.items()}
        own = units[self._unit(key)]
        merged = [(m[::every], own.moments(m, located - 1)) for m in merged_memberships(r, located)]
        return Member(r[::every], moments, merged)

    def _make_partitions(self, place: tuple[int, int]) -> dict[tuple[int, int, bool], list[tuple[str, StartMoments]]]:
        """Of one number of components; the same for every family, their moments for those of one unit."""
        found: dict[tuple[int, int, bool], list[tuple[str, StartMoments]]] = {}
        of_place = {self._unit(key): key for key in self._arrays if (key.base, key.n_components) == place}
        methods: list[str] = []
        members: list[Array] = []
        for unit, key in of_place.items():
            people, some = self._people[(key.base, unit)], self._some[key]
            points = people.both[: some.n_traits]
            if not methods:
                partitions = partitions_of(some, points, self._restarts, self._seed)
                methods = [method for method, _ in partitions]
                members = [spread_over(some, points, labels, j) for j, (_, labels) in enumerate(partitions)]
            moments = [people.moments(r, some.n_located) for r in members]
            found[(*place, unit)] = list(zip(methods, moments, strict=True))
        return found

    @staticmethod
    def _is_flat(cell: Cell) -> bool:
        assert cell.problem is not None
        return cell.problem.priors.components_flat and cell.problem.priors.weights_flat

    @staticmethod
    def _keep(cell: Cell, entrants: Sequence[Entrant], best: Entrant | None) -> None:
        cell.entrants = [*cell.entrants, *entrants]
        if best is not None and best.height > cell.height + _HIGHER:
            cell.run = best.run

    def _each(
        self, pool: ThreadPoolExecutor, keys: Sequence[Key], needs: dict[Key, list[Key]], work: Callable[[Key], None]
    ) -> None:
        """Do the work for every key, after what it needs; side by side where the needs allow."""
        waiting = {key: set(needs.get(key, ())) for key in keys}
        while self._workers == 1 and waiting:
            # what waits for nothing, in the order given; a second thread would only take the lock in turn
            key = next(key for key, left in waiting.items() if not left)
            del waiting[key]
            self._isolated(work, key)
            self._told()
            for left in waiting.values():
                left.discard(key)
        running: dict[Future[None], Key] = {}
        while waiting or running:
            for key in [key for key, left in waiting.items() if not left]:
                del waiting[key]
                running[pool.submit(self._isolated, work, key)] = key
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                finished = running.pop(future)
                future.result()
                for left in waiting.values():
                    left.discard(finished)
                self._told()

    def _isolated(self, work: Callable[[Key], None], key: Key) -> None:
        cell, began, compiled = self._cells[key], perf_counter(), self._clock.seconds
        try:
            work(key)
        except FAILURES as error:
            if cell.run is None and cell.fit is None:
                cell.failure = str(error) or type(error).__name__
        cell.seconds += max(0.0, perf_counter() - began - (self._clock.seconds - compiled))


_TOGETHER = ((3, 8), (6, 4), (12, 2))
_MANY = 4  # models of as many components from which on the rounds may be so short
_ACROSS = ((2, 4), (4, 2), (8, 1))  # rounds of these starts, most of which are on the hill that is known
_NOBODY: Array = np.empty((0, 0))
_COMPARED = 250  # people on whom memberships are compared
_ALIKE = 3e-2  # mean difference of memberships below which two families have found the same


def _is_special(problem: Problem) -> bool:
    """Whether a fit is more than a climb: components die, or scales are learned, or there is no mode."""
    prior = problem.priors
    return (
        prior.weights_jeffreys
        or prior.scales is not None
        or (problem.n_components > 1 and float(prior.concentration.min()) < 1.0)
    )


def _is_of_one_kind(one: Problem, other: Problem) -> bool:
    """Whether the parameters of one mean the same in the other: the same noise, spike and degrees of freedom."""
    volumes = [None if p.fixed.noise is None else p.fixed.noise.volume for p in (one, other)]
    return one.fixed.kinds == other.fixed.kinds and volumes[0] == volumes[1] and one.df == other.df


def _named(other: Key, key: Key) -> str:
    return other.covariance if other.base == key.base else "fewer predictors"
