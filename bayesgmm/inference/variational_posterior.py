"""A variational posterior as a result: factors, bound, memberships, and draws like those of every other engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from io import StringIO
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.checks import check_seed, check_whole
from bayesgmm.core.conjugate import ComponentFactors, DirichletFactor, ShiftFactor
from bayesgmm.core.copies import log_copies
from bayesgmm.core.gather import Uncertain
from bayesgmm.core.linear_response import LinearResponse
from bayesgmm.core.mean_field import Factors, MeanField
from bayesgmm.core.objective import Parameters, Stacked
from bayesgmm.core.row_pass import student_rows
from bayesgmm.core.sample import Sample
from bayesgmm.core.scale_factor import ScaleFactor
from bayesgmm.core.tail_factor import TailFactor
from bayesgmm.core.tilted import NormalFactor
from bayesgmm.errors import InputError, MissingExtraError
from bayesgmm.inference.draws import log_likelihood_of, log_prior_of, summed, tree_of_draws, versions, with_scales
from bayesgmm.inference.learned_density import scales_of
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.inference.posterior import Posterior
from bayesgmm.inference.tidy import parameter_index, parameter_rows, without_empty
from bayesgmm.inference.widened import POSITIVE, REAL, SHARE, widened
from bayesgmm.problem import Problem

Array = NDArray[np.float64]

PRUNED = 0.5  # expected people below which a component holds nobody
_DRAWS = 4000
_EXACT = 1e-6  # spread of log density ratios within which q is the posterior, and there is no tail to have a shape

_QUICK = 3e8  # steps of a correction, of a few nanoseconds, below which a table has it without being asked

CAUTION = (
    "intervals of q are too narrow, because memberships are taken as independent of the parameters: the more "
    "components overlap the narrower"
)
_CORRECTED = ("corrected_sd", "corrected_eti95_lb", "corrected_eti95_ub")
_PRINTED = ("parameter", "mean", "sd", "eti95_lb", "eti95_ub", *_CORRECTED)


@dataclass(frozen=True)
class VariationalRun:
    """What the ascent of the bound came to.

    Attributes
    ----------
    problem : Problem
    pivot : MapFit
        Whose labels are used.
    factors : Factors
        In standardised coordinates.
    bounds : ndarray
        The bound at every step, in the traits' units.
    converged : bool
    gap : float
        What the last step gained.
    seed : int
    start_rows : list of dict
    seconds : float
    """

    problem: Problem
    pivot: MapFit
    factors: Factors
    bounds: Array
    converged: bool
    gap: float
    seed: int
    start_rows: list[dict[str, Any]]
    seconds: float


def mean_field_of(problem: Problem) -> MeanField:
    """The bound of a problem."""
    return MeanField(problem.arrays, problem.priors.scales, problem.predictor_unit)


class VariationalPosterior(Posterior):
    """A mean-field posterior: normal-inverse-Wishart components, Dirichlet or normal weights, normal slopes.

    Of Student-t components people's latent precisions are in it too, and degrees of freedom that are estimated; scales
    of the effects that are learned have a normal factor of their logarithms.

    Made by :meth:`bayesgmm.Mixture.variational` and :meth:`bayesgmm.MapFit.variational`. It is of one labelling, that
    of ``map``. Its intervals are too narrow: memberships are taken as independent of the parameters, and what is not
    known of them does not reach the intervals. It is a :class:`Posterior` of independent draws from q, so that
    everything that reads draws reads these.
    """

    engine: ClassVar[str] = "variational"
    caution: ClassVar[str] = CAUTION

    @classmethod
    def of_run(cls, run: VariationalRun) -> VariationalPosterior:
        """Posterior whose tree is put together when it is first asked for."""
        made = cls.__new__(cls)
        made.__dict__.update(problem=run.problem, map=run.pivot, _run=run)
        return made

    @cached_property
    def _run(self) -> VariationalRun:
        return _run_of_tree(self.tree, self.problem, self.map)

    @cached_property
    def _field(self) -> MeanField:
        return mean_field_of(self.problem)

    # -- the bound --------------------------------------------------------------------------------

    @property
    def elbo(self) -> float:
        """Lower bound on the log evidence ``log p(y)`` in the traits' units, every constant included."""
        return float(self._run.bounds[-1])

    @property
    def log_evidence(self) -> float:
        """The bound with the labellings counted: a lower bound on the log evidence that is higher than :attr:`elbo`.

        The posterior has a copy of itself for each way to label the components, and q is of one. Where components are
        apart the copies add ``log(K!)``; components that are alike, such as empty ones, make no copies, and where all
        coincide this is :attr:`elbo` (:mod:`bayesgmm.core.copies`). Where the prior tells components apart it is of
        that prior given that they are in the order of their means, and no strict bound.
        """
        return self.elbo + self._log_copies

    @cached_property
    def _log_copies(self) -> float:
        problem, arrays = self.problem, self.problem.arrays
        repeats = arrays.sample.repeats
        people = repeats if len(repeats) else np.ones(arrays.n_rows)
        return log_copies(self._inside[:, : problem.n_located], people)

    @cached_property
    def _inside(self) -> Array:
        """Memberships of every row of the sample (n_rows, K)."""
        inside = np.empty((self.problem.arrays.n_rows, self.problem.n_components))
        self._field.expectation(self._run.factors, inside)
        return inside

    @property
    def history(self) -> xr.DataArray:
        """The bound at every step of the best start (iteration); never decreasing."""
        return xr.DataArray(self._run.bounds, dims=names.ITERATION, name="elbo")

    @property
    def converged(self) -> bool:
        """Whether the last steps gained nothing more."""
        return self._run.converged

    @property
    def n_iterations(self) -> int:
        """Steps of the best start."""
        return len(self._run.bounds)

    @property
    def starts(self) -> pd.DataFrame:
        """One row per start: how it was made, the bound it reached, whether that is the best."""
        return pd.DataFrame(self._run.start_rows)

    @cached_property
    def pareto_k(self) -> float:
        """Shape of the tail of the importance weights of draws from q against the posterior.

        Below 0.5 q is close to the posterior, up to 0.7 usable as a proposal, above that far from it (Yao, Vehtari,
        Simpson and Gelman 2018, ICML). It takes a pass over the people for each of 4,000 draws.
        """
        try:
            from arviz_stats.base import array_stats
        except ImportError as error:
            raise MissingExtraError(f"pareto_k needs the extra: pip install 'bayesgmm[sample]' ({error})") from error
        log_ratio = self.log_ratios(_DRAWS, self._run.seed)
        if np.ptp(log_ratio) < _EXACT:
            return 0.0
        return float(array_stats.psislw(-log_ratio)[1])

    def log_ratios(self, n: int, seed: int | None = None) -> Array:
        """Log of the joint density of traits and parameters over q's density, at draws from q (n,).

        Their mean lies between :attr:`elbo` and the log evidence: memberships are summed out.
        """
        problem, q = self.problem, self._run.factors
        stacked, theta = self._stacked(n, seed), self._scales_drawn(n, seed)
        one = Stacked(*(x[None] for x in stacked))
        log_prior = summed(log_prior_of(problem, one, None if theta is None else theta[None]))
        log_joint = (log_prior + log_likelihood_of(problem, one))[0]
        log_q = q.weights.log_density(stacked.pi, stacked.beta) + q.components.log_density(stacked.means, stacked.roots)
        log_q = log_q + q.shifts.log_density(stacked.shifts) + q.tails.log_density(stacked.df)
        if theta is not None and q.scales is not None:
            # both densities in the scales themselves
            log_q = log_q + q.scales.log_density(theta) - scales_of(problem).log_jacobian(theta)
        log_ratio: Array = log_joint - log_q - problem.log_prior_shift
        return log_ratio

    # -- parameters -------------------------------------------------------------------------------

    @property
    def _plug_in(self) -> Parameters:
        q = self._run.factors
        log_pi = np.log(np.maximum(q.weights.baseline(), np.finfo(float).tiny))
        beta = q.weights.mean[1:] if isinstance(q.weights, NormalFactor) else self.map.parameters.beta
        at = log_pi[1:] - log_pi[0], beta, q.components.means, q.components.roots, q.shifts.mean
        return Parameters(*at, q.tails.df, q.tails.tails.n_free)

    @cached_property
    def params(self) -> xr.Dataset:
        """Posterior means in the traits' units: the names and dims of :attr:`MapFit.params`.

        Variances are infinite where a component's factor has no mean (nearly empty, under few degrees of freedom).
        """
        result = self.problem.labelled(self._plug_in)
        covariances = self._run.factors.components.expected_covariances()
        result[names.COVARIANCES].values[: len(covariances)] = covariances * self._squared_units
        return result

    @cached_property
    def standard_deviations(self) -> xr.Dataset:
        """Standard deviations under q of everything in :attr:`params`; too small, see :attr:`corrected_sds`."""
        problem, q = self.problem, self._run.factors
        result = self.params.copy(deep=True)
        result[names.WEIGHTS].values[:] = q.weights.weight_sds()
        located = slice(problem.n_located)
        for name in (names.MEANS, names.COVARIANCES):
            result[name].values[:] = 0.0  # noise and a spike are where they are
        result[names.MEANS].values[located] = q.components.mean_sds() * problem.unit
        result[names.COVARIANCES].values[located] = q.components.covariance_sds() * self._squared_units
        if isinstance(q.weights, NormalFactor):
            result[names.EFFECTS].values[:] = self._effect_sds(q.weights)
        if q.tails.tails.n_free:
            result[names.DF].values[:] = q.tails.sds()
        if problem.covariate_names:
            result[names.SHIFTS].values[:] = q.shifts.sds() * (problem.unit[None, :] / problem.covariate_unit[:, None])
        return result

    @cached_property
    def corrected_sds(self) -> xr.Dataset:
        """Standard deviations of everything in :attr:`params` with what q leaves out of them, by linear response.

        Factors are independent under q, so each is as sure as if it knew the others. How far the expectation of a
        parameter moves when the log posterior is tilted by it, memberships and all other factors moving along, is the
        variance that the parameter has in the posterior where that is near normal (Giordano, Broderick and Jordan 2018,
        JMLR 19:51; :mod:`bayesgmm.core.linear_response`). It takes two passes over the people for each number of q.
        Scales of the effects that are learned are taken as they are under q: what effects have from them is left out.

        Raises
        ------
        InputError
            If there are covariates of the means, or q is not at a strict maximum of the bound.
        """
        if self.problem.covariate_names:
            raise InputError(
                "corrected_sds: not for covariates of the means; take the posterior's from fit.laplace() or sample it"
            )
        response = LinearResponse(self._field, self._run.factors)
        try:
            added = response.added_variances(self._expected_numbers)
        except np.linalg.LinAlgError as error:
            raise InputError(
                f"corrected_sds: {error}; lower the tolerance, use fewer components, or sample the posterior"
            ) from error
        result = self.standard_deviations.copy(deep=True)
        at = 0
        told = (names.WEIGHTS, names.MEANS, names.COVARIANCES, names.EFFECTS)
        for name in (*told, names.DF) if self.problem.priors.tails.n_free else told:
            values = result[name].values
            if name in (names.MEANS, names.COVARIANCES):
                values = values[: self.problem.n_located]
            own = added[at : at + values.size].reshape(values.shape)
            at += values.size
            finite = np.isfinite(values) & np.isfinite(own)
            values[finite] = np.sqrt(np.maximum(values[finite] ** 2 + own[finite], 0.0))
        return result

    # -- tables ------------------------------------------------------------------------------------

    def correction(self, *, asked: bool = True) -> tuple[dict[str, float], str]:
        """Corrected standard deviations by parameter, or none and why.

        Parameters
        ----------
        asked : bool, default True
            False: only where they are known already or take about a second.
        """
        if not asked and "corrected_sds" not in self.__dict__:
            arrays, passes = self.problem.arrays, LinearResponse(self._field, self._run.factors).n_passes
            steps = float(passes) * arrays.n_rows * arrays.n_components * (arrays.n_traits + 1) ** 2
            if steps > _QUICK and not self.problem.covariate_names:
                return {}, f"corrected_sds has what is left out to first order, by {passes} passes over the people"
        try:
            found = parameter_rows(self.corrected_sds)
        except InputError as error:
            return {}, str(error)
        return dict(zip(found["parameter"], found["value"], strict=True)), ""

    def summary(self) -> pd.DataFrame:
        """One row per free parameter: mean, sd, median and intervals under q, and, where quick, what is corrected.

        ``corrected_sd`` is of :attr:`corrected_sds`; ``corrected_eti95_lb`` and ``corrected_eti95_ub`` end an interval
        of draws that are spread out to it: those of weights by their log odds, of variances and degrees of freedom by
        their logarithms. They are empty for learned scales of the effects, which are not corrected.
        """
        table = super().summary()
        corrected, _ = self.correction(asked=False)
        return table.join(self.corrected_intervals(corrected)) if corrected else table

    def corrected_intervals(self, corrected: Mapping[str, float]) -> pd.DataFrame:
        """Corrected sd and ends of the 95% interval (the columns of :meth:`summary`), a row for each free parameter."""
        rows = []
        for name, variable, where in parameter_index(self.posterior):
            drawn = self.spread_out(variable, where, corrected[name])
            rows.append((corrected[name], *np.percentile(drawn, [2.5, 97.5])))
        return pd.DataFrame(rows, columns=list(_CORRECTED))

    def spread_out(self, variable: str, where: Mapping[str, int], sd: float) -> Array:
        """Draws (chain, draw) of one parameter with another standard deviation than they have under q."""
        values = self.posterior[variable].isel(where).transpose(names.CHAIN, names.DRAW).values
        variance = variable == names.COVARIANCES and where[names.TRAIT] == where[names.TRAIT_BIS]
        kind = SHARE if variable == names.WEIGHTS else POSITIVE if variance or variable == names.DF else REAL
        return widened(values, sd, kind)

    def _expected_numbers(self, q: Factors) -> Array:
        """What :attr:`params` holds, of any factors."""
        problem = self.problem
        means = problem.centre + problem.unit * q.components.means
        covariances = q.components.expected_covariances() * self._squared_units
        effects = np.zeros(0)
        if isinstance(q.weights, NormalFactor):
            effects = (q.weights.mean[1:] @ self._turn[:, 1:].T) / problem.predictor_unit[:, None]
        df = q.tails.means if q.tails.tails.n_free else np.zeros(0)
        return np.concatenate((q.weights.baseline(), means.ravel(), covariances.ravel(), effects.ravel(), df))

    @property
    def _squared_units(self) -> Array:
        return np.outer(self.problem.unit, self.problem.unit)

    @property
    def _turn(self) -> Array:
        """From logits to contrasts against the reference (K-1, K)."""
        turn = np.delete(np.eye(self.problem.n_components), self.problem.reference, axis=0)
        turn[:, self.problem.reference] = -1.0
        return turn

    def _effect_sds(self, weights: NormalFactor) -> Array:
        problem, k = self.problem, self.problem.n_components
        full, free = np.zeros((k, k)), k - 1
        sds = np.empty((len(problem.predictor_names), free))
        for p in range(len(sds)):
            own = slice((1 + p) * free, (2 + p) * free)
            full[1:, 1:] = weights.covariance[own, own]
            sds[p] = np.sqrt(np.einsum("ck,kl,cl->c", self._turn, full, self._turn)) / problem.predictor_unit[p]
        return sds

    @property
    def factors(self) -> xr.Dataset:
        """The numbers of q in the traits' units.

        ``mass`` (component; expected people), ``strength`` (kappa), ``dof`` (nu; twice the shape in families along the
        axes), ``means`` and ``scales`` (Psi) of the components; ``concentration`` (component) of the weights where no
        predictor acts on them, else ``logits`` (coefficient, other): the intercepts and effects against component 0,
        per standard deviation of each predictor, and their ``logit_covariance``. Of Student-t components
        ``latent_precision``, what their means count in place of ``mass``, and ``df`` (expected where estimated). Of
        learned scales ``log_scales`` and ``log_scale_covariance``, of the coordinates of
        :mod:`bayesgmm.core.learned_scales`.
        """
        problem, q = self.problem, self._run.factors
        components, located = q.components, _located(problem)
        data: dict[str, Any] = {
            "mass": (located, components.mass),
            "strength": (located, components.strength),
            "dof": (located, components.dof),
            names.MEANS: ((located, names.TRAIT), problem.centre + problem.unit * components.means),
            "scales": ((located, names.TRAIT, names.TRAIT_BIS), components.scales * self._squared_units),
        }
        if isinstance(q.weights, NormalFactor):
            data["logits"] = (("coefficient", "other"), q.weights.mean)
            data["logit_covariance"] = (("entry", "entry_bis"), q.weights.covariance)
        else:
            data["concentration"] = (names.COMPONENT, q.weights.concentration)
        if q.scales is not None:
            at = ("scale", q.scales.mean), (("scale", "scale_bis"), q.scales.covariance)
            data["log_scales"], data["log_scale_covariance"] = at
        if components.precisions is not None:
            data["latent_precision"] = (located, components.precisions)
            data[names.DF] = (located, q.tails.df)
        used = (names.COMPONENT, names.TRAIT, names.TRAIT_BIS)
        return xr.Dataset(data, coords={name: problem.coords[name] for name in used})

    @property
    def mass(self) -> xr.DataArray:
        """Expected number of people of each component (component), sample weights counted."""
        r, weight = self.responsibilities.values[self.problem.people], self.problem.sample_weight
        totals = r.sum(axis=0) if weight is None else weight[self.problem.people] @ r
        return xr.DataArray(totals, dims=names.COMPONENT, coords={names.COMPONENT: np.arange(len(totals))}, name="mass")

    @property
    def pruned(self) -> list[int]:
        """Components that are expected to hold less than half a person: their factors are the prior.

        Under a concentration below 1 superfluous components empty themselves.
        """
        return [int(k) for k in np.flatnonzero(self.mass.values[: self.problem.n_located] < PRUNED)]

    # -- people -----------------------------------------------------------------------------------

    @cached_property
    def responsibilities(self) -> xr.DataArray:
        """Probability under q of each component for each person (sample, component).

        A person without traits has the expected weights of their predictors.
        """
        problem = self.problem
        values = self._inside[problem.row_of]
        if not isinstance(problem.people, slice):
            everybody = np.exp(self._weights_alone(problem.predictors, problem.uncertain))
            everybody[problem.people] = values
            values = everybody
        return self._labelled(values, problem.sample_ids)

    def predict_proba(self, traits: Any, predictors: Any = None, covariates: Any = None) -> xr.DataArray:
        """Probability under q of each component for new people (sample, component).

        Arguments as in :meth:`MapFit.predict_proba`.
        """
        from bayesgmm.inference.prediction import score

        q, at = self._run.factors, self._plug_in
        if len(q.tails.df):
            at = replace(at, roots=at.roots / np.sqrt(q.components.widening(q.tails.df))[:, None, None])
        by_row = self._student_rows if len(q.tails.df) and self.problem.covariate_names else None
        found, _, samples = score(self.problem, at, traits, predictors, covariates, self._log_weights_of, by_row)
        return self._labelled(found, samples)

    def _student_rows(self, sample: Sample, log_weights: Array, responsibilities: Array, pointwise: Array) -> None:
        """Memberships of new people where slopes of Student-t components' means are not certain."""
        q = self._run.factors
        widths = q.shifts.widths(q.components.expected_precisions, sample.covariates)
        student_rows(sample, q.components, q.tails.df, q.shifts.mean, widths, log_weights, responsibilities, pointwise)

    def predict(self, traits: Any, predictors: Any = None, covariates: Any = None) -> xr.DataArray:
        """Likeliest component of new people (sample); arguments as in :meth:`MapFit.predict_proba`."""
        return self.predict_proba(traits, predictors, covariates).argmax(names.COMPONENT)

    def _log_weights_of(self, rows: Array, uncertain: Uncertain, covariates: Array) -> tuple[Array, Array]:
        """Log weights of new people with traits, constants of q included, and of people without."""
        unit, q = self.problem.predictor_unit, self._run.factors
        by_row = len(q.tails.df) and covariates.shape[1]
        weights_at = self._field.log_weights_by_row if by_row else self._field.log_weights
        log_weights = weights_at(q, rows / unit)
        if len(uncertain.person):
            log_weights = uncertain.mixed(weights_at(q, uncertain.rows / unit), len(rows), log_weights)
        if covariates.shape[1] and not by_row:
            widths = q.shifts.widths(q.components.expected_precisions, covariates.T)
            log_weights[:, : widths.shape[1]] -= 0.5 * widths
        return log_weights, self._weights_alone(rows, uncertain)

    def _weights_alone(self, rows: Array, uncertain: Uncertain) -> Array:
        """Logarithms of expected weights (m, K) at centred predictors, averaged over what is not certain."""
        unit, weights = self.problem.predictor_unit, self._run.factors.weights
        log_weights = np.log(weights.expected_weights(rows / unit))
        if not len(uncertain.person):
            return log_weights
        return uncertain.mixed(np.log(weights.expected_weights(uncertain.rows / unit)), len(rows), log_weights)

    def _labelled(self, values: Array, samples: Sequence[str] | NDArray[Any]) -> xr.DataArray:
        return xr.DataArray(
            values,
            dims=(names.SAMPLE, names.COMPONENT),
            coords={names.SAMPLE: np.asarray(samples), names.COMPONENT: np.arange(self.problem.n_components)},
            name=names.RESPONSIBILITIES,
        )

    # -- draws ------------------------------------------------------------------------------------

    def draws(self, n: int = _DRAWS, seed: int | None = None) -> xr.Dataset:
        """Independent draws from q, with the names and dims of a posterior; ``chain`` is 1.

        Parameters
        ----------
        n : int, default 4000
        seed : int, optional
            None: 0, so that draws are reproducible.
        """
        check_whole("n", n, 1)
        check_seed(seed)
        found, theta = self.problem.draws_of(self._stacked(n, seed)), self._scales_drawn(n, seed)
        if theta is not None:
            found = with_scales(self.problem, found, theta[None])
        return found.assign_coords({names.CHAIN: np.arange(1), names.DRAW: np.arange(n)})

    def _stacked(self, n: int, seed: int | None) -> Stacked:
        rng, q = np.random.default_rng(0 if seed is None else seed), self._run.factors
        pi, beta = q.weights.draw(n, rng)
        if beta.shape[1] != len(self.problem.predictor_names):
            beta = np.zeros((n, len(self.problem.predictor_names), 0))  # one component: no effects
        means, roots = q.components.draw(n, rng)
        return Stacked(pi, beta, means, roots, q.shifts.draw(n, rng), q.tails.draw(n, rng))

    def _scales_drawn(self, n: int, seed: int | None) -> Array | None:
        """Coordinates (n, n_scales) of learned scales drawn with the others; they are independent of them under q."""
        scales = self._run.factors.scales
        return None if scales is None else scales.draw(n, np.random.default_rng((0 if seed is None else seed, 1)))

    @property
    def posterior(self) -> xr.Dataset:
        """4,000 draws (chain, draw, ...) from q."""
        if "tree" in self.__dict__:
            return super().posterior
        return self._drawn

    @cached_property
    def _drawn(self) -> xr.Dataset:
        return self.draws(_DRAWS, self._run.seed)

    @cached_property
    def tree(self) -> xr.DataTree:
        """Groups as those of :class:`Posterior`, and ``variational``: the factors, standardised, and the bound."""
        run = self._run
        stacked = Stacked(*(x[None] for x in self._stacked(_DRAWS, run.seed)))
        theta = self._scales_drawn(_DRAWS, run.seed)
        tree = tree_of_draws(
            self.map,
            stacked,
            xr.Dataset(),
            self.responsibilities.values,
            problem=self.problem,
            theta=None if theta is None else theta[None],
        )
        tree["variational"] = xr.DataTree(_stored(run))
        tree.attrs = {
            "engine": self.engine,
            "seed": run.seed,
            "elbo": self.elbo,
            "log_evidence": self.log_evidence,
            "seconds_to_sample": run.seconds,
            "versions": versions("numpy", "numba"),
            "priors": str(self.problem.priors),
        }
        return tree

    def __repr__(self) -> str:
        state = "converged" if self.converged else "NOT converged"
        lines = [
            f"VariationalPosterior: {self.problem.components_told} of {', '.join(self.problem.trait_names)}, "
            f"{self.n_iterations} steps, {state}",
            f"evidence lower bound {self.elbo:.4f}",
        ]
        if self.problem.n_located > 1:
            # of a prior that tells components apart it is no bound
            word = "at least" if self.problem.priors.label_invariant else "about"
            lines[-1] += f"; with the labellings counted, log evidence {word} {self.log_evidence:.4f}"
        if self.pruned:
            lines.append(f"components without people: {', '.join(map(str, self.pruned))}")
        table, (corrected, why) = self.summary(), self.correction(asked=False)
        told = (
            "sd and eti95 are those of q; corrected_sd and corrected_eti95 are with what q leaves out, to first order "
            "(linear response), and the ones to read"
            if corrected
            else f"{why}; sd and eti95 below are those of q"
        )
        shown = table[[name for name in _PRINTED if name in table]].round(4)
        return "\n".join([*lines, f"{CAUTION}; {told}", shown.to_string(index=False, na_rep="")])


