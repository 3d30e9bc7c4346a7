r"""The log posterior of the mixture, its gradient and curvature: one function for every engine.

The density is always the one in the natural parameters (pi, B, mu, Sigma, Delta) unless a Jacobian is asked for, so the
mode is the same in any coordinates; :mod:`bayesgmm.core.posterior` says what the coordinates are.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.ascent import em_step, maximise_components
from bayesgmm.core.covariance_steps import covariance_step
from bayesgmm.core.curved import CurvedChart
from bayesgmm.core.families import Family, tie
from bayesgmm.core.gaussian import NiwPrior
from bayesgmm.core.kinked_step import kinked_weights
from bayesgmm.core.labels import canonical_order
from bayesgmm.core.moments import NOTHING_1D, NOTHING_2D, Moments, expectation, log_weights_into, pass_for
from bayesgmm.core.portable import Portable
from bayesgmm.core.posterior import (
    Engine,
    Hyper,
    Tie,
    full_of_free,
    full_value_and_gradient,
    negative_hessian_into,
    pack,
    unpack,
    value_and_gradient,
)
from bayesgmm.core.sample import Sample
from bayesgmm.core.tails import Tails
from bayesgmm.core.weights import WeightsPrior, expected_log_weights, log_softmax, newton_weights

Array = NDArray[np.float64]

_KEPT = 400  # components times squared traits up to which a family's map is kept for the next problem
# Central differences of an exact gradient: the cube root of the rounding error balances both errors.
_STEP = float(np.finfo(float).eps ** (1.0 / 3.0))


def writable(array: Array) -> Array:
    """The array, or a copy where compiled code, which was promised a contiguous and writable one, could not take it."""
    flags = array.flags
    if flags.c_contiguous and flags.writeable and array.dtype == np.float64:
        return array
    result: Array = np.require(array, np.float64, ("C", "W"))
    return result


@lru_cache(maxsize=32)
def _tie_of(family: Family, n_components: int, n_traits: int) -> tuple[Tie, Array]:
    """A linear family's map from free to full coordinates, and the matrix that reads free ones off full ones."""
    matrix = tie(family, n_components, n_traits)
    rows, columns = np.nonzero(matrix)
    starts = np.searchsorted(rows, np.arange(len(matrix) + 1)).astype(np.int64)
    head = n_components * n_traits
    below = matrix[head:]
    turns = below.any(axis=0)
    reader = np.zeros(matrix.shape[::-1])
    # no free coordinate repeats another, so the normal equations have one solution
    axes = matrix[:head, ~turns]
    reader[~turns, :head] = np.linalg.solve(axes.T @ axes, axes.T)
    # columns of ones that share no row: a singular value decomposition of all would take half a minute at fifty traits
    reader[turns, head:] = below[:, turns].T / below[:, turns].sum(axis=0)[:, None]
    return Tie(starts, columns.astype(np.int64), matrix[rows, columns], matrix.shape[1]), reader


