r"""Is one component more needed: the likelihood ratio of two fits, held against data simulated from the smaller.

Between mixtures of K and K + 1 components :math:`2 (\ell_{K+1} - \ell_K)` is not chi-square: the smaller model lies at
the edge of the larger, where parameters have no meaning. Its distribution under the smaller model is simulated
(McLachlan 1987, Applied Statistics 36:318).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesgmm.checks import check_whole, check_workers, seed_or_zero
from bayesgmm.core.objective import MixtureArrays, Parameters
from bayesgmm.core.sample import Sample
from bayesgmm.core.starts import filled_points, spread_over, start_from
from bayesgmm.errors import InputError
from bayesgmm.inference.nested_starts import split_memberships
from bayesgmm.inference.parallel import in_parallel
from bayesgmm.inference.race import Entrant, race
from bayesgmm.inference.replicates import Simulated, refit
from bayesgmm.inference.search import partitions_of

if TYPE_CHECKING:
    from bayesgmm.inference.map_fit import MapFit

Array = NDArray[np.float64]

_BLOCK = 20  # data sets simulated between looks at whether more are needed
_ENOUGH = 10  # data sets with a larger ratio after which the p-value is known well enough


@dataclass(frozen=True)
class ComponentsTest:
    """Bootstrap likelihood-ratio test of K components against more, from :func:`components_test`.

    Attributes
    ----------
    n_components : tuple of int
        Of the null and of the alternative: those that have a mean, as in :class:`bayesgmm.Mixture`.
    statistic : float
        Twice the difference of the log likelihoods of the two fits.
    p_value : float
        Small: the data are unlike those of the smaller model.
    simulated : ndarray (n_draws,)
        The statistic of every data set simulated from the smaller model.
    n_failed : int
        Data sets on which one of the models could not be fitted; they are not in ``simulated``.
    stopped : bool
        Whether simulation stopped early, since enough data sets had a larger statistic.
    beside : tuple of str
        Further components that both have: ``"noise"``, ``"spike"``.
    """

    n_components: tuple[int, int]
    statistic: float
    p_value: float
    simulated: Array
    n_failed: int
    stopped: bool
    beside: tuple[str, ...] = ()

    def __repr__(self) -> str:
        smaller, larger = self.n_components
        how = f"{len(self.simulated)} data sets" + (", stopped early" if self.stopped else "")
        beside = f" beside {' and '.join(self.beside)}" if self.beside else ""
        told = f"{smaller} against {larger} components{beside}: likelihood ratio {self.statistic:.3f}, "
        least = not self.stopped and self.p_value * (1 + len(self.simulated)) < 1.5  # no data set had a larger ratio
        told += f"p {'at most ' if least else ''}{self.p_value:.3g}, {how}"
        return told + (f"; {self.n_failed} could not be fitted" if self.n_failed else "")


def components_test(
    null: MapFit,
    alternative: MapFit,
    *,
    draws: int = 199,
    restarts: int = 6,
    seed: int | None = None,
    workers: int | None = None,
    progress: bool = False,
) -> ComponentsTest:
    """Test whether a mixture needs the further components of another, by the parametric bootstrap.

    Parameters
    ----------
    null, alternative : MapFit
        Of the same people, traits, family and formulas; the alternative has more components. Fits under
        ``Priors.flat()`` make the classical test; under other priors modes take the place of maxima, the prior the same
        in every data set.
    draws : int, default 199
        Data sets simulated, at most. It stops when ten had a larger ratio: the p-value is then ten over the number of
        data sets so far (Besag and Clifford 1991, Biometrika 78:301).
    restarts : int, default 6
        Starts of the larger model on each data set, besides a split of every component of the smaller.
    seed : int, optional
        None: 0.
    workers : int, optional
        Data sets fitted side by side; by default as many as there are processors.
    progress : bool, default False

    Returns
    -------
    ComponentsTest

    Raises
    ------
    InputError
        If the fits are not of the same data and model.

    Examples
    --------
    >>> import numpy as np, bayesgmm as bg
    >>> y = np.random.default_rng(1).normal(size=(200, 1))
    >>> one, two = (bg.Mixture(k, priors=bg.Priors.flat()).fit(y) for k in (1, 2))
    >>> bg.components_test(one, two, draws=39).p_value > 0.05
    True
    """
    _check(null, alternative, draws, restarts)
    seed = seed_or_zero(seed)
    check_workers("workers", workers)
    statistic = 2.0 * (alternative.log_likelihood - null.log_likelihood)
    bootstrap = _Bootstrap(null, alternative, restarts)
    found: list[float] = []
    failed, stopped = 0, False
    for block in range(-(-draws // _BLOCK)):
        size = min(_BLOCK, draws - block * _BLOCK)
        label = f"{null.problem.n_located} against {alternative.problem.n_located} components"
        own = int(np.random.SeedSequence((seed, block)).generate_state(1)[0])
        values = in_parallel(bootstrap.ratio, size, seed=own, workers=workers, progress=progress, label=label)
        failed += sum(np.isnan(v) for v in values)
        found += [v for v in values if not np.isnan(v)]
        above = np.flatnonzero(np.array(found) >= statistic)
        if len(above) >= _ENOUGH:
            found, stopped = found[: above[_ENOUGH - 1] + 1], True
            break
    simulated = np.array(found)
    if len(simulated) == 0:
        raise InputError(
            "components_test: neither model could be fitted to any simulated data set; use fewer components"
        )
    above_all = int((simulated >= statistic).sum())
    p = _ENOUGH / len(simulated) if stopped else (1 + above_all) / (1 + len(simulated))
    return ComponentsTest(
        n_components=(null.problem.n_located, alternative.problem.n_located),
        statistic=statistic,
        p_value=float(p),
        simulated=simulated,
        n_failed=failed,
        stopped=stopped,
        beside=null.problem.fixed.kinds,
    )


def _check(null: MapFit, alternative: MapFit, draws: int, restarts: int) -> None:
    check_whole("draws", draws, 1, ", and 19 for a p-value of 0.05")
    check_whole("restarts", restarts, 1)
    for given in (null, alternative):
        if not hasattr(given, "problem"):
            raise InputError(f"components_test: given a {type(given).__name__}; give two fits, the smaller first")
    one, other = null.problem, alternative.problem
    if one.n_located >= other.n_located:
        raise InputError(
            f"the null has {one.n_located} components and the alternative {other.n_located}; it must have more"
        )
    same = one.family == other.family and one.predictor_names == other.predictor_names
    same = same and one.fixed.kinds == other.fixed.kinds and one.df == other.df
    if not (same and one.has_units_of(other) and one.trait_names == other.trait_names):
        raise InputError("components_test: the fits must be of the same study, family and formulas")
    for problem in (one, other):
        if problem.priors.scales is not None or problem.priors.weights_jeffreys:
            raise InputError("components_test: the prior of effects or weights has no plain mode; use another")


class _Bootstrap:
    """The likelihood ratio on data simulated from the null."""

    def __init__(self, null: MapFit, alternative: MapFit, restarts: int) -> None:
        self._null, self._alternative, self._restarts = null, alternative, restarts
        self._simulated = Simulated(null.problem, null.parameters)

    def ratio(self, rng: np.random.Generator) -> float:
        """One data set's; NaN where one of the models could not be fitted."""
        null = self._null.problem
        sample = self._simulated.sample(rng)
        small = refit(null.arrays, sample, [self._null.parameters])
        if small.parameters is None:
            return float("nan")
        arrays = self._alternative.problem.arrays.of_sample(sample)
        best = race(
            arrays, arrays, self._entrants(arrays, sample, small.parameters, rng), tolerance=1e-6, max_iterations=2000
        )
        if best is None or best.run is None:
            return float("nan")
        larger = best.height - arrays.log_prior(best.run.parameters)
        return max(0.0, 2.0 * (larger - small.log_likelihood))

    def _entrants(
        self, arrays: MixtureArrays, sample: Sample, small: Parameters, rng: np.random.Generator
    ) -> list[Entrant]:
        """Splits of the smaller fit's components, partitions, and the larger fit of the study."""
        size, k = arrays.n_traits, arrays.n_components
        points = filled_points(sample, np.zeros(size), np.eye(size))
        entrants = [Entrant("the study's", self._alternative.parameters)]
        if k == len(small.alpha) + 2:
            r = self._null.problem.arrays.of_sample(sample).membership(small)[0]
            cut = split_memberships(r, len(small.means), points, sample)
            entrants += [Entrant("split", start_from(arrays, points, one)) for one in cut]
        for j, (method, labels) in enumerate(partitions_of(arrays, points, self._restarts, int(rng.integers(2**31)))):
            entrants.append(Entrant(method, start_from(arrays, points, spread_over(arrays, points, labels, j))))
        return entrants