def _located(problem: Problem) -> str:
    """The dim of the components that have factors of their own."""
    return names.LOCATED if len(problem.fixed) else names.COMPONENT


def _stored(run: VariationalRun) -> xr.Dataset:
    """A run's factors as they are, for a file."""
    q, located = run.factors, _located(run.problem)
    data: dict[str, Any] = {
        "mass": (located, q.components.mass),
        names.MEANS: ((located, names.TRAIT), q.components.means),
        "scales": ((located, names.TRAIT, names.TRAIT_BIS), q.components.scales),
        "history": (names.ITERATION, run.bounds),
    }
    if isinstance(q.weights, NormalFactor):
        data["logits"] = (("coefficient", "other"), q.weights.mean)
        data["logit_covariance"] = (("entry", "entry_bis"), q.weights.covariance)
    else:
        data["concentration"] = (names.COMPONENT, q.weights.concentration)
    if q.components.precisions is not None:
        data["latent_precision"] = (located, q.components.precisions)
    if q.tails.tails.n_free:
        data["df_people"], data["df_excess"] = ("tail", q.tails.people), ("tail", q.tails.excess)
    if q.scales is not None:
        data["scales_mean"], data["scales_covariance"] = (
            ("scale", q.scales.mean),
            (("scale", "scale_bis"), q.scales.covariance),
        )
    if q.shifts.mean.size:
        data[names.SHIFTS] = ((names.COVARIATE, names.TRAIT), q.shifts.mean)
        data["shift_covariance"] = (("slope", "slope_bis"), q.shifts.covariance.reshape(q.shifts.mean.size, -1))
    stored = without_empty(xr.Dataset(data))
    stored.attrs = {
        "converged": int(run.converged),
        "gap": run.gap,
        "starts": pd.DataFrame(run.start_rows).to_json(orient="split"),
    }
    return stored