@dataclass(frozen=True)
class Parameters:
    """Parameters of the mixture as arrays.

    Attributes
    ----------
    alpha : ndarray (K-1,)
        Log ratios of the baseline weights to component 0.
    beta : ndarray (P, K-1)
        Log odds ratios against component 0.
    means : ndarray (L, D)
        Of the components that have one; others come last.
    roots : ndarray (L, D, D)
        Lower Cholesky factors of the precisions.
    shifts : ndarray (Q, D)
        Slopes of the covariates of the means.
    df : ndarray (L,)
        Degrees of freedom of Student-t components; empty where they are Gaussian.
    n_df : int
        How many of them are estimated: none, one for all, or each.
    """

    alpha: Array
    beta: Array
    means: Array
    roots: Array
    shifts: Array
    df: Array = field(default_factory=lambda: np.empty(0))
    n_df: int = 0

    @property
    def log_pi(self) -> Array:
        """Log baseline weights (K,)."""
        return log_softmax(np.concatenate(([0.0], self.alpha))[None])[0]

    @property
    def sizes(self) -> tuple[int, int, int, int, int]:
        """Numbers of components, of those with a mean, traits, predictors and covariates of the means."""
        return len(self.alpha) + 1, len(self.means), self.means.shape[1], len(self.beta), len(self.shifts)

    def full(self) -> Array:
        """Full coordinates; see :mod:`bayesgmm.core.posterior`."""
        k, located, size, p, q = self.sizes
        turns = size * (size - 1) // 2
        full = np.empty((k - 1) * (1 + p) + located * size + q * size + self.n_df + located * (size + turns))
        parts = (self.alpha, self.beta, self.means, self.shifts, self.roots, self.df)
        pack(*(writable(x) for x in parts), self.n_df, full)
        return full

    def of_full(self, full: Array) -> Parameters:
        """Parameters of the shapes of this object from full coordinates."""
        alpha, beta, means, shifts, roots, df = unpack(writable(full), *self.sizes, writable(self.df), self.n_df)
        return Parameters(alpha, beta, means, roots, shifts, df, self.n_df)

    def permuted(self, order: NDArray[np.int64]) -> Parameters:
        """Parameters with component ``j`` of the result being component ``order[j]`` of this object.

        Components without a mean keep their places at the end; ``order`` need not name them.
        """
        located = np.asarray(order)
        located = located[located < len(self.means)]
        index = np.concatenate((located, np.arange(len(self.means), len(self.alpha) + 1)))
        alpha = np.concatenate(([0.0], self.alpha))[index]
        beta = np.concatenate((np.zeros((len(self.beta), 1)), self.beta), axis=1)[:, index]
        return replace(
            self,
            alpha=alpha[1:] - alpha[0],
            beta=beta[:, 1:] - beta[:, :1],
            means=self.means[located],
            roots=self.roots[located],
            df=self.df[located] if len(self.df) else self.df,
            n_df=min(self.n_df, len(located)),
        )

    def sorted(self) -> Parameters:
        """Parameters with components in the order of their means on the first trait (ties: the next trait)."""
        order = canonical_order(self.means)
        return self if (order == np.arange(len(order))).all() else self.permuted(order)


class Stacked(NamedTuple):
    """Parameters of many draws, stacked; any leading dims.

    Baseline weights ``pi`` (..., K), ``beta`` (..., P, K-1), ``means`` (..., L, D), ``roots`` (..., L, D, D),
    ``shifts`` (..., Q, D) and ``df`` (..., L) or (..., 0), of :class:`Parameters`.
    """

    pi: Array
    beta: Array
    means: Array
    roots: Array
    shifts: Array
    df: Array

    @classmethod
    def of(cls, each: list[Parameters]) -> Stacked:
        """Parameters of some draws, one leading dim."""
        parts = zip(*((np.exp(p.log_pi), p.beta, p.means, p.roots, p.shifts, p.df) for p in each), strict=True)
        return cls(*(np.stack(part) for part in parts))

    def flat(self) -> Stacked:
        """The same with one leading dim."""
        lead = self.pi.shape[:-1]
        n = int(np.prod(lead))
        return Stacked(*(x.reshape(n, *x.shape[len(lead) :]) for x in self))

    def at(self, index: int | tuple[int, ...]) -> Parameters:
        """Parameters of one draw."""
        log_pi = np.log(self.pi[index])
        beta, means, roots, shifts = self.beta[index], self.means[index], self.roots[index], self.shifts[index]
        return Parameters(log_pi[1:] - log_pi[0], beta, means, roots, shifts, self.df[index])


