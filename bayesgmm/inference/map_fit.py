"""The posterior mode as a result: parameters, memberships, uncertainty, and how far to trust it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.checks import check_seed, check_whole, seed_or_zero
from bayesgmm.core.objective import Parameters
from bayesgmm.core.portable import Portable
from bayesgmm.errors import InputError
from bayesgmm.problem import Problem

if TYPE_CHECKING:
    from bayesgmm.inference.laplace import LaplacePosterior
    from bayesgmm.inference.variational_posterior import VariationalPosterior
    from bayesgmm.study import Study

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Emptied:
    """What died on the way to a fit under a prior of the weights that empties components.

    Attributes
    ----------
    n_asked : int
        Components of the specification.
    n_by_em : int
        Emptied by EM itself; the others were taken out because the rest score higher without them.
    scores : list of dict
        Best score and log posterior by number of components left; see :mod:`bayesgmm.inference.boundary`.
    """

    n_asked: int
    n_by_em: int
    scores: list[dict[str, float]]


@dataclass(frozen=True, eq=False)
class MapFit(Portable):
    """A fitted mixture: the posterior mode and what surrounds it.

    Attributes
    ----------
    problem : Problem
        Data and resolved priors.
    parameters : Parameters
        In standardised coordinates.
    converged : bool
        Whether the log posterior is estimated to be within the tolerance of its limit.
    reason : str
        Why the run stopped.
    gap : float
        Estimated distance of the log posterior to its limit when it did.
    gradient_norm : float
        Largest absolute derivative of the log posterior there, in the free standardised coordinates of the family.
    strict : bool
        False where Newton's method found that the log posterior is flat or rises in some direction at the estimate.
    seed : int or None
    log_posteriors : ndarray
        Log posterior at every accepted step of the best start.
    start_rows : list of dict
        One a start.
    emptied : Emptied or None
        Under a concentration below 1, components that died; the fit and its ``problem`` are of those that are left.
    information : ndarray (n_free, n_free), optional
        Observed information at the mode, where the climb came to know it; else it is computed when asked for.
    """

    problem: Problem
    parameters: Parameters
    converged: bool
    reason: str
    gap: float
    gradient_norm: float
    strict: bool
    seed: int | None
    log_posteriors: Array
    start_rows: list[dict[str, Any]]
    emptied: Emptied | None = None
    information: Array | None = None

    @cached_property
    def params(self) -> xr.Dataset:
        """Parameters in the traits' units.

        ``weights`` (component), ``means`` (component, trait), ``covariances`` (component, trait, trait_bis),
        ``effects`` (predictor, contrast; log odds ratio) and ``shifts`` (covariate, trait; slope of every mean).
        """
        return self.problem.labelled(self.parameters)

    @cached_property
    def history(self) -> xr.DataArray:
        """Log posterior at every accepted step of the best start (iteration); never decreasing."""
        return xr.DataArray(self.log_posteriors, dims=names.ITERATION, name=names.LOG_POSTERIOR)

    @cached_property
    def starts(self) -> pd.DataFrame:
        """One row per start: how it was made, where it got, whether it reached the best mode."""
        return pd.DataFrame(self.start_rows)

    @cached_property
    def log_likelihood(self) -> float:
        """Log likelihood of the traits at the mode."""
        moments = self.problem.arrays.expectation(self.parameters)
        return moments.log_likelihood + self.problem.log_likelihood_shift

    @cached_property
    def log_prior(self) -> float:
        """Log prior density at the mode, in the natural parameters, with every constant."""
        return self.problem.arrays.log_prior(self.parameters) + self.problem.log_prior_shift

    @property
    def log_posterior(self) -> float:
        """Log likelihood plus log prior: what EM climbs."""
        return self.log_likelihood + self.log_prior

    @property
    def n_emptied(self) -> int:
        """Components of the specification that are empty at the mode, and so not in this fit."""
        return 0 if self.emptied is None else self.emptied.n_asked - self.problem.n_components

    @property
    def survivors(self) -> pd.DataFrame:
        """Under a concentration below 1: ``n_components`` left, their best ``score`` and ``log_posterior``.

        ``score`` is the log posterior probability that so many components hold everybody, near the best mode and up to
        a constant, so differences between rows are log odds; the fit is the highest.
        """
        return pd.DataFrame(
            [] if self.emptied is None else self.emptied.scores, columns=["n_components", "score", names.LOG_POSTERIOR]
        )

    @property
    def n_iterations(self) -> int:
        """Accepted steps of the best start."""
        return len(self.log_posteriors)

    @property
    def n_parameters(self) -> int:
        """Free parameters: weights, effects, means, slopes, covariances, and the volume of noise that is of the data.

        Effects that a Laplace prior holds exactly at its kink are not free (Zou, Hastie and Tibshirani 2007, Annals of
        Statistics 35:2173).
        """
        arrays = self.problem.arrays
        noise = self.problem.fixed.noise
        of_noise = 1 if noise is not None and not noise.given else 0
        return arrays.n_free - int(arrays.held(self.parameters).sum()) + of_noise

    @property
    def bic(self) -> float:
        """Bayesian information criterion, ``-2 log L + p log n`` with the likelihood at the MAP; smaller is better.

        Under a prior it is a little above the one at the maximum likelihood (``Priors.flat()``). ``n`` is the number of
        people with traits, sample weights counted.
        """
        return -2.0 * self.log_likelihood + self.n_parameters * float(np.log(self.problem.n_effective))

    @property
    def aic(self) -> float:
        """Akaike information criterion, ``-2 log L + 2 p``; smaller is better."""
        return -2.0 * self.log_likelihood + 2.0 * self.n_parameters

    @property
    def icl(self) -> float:
        """Integrated completed likelihood: BIC plus twice the entropy of the memberships; smaller is better."""
        r = self.responsibilities.values[self.problem.people]
        each = -(r * np.log(np.maximum(r, 1e-300))).sum(axis=1)
        weight = self.problem.sample_weight
        entropy = float(each.sum() if weight is None else each @ weight[self.problem.people])
        return self.bic + 2.0 * entropy

    @cached_property
    def responsibilities(self) -> xr.DataArray:
        """Probability of each component for each person (sample, component).

        A person without traits has the mixing weights of their predictors.
        """
        return self._label_membership(self.problem.responsibilities(self.parameters), self.problem.sample_ids)

    @cached_property
    def flags(self) -> pd.DataFrame:
        """What should worry the reader: one row per finding (component, flag, message)."""
        from bayesgmm.inference.flags import find_flags

        return pd.DataFrame(find_flags(self), columns=["component", "flag", "message"])

    # -- uncertainty ----------------------------------------------------------------------------

    @cached_property
    def covariance_matrix(self) -> Array:
        """Inverse observed information in flat standardised coordinates (n_free, n_free).

        NaN throughout where the mode is not a strict maximum (an effect or weight at its boundary). NaN in the rows and
        columns of effects that a Laplace prior holds exactly at its kink, on which the others are conditional.
        """
        n_free = self.problem.arrays.n_free
        covariance = np.full((n_free, n_free), np.nan)
        moving = ~self.problem.arrays.held(self.parameters)
        try:
            known = self.information
            if known is None:
                known = self.problem.arrays.negative_hessian(self.parameters)
            information = known[np.ix_(moving, moving)]
            factor = np.linalg.cholesky(information)
        except np.linalg.LinAlgError:
            return covariance
        inverse = np.linalg.solve(factor, np.eye(len(information)))
        covariance[np.ix_(moving, moving)] = inverse.T @ inverse
        return covariance

    @property
    def held_effects(self) -> NDArray[np.bool_]:
        """Predictors (P,) whose effects a Laplace prior holds exactly at its kink."""
        return self.problem.arrays.weights_prior.at_kink(self.parameters.beta)

    @cached_property
    def conditional_covariance(self) -> Array:
        """The same as :attr:`covariance_matrix`, given the effects that are held: zero in their rows and columns."""
        held = self.problem.arrays.held(self.parameters)
        covariance = self.covariance_matrix.copy()
        covariance[held] = covariance[:, held] = 0.0
        return covariance

    @cached_property
    def standard_errors(self) -> xr.Dataset:
        """Standard errors of ``params`` from the observed information of the log posterior, by the delta method.

        An effect that a Laplace prior holds exactly at its kink has none (NaN); those of the others are conditional on
        it.
        """
        flat = self.problem.arrays.free(self.parameters)
        steps = np.diag(1e-5 * np.maximum(1.0, np.abs(flat)))
        ahead, behind = (
            self.problem.draws(flat + steps, self.parameters),
            self.problem.draws(flat - steps, self.parameters),
        )
        result = self.params.copy()
        for name in names.PARAMETERS:
            if name not in self.params:
                continue
            shape = self.params[name].shape
            rise = (ahead[name].values - behind[name].values).reshape(len(flat), int(np.prod(shape)))
            jacobian = rise / (2.0 * np.diag(steps)[:, None])
            variance = np.einsum("jm,jl,lm->m", jacobian, self.conditional_covariance, jacobian)
            result[name] = self.params[name].copy(data=np.sqrt(variance).reshape(shape))
        result[names.EFFECTS].values[self.held_effects] = np.nan
        return result

    def normal_draws(self, draws: int = 4000, seed: int | None = None) -> xr.Dataset:
        """Draws from the normal approximation at the mode, with the names and dims of a posterior.

        Parameters
        ----------
        draws : int
        seed : int, optional

        Returns
        -------
        xarray.Dataset
            Dims ``chain`` (1), ``draw`` and those of ``params``. Effects that a Laplace prior holds exactly at its kink
            are there in every draw.

        Raises
        ------
        InputError
            If the mode is not a strict maximum, so that there is no normal approximation.
        """
        check_whole("draws", draws, 1)
        seed = seed_or_zero(seed)
        arrays, near = self.problem.arrays, self.parameters
        moving = ~arrays.held(near)
        covariance = self.covariance_matrix[np.ix_(moving, moving)]
        if np.isnan(covariance).any():
            raise InputError(
                "the log posterior is not curved downwards at the mode in every direction, so there is no normal "
                "approximation; use a proper prior or sample the posterior"
            )
        rng = np.random.default_rng(seed)
        points = np.tile(arrays.free(near), (draws, 1))
        points[:, moving] += rng.standard_normal((draws, len(covariance))) @ np.linalg.cholesky(covariance).T
        return self.problem.draws(points, near)

    def laplace(self, draws: int = 4000, seed: int | None = None, df: float = 5.0) -> LaplacePosterior:
        """Draws from the posterior in a fraction of a second, and whether to trust them.

        A Student-t at the mode, shaped by the exact curvature in unconstrained coordinates, is corrected to the exact
        posterior by Pareto-smoothed importance resampling.

        Parameters
        ----------
        draws : int, default 4000
        seed : int, optional
            None: 0, so that draws are reproducible.
        df : float, default 5
            Degrees of freedom of the proposal: its tails have to be heavier than the posterior's.

        Returns
        -------
        LaplacePosterior
            With ``pareto_k`` (above 0.7: use NUTS), ``ess``, ``log_evidence`` and its error, and ``advice`` in words.

        Raises
        ------
        PropernessError
            If the prior is improper.
        InputError
            If an argument is out of bounds, or the covariance family cannot be sampled.
        """
        from bayesgmm.inference.laplace import laplace

        return laplace(self, draws, seed, df)

    def variational(self, *, max_iterations: int = 5000, tolerance: float = 1e-8) -> VariationalPosterior:
        """Mean-field posterior from this fit's memberships, in about the time of a fit; its intervals are too narrow.

        :meth:`bayesgmm.Mixture.variational` also starts elsewhere, and says more.

        Parameters
        ----------
        max_iterations : int, default 5000
        tolerance : float, default 1e-8
            Stop when steps gain less than a tenth of this.

        Returns
        -------
        VariationalPosterior

        Raises
        ------
        PropernessError, InputError
            If the prior is improper or has no conjugate form.
        """
        from bayesgmm.inference.variational import fit_variational

        return fit_variational(
            self.problem, init=self, seed=self.seed, max_iterations=max_iterations, tolerance=tolerance
        )

    # -- what was missing -----------------------------------------------------------------------

    @property
    def genotypes(self) -> pd.DataFrame:
        """Per variant of the weights: people whose genotype was missing or uncertain, and what was done about it."""
        return self.problem.genotype_account

    def impute(self, draws: int | None = None, seed: int | None = None) -> xr.DataArray:
        """Traits with what is missing filled in from the fit.

        Parameters
        ----------
        draws : int, optional
            None: the conditional mean given the person's observed traits, predictors and covariates. A number: so many
            draws from the conditional distribution, component and value.
        seed : int, optional
            None: 0, so that draws are reproducible.

        Returns
        -------
        xarray.DataArray
            (sample, trait), or (draw, sample, trait); observed values are as they were.
        """
        from bayesgmm.inference.imputation import impute

        return impute(self, draws, seed)

    # -- prediction -----------------------------------------------------------------------------

    def predict_proba(
        self,
        traits: Study | pd.DataFrame | Array,
        predictors: Array | None = None,
        covariates: Array | None = None,
    ) -> xr.DataArray:
        """Membership probabilities of new people (sample, component).

        Parameters
        ----------
        traits : Study, DataFrame or ndarray (m, n_traits)
            A study carries its own genotypes and covariates. A person without some traits is judged by the others;
            without any, by the mixing weights.
        predictors : ndarray or DataFrame (m, n_predictors), optional
            Columns ``problem.predictor_names``, not centred, when traits are an array or frame; frames are matched by
            index.
        covariates : ndarray or DataFrame (m, n_covariates), optional
            The same for ``problem.covariate_names``.
        """
        return self._score(traits, predictors, covariates)[0]

    def predict(
        self,
        traits: Study | pd.DataFrame | Array,
        predictors: Array | None = None,
        covariates: Array | None = None,
    ) -> xr.DataArray:
        """Likeliest component of new people (sample); arguments as in :meth:`predict_proba`."""
        return self.predict_proba(traits, predictors, covariates).argmax(names.COMPONENT)

    def score_samples(
        self,
        traits: Study | pd.DataFrame | Array,
        predictors: Array | None = None,
        covariates: Array | None = None,
    ) -> xr.DataArray:
        """Log density of new people's traits (sample); arguments as in :meth:`predict_proba`."""
        return self._score(traits, predictors, covariates)[1]

    def _score(self, traits: Any, predictors: Any, covariates: Any) -> tuple[xr.DataArray, xr.DataArray]:
        from bayesgmm.inference.prediction import score

        probabilities, log_density, samples = score(self.problem, self.parameters, traits, predictors, covariates)
        return (
            self._label_membership(probabilities, samples),
            xr.DataArray(
                log_density, dims=names.SAMPLE, coords={names.SAMPLE: np.asarray(samples)}, name="log_density"
            ),
        )

    def simulate(self, n: int, seed: int | None = None) -> pd.DataFrame:
        """Simulate new people from the fit.

        Predictors and covariates are drawn with replacement from the study's people, as many of each as it stands for.

        Parameters
        ----------
        n : int
        seed : int, optional

        Returns
        -------
        pandas.DataFrame
            ``component``, one column per trait, and one per predictor and covariate (not centred).
        """
        from bayesgmm.inference.prediction import simulate

        check_whole("n", n, 1)
        check_seed(seed)
        return simulate(self.problem, self.parameters, n, np.random.default_rng(seed))

    def assign(self) -> pd.DataFrame:
        """Likeliest component of each person, by number or as ``"noise"`` or ``"spike"``, and its probability."""
        r = self.responsibilities.values
        return pd.DataFrame(
            {names.COMPONENT: self.problem.component_names(r.argmax(axis=1)), "probability": r.max(axis=1)},
            index=pd.Index(self.problem.sample_ids, name=names.SAMPLE),
        )

    # -- telling --------------------------------------------------------------------------------

    def summary(self) -> pd.DataFrame:
        """One row per free parameter: its name, the MAP and its standard error."""
        from bayesgmm.inference.tidy import parameter_rows

        table = parameter_rows(self.params)
        table = table.rename(columns={"value": "map"})
        table["se"] = parameter_rows(self.standard_errors)["value"]
        return table

    def __repr__(self) -> str:
        from bayesgmm.inference.fit_words import words_of

        return words_of(self)

    def _label_membership(self, values: Array, samples: Sequence[str] | NDArray[Any]) -> xr.DataArray:
        return xr.DataArray(
            values,
            dims=(names.SAMPLE, names.COMPONENT),
            coords={names.SAMPLE: np.asarray(samples), names.COMPONENT: np.arange(self.problem.n_components)},
            name=names.RESPONSIBILITIES,
        )

    def to_tree(self) -> xr.DataTree:
        """Everything as a DataTree: groups ``map`` and ``constant_data``."""
        from bayesgmm.inference.fit_storage import tree_of_map

        return tree_of_map(self)

    def save(self, path: str | PathLike[str]) -> None:
        """Write to NetCDF (``.nc``) or Zarr (``.zarr``); the file appears whole or not at all.

        The coding of the formulas is not kept: a fit read back predicts from traits and ``predictors``, not a study.
        """
        from bayesgmm.inference.storage import save_tree

        save_tree(self.to_tree(), path)