def _run_of_tree(tree: xr.DataTree, problem: Problem, pivot: MapFit) -> VariationalRun:
    """The run that a tree was made of."""
    stored, arrays = tree["variational"].to_dataset(), problem.arrays
    components = ComponentFactors(
        arrays.niw_prior,
        stored["mass"].values,
        stored[names.MEANS].values,
        stored["scales"].values,
        stored["latent_precision"].values if "latent_precision" in stored else None,
    )
    nothing = np.empty(0)
    of_df = (stored[name].values if name in stored else nothing for name in ("df_people", "df_excess"))
    tails = TailFactor(arrays.tails, *of_df)
    weights: DirichletFactor | NormalFactor
    if "logits" in stored:
        weights = NormalFactor(arrays.weights_prior, stored["logits"].values, stored["logit_covariance"].values)
    else:
        weights = DirichletFactor(arrays.weights_prior.concentration, stored["concentration"].values)
    scales = None
    if "scales_mean" in stored and isinstance(weights, NormalFactor):
        at = stored["scales_mean"].values, stored["scales_covariance"].values
        scales = ScaleFactor(scales_of(problem), problem.predictor_unit, arrays.n_components - 1, *at)
        weights = weights.with_effect_sds(scales.sds)
    q, size = arrays.shift_precision.shape
    shifts = ShiftFactor.at(arrays.shift_precision, np.zeros((q, size)))
    if names.SHIFTS in stored:
        covariance = stored["shift_covariance"].values.reshape(q, size, q, size)
        shifts = replace(shifts, mean=stored[names.SHIFTS].values, covariance=covariance)
    starts = pd.read_json(StringIO(str(stored.attrs["starts"])), orient="split")
    return VariationalRun(
        problem=problem,
        pivot=pivot,
        factors=Factors(weights, components, shifts, tails, scales),
        bounds=stored["history"].values,
        converged=bool(stored.attrs["converged"]),
        gap=float(stored.attrs["gap"]),
        seed=int(tree.attrs["seed"]),
        start_rows=[dict(row) for _, row in starts.iterrows()],
        seconds=float(tree.attrs["seconds_to_sample"]),
    )