@dataclass(frozen=True)
class MixtureArrays(Portable):
    """Data and priors of one problem, standardised and sorted for the kernel.

    Attributes
    ----------
    sample : Sample
    weights_prior : WeightsPrior
    niw_prior : NiwPrior
        In standardised units; knows the covariance family.
    shift_precision : ndarray (Q, D)
        Prior precision of each slope of the means; zero where flat.
    floor : ndarray (D,)
        Conditional variance of each trait below which a component has collapsed.
    tails : Tails
        Of Student-t components.
    threads : bool
        Whether passes over a large sample may be shared among threads; not where several problems run in threads.
    """

    sample: Sample
    weights_prior: WeightsPrior
    niw_prior: NiwPrior
    shift_precision: Array
    floor: Array
    tails: Tails = field(default_factory=Tails)
    threads: bool = True

    @property
    def n_rows(self) -> int:
        """Rows of the sample: people, or distinct people when repeated rows are counted once."""
        return len(self.sample.pattern)

    @property
    def n_components(self) -> int:
        """Number of components, noise and a spike among them."""
        return self.weights_prior.n_components

    @property
    def n_located(self) -> int:
        """Components that have a mean and a covariance; the others, noise and a spike, come after them."""
        return self.n_components - self.sample.fixed.shape[1]

    @property
    def n_traits(self) -> int:
        """Number of traits."""
        return len(self.niw_prior.mean)

    @property
    def family(self) -> Family:
        """Covariance family."""
        return self.niw_prior.family

    def of_sample(self, sample: Sample) -> MixtureArrays:
        """The same problem with other numbers for its people, in the same units, for one thread among several."""
        other = replace(self, sample=sample, threads=False)
        other.__dict__["hyper"] = self.hyper
        return other

    def engine(self, *, threads: bool = True) -> Engine:
        """Compiled parts that this problem needs; passes are shared among threads when the sample is large."""
        return self._engine if threads else self._made_engine(threads=False)

    def _made_engine(self, *, threads: bool) -> Engine:
        family = self.family
        return Engine(
            passes=pass_for(self.sample, threads=threads and self.threads),
            expectation=expectation.address,
            expected=expected_log_weights.address,
            newton=self._weights_step,
            covariances=covariance_step(family).address,
            components=maximise_components.address,
            step=em_step.address,
            value=full_value_and_gradient.address,
            equal_volume=family.equal_volume,
            on_axes=family.on_axes,
            # where components share a volume or a shape, combined steps leave the family by rounding or more; the
            # families that can be sampled are the ones where every combination of members is exactly a member
            projected=not family.sampled,
        )

    @property
    def _weights_step(self) -> int:
        if not len(self.weights_prior.effect_mean):
            return 0
        return (kinked_weights if self.weights_prior.has_kinks else newton_weights).address

    @cached_property
    def _engine(self) -> Engine:
        return self._made_engine(threads=True)

    @property
    def head(self) -> int:
        """Free coordinates before those of the covariances."""
        of_weights = (self.n_components - 1) * (1 + len(self.weights_prior.effect_mean))
        return of_weights + self.n_traits * (self.n_located + len(self.shift_precision)) + self.tails.n_free

    # -- coordinates ------------------------------------------------------------------------------

    @cached_property
    def _tied(self) -> tuple[Tie, Array]:
        made = _tie_of if self.n_located * self.n_traits**2 <= _KEPT else _tie_of.__wrapped__
        return made(self.family, self.n_located, self.n_traits)

    @property
    def tie(self) -> Tie:
        """The linear family's map from free to full coordinates, for compiled code."""
        return self._tied[0]

    @property
    def _reader(self) -> Array:
        return self._tied[1]

    @property
    def n_free(self) -> int:
        """Free parameters."""
        return self.head + self.family.n_parameters(self.n_located, self.n_traits)

    def free(self, parameters: Parameters) -> Array:
        """Free coordinates of parameters; a curved family's are those of the chart around them."""
        full = parameters.full()
        if not self.family.linear:
            return np.concatenate((full[: self.head], CurvedChart(self.family, parameters.roots).origin))
        return np.concatenate((full[: self.head], self._reader @ full[self.head :]))

    def of_free(self, free: Array, near: Parameters) -> Parameters:
        """Parameters at free coordinates; ``near`` gives the shapes, and the chart of a curved family."""
        free = writable(free)
        if self.family.linear:
            return near.of_full(full_of_free(free, self.head, self.tie))
        chart = CurvedChart(self.family, near.roots)
        full = near.full()
        full[: self.head] = free[: self.head]
        return replace(near.of_full(full), roots=chart.roots(free[self.head :]))

    def stacked(self, free: Array, near: Parameters) -> Stacked:
        """Parameters at many free coordinates (n, n_free); ``near`` as for :meth:`of_free`."""
        if not self.family.linear:
            return Stacked.of([self.of_free(row, near) for row in free])
        contrasts, k, size, n = self.n_components - 1, self.n_located, self.n_traits, len(free)
        n_predictors, n_covariates = len(self.weights_prior.effect_mean), len(self.shift_precision)
        cuts = np.cumsum([contrasts, n_predictors * contrasts, k * size, n_covariates * size, self.tails.n_free])
        alpha, beta, means, shifts, log_df, rest = np.split(free, cuts, axis=1)
        tie, turns = self.tie, size * (size - 1) // 2
        matrix = np.zeros((len(tie.starts) - 1, tie.n_free))
        matrix[np.repeat(np.arange(len(matrix)), np.diff(tie.starts)), tie.columns] = tie.values
        covariances = rest @ matrix.T
        diagonal = np.exp(covariances[:, : k * size].reshape(n, k, size))
        roots = np.zeros((n, k, size, size))
        rows, columns = np.tril_indices(size, -1)
        lower = covariances[:, k * size :].reshape(n, k, turns)
        roots[:, :, rows, columns] = lower * diagonal[:, :, columns]
        every = np.arange(size)
        roots[:, :, every, every] = diagonal
        return Stacked(
            np.exp(log_softmax(np.concatenate((np.zeros((n, 1)), alpha), axis=1))),
            beta.reshape(n, n_predictors, contrasts),
            means.reshape(n, k, size),
            roots,
            shifts.reshape(n, n_covariates, size),
            self._df_of(log_df),
        )

    def _df_of(self, log_df: Array) -> Array:
        """Degrees of freedom (n, L) of every component from the logarithms of those estimated (n, n_free)."""
        if not self.tails.n_free:
            return np.tile(self.tails.df, (len(log_df), 1))
        return np.exp(log_df[:, np.arange(self.n_located) % self.tails.n_free])

    # -- densities --------------------------------------------------------------------------------

    def log_prior(self, parameters: Parameters) -> float:
        """Log prior density in the natural parameters, with every constant."""
        prior = self.weights_prior
        value = self.hyper.constant + float((prior.concentration - 1.0) @ parameters.log_pi)
        if len(parameters.beta):
            value += float(prior.log_kernel_effects(parameters.beta).sum())
        value -= 0.5 * float((self.shift_precision * parameters.shifts**2).sum())
        value += float(self.tails.log_density(parameters.df)) - self.tails.log_constant
        if self.niw_prior.is_flat:
            return value
        of_mean, of_covariance = self.niw_prior.log_constant()
        constants = self.n_located * of_mean + self.niw_prior.copies(self.n_located).sum() * of_covariance
        return value + float(self.niw_prior.log_density(parameters.means, parameters.roots).sum()) - float(constants)

    def expectation(self, parameters: Parameters) -> Moments:
        """E step: log likelihood and moments of the responsibilities."""
        return self._pass(parameters, NOTHING_2D, NOTHING_1D)

    def membership(self, parameters: Parameters) -> tuple[Array, Array]:
        """Responsibilities (n_rows, K) and log likelihood (n_rows,) of every row of the sample."""
        responsibilities, pointwise = np.empty((self.n_rows, self.n_components)), np.empty(self.n_rows)
        self._pass(parameters, responsibilities, pointwise)
        return responsibilities, pointwise

    def _pass(self, parameters: Parameters, responsibilities: Array, pointwise: Array) -> Moments:
        k, located, n_both = self.n_components, self.n_located, self.n_traits + len(self.shift_precision)
        counts = np.empty((len(self.sample.predictors), k))
        beta = writable(parameters.beta)
        log_weights_into(writable(parameters.alpha), beta, self.sample.predictors, counts)
        mass = np.empty(k + 2 * len(parameters.df))
        first, second = np.empty((located, n_both)), np.empty((located, n_both, n_both))
        arrays = (writable(x) for x in (parameters.means, parameters.roots, parameters.shifts, parameters.df))
        value = expectation.compiled(
            self.sample, self._engine.passes, counts, *arrays, mass, first, second, responsibilities, pointwise
        )
        return Moments(value, counts, mass, first, second)

    @cached_property
    def hyper(self) -> Hyper:
        """Hyperparameters as the compiled log posterior takes them."""
        prior, niw, k = self.weights_prior, self.niw_prior, self.n_located
        tails = self.tails
        of_mean, of_covariance = niw.log_constant()
        copies = niw.copies(k)
        proper = self.shift_precision[self.shift_precision > 0.0]
        constant = (
            float(prior.log_density_weights(np.zeros(self.n_components)))
            + tails.log_constant
            + float(prior.log_constants().sum())
            + k * of_mean
            + float(copies.sum()) * of_covariance
            + 0.5 * float(np.log(proper / (2.0 * np.pi)).sum())
        )
        return Hyper(
            prior.concentration,
            prior.effect_mean,
            prior.effect_precision(),
            prior.effect_kind,
            prior.effect_shape,
            niw.mean,
            float(niw.strength),
            niw.mean_power,
            niw.covariance_power,
            writable(niw.trace_scale),
            copies,
            niw.jacobian_power(k),
            self.shift_precision,
            writable(tails.df),
            tails.n_free,
            tails.shape,
            tails.rate,
            constant,
        )

    @cached_property
    def softened(self) -> MixtureArrays:
        """The same with priors of the effects that have no kink and no spike; see :meth:`WeightsPrior.softened`."""
        prior = self.weights_prior.softened()
        return self if prior is self.weights_prior else replace(self, weights_prior=prior)

    def held(self, parameters: Parameters) -> NDArray[np.bool_]:
        """Free coordinates (n_free,) of effects that lie exactly at the kink of a Laplace prior."""
        held = np.zeros(self.n_free, dtype=bool)
        if self.weights_prior.has_kinks:
            k = self.n_components - 1
            held[k : k * (1 + len(parameters.beta))] = np.repeat(self.weights_prior.at_kink(parameters.beta), k)
        return held

    def log_posterior(self, parameters: Parameters) -> float:
        """Log posterior, a density in the natural parameters, alone."""
        full = parameters.full()
        value: float = full_value_and_gradient.compiled(full, self.sample, self._engine, self.hyper, False, NOTHING_1D)
        return value

    def log_posterior_and_gradient(self, parameters: Parameters) -> tuple[float, Array]:
        """Log posterior, a density in the natural parameters, and its gradient in free coordinates.

        At the kink of a Laplace prior the gradient is the steepest ascent: nothing where the kink holds.
        """
        if self.family.linear:
            return self.value_and_gradient(self.free(parameters))
        full = parameters.full()
        gradient = np.empty(len(full))
        value = full_value_and_gradient.compiled(full, self.sample, self._engine, self.hyper, False, gradient)
        chart = CurvedChart(self.family, parameters.roots)
        return value, np.concatenate((gradient[: self.head], chart.pull_back(gradient[self.head :])))

    def value_and_gradient(self, free: Array, *, jacobian: bool = False) -> tuple[float, Array]:
        """Log posterior and gradient at a linear family's free coordinates.

        See :func:`bayesgmm.core.posterior.value_and_gradient`.
        """
        gradient = np.empty(len(free))
        free = writable(free)
        value = value_and_gradient(free, self.sample, self._engine, self.hyper, self.tie, jacobian, gradient)
        return value, gradient

    def negative_hessian(self, parameters: Parameters) -> Array:
        """Observed information of the log posterior in free coordinates, from differences of the exact gradient.

        It has no meaning in coordinates that are :meth:`held`.
        """
        centre = self.free(parameters)
        result = np.empty((len(centre), len(centre)))
        if self.family.linear:
            negative_hessian_into(centre, self.sample, self._engine, self.hyper, self.tie, _STEP, result)
            return result
        for j, x in enumerate(centre):
            step = _STEP * max(1.0, abs(x))
            ahead, behind = centre.copy(), centre.copy()
            ahead[j] += step
            behind[j] -= step
            _, g_ahead = self.log_posterior_and_gradient(self.of_free(ahead, parameters))
            _, g_behind = self.log_posterior_and_gradient(self.of_free(behind, parameters))
            result[j] = (g_behind - g_ahead) / (ahead[j] - behind[j])
        return 0.5 * (result + result.T)
