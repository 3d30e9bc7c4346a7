"""The specification of a mixture: what is modelled, under which priors. Every engine starts from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.core.families import ALIASES, FAMILIES, ONE_TRAIT, family_of
from bayesgmm.errors import InputError, first_few
from bayesgmm.priors import Priors
from bayesgmm.problem import Problem

if TYPE_CHECKING:
    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.inference.posterior import Posterior
    from bayesgmm.inference.variational_posterior import VariationalPosterior
    from bayesgmm.study import Study

    StudyLike = Study | pd.DataFrame | pd.Series | NDArray[Any]

_MOST_DF = 1e8  # that can be given: above, logarithms near 1 lose what the density is about


@dataclass(frozen=True)
class Mixture:
    """A Gaussian mixture of traits whose weights may depend on genotypes and covariates.

    Components may have heavier tails (Student-t), and there may be two more of them: noise, and a spike at one value.

    Parameters
    ----------
    n_components : int
        Number of components, noise and a spike not among them.
    covariance : str, default "VVV"
        Covariance family, by the letters of mclust (volume, shape, orientation: Equal, Variable or I for none): EII,
        VII, EEI, VEI, EVI, VVI, EEE, VEE, EVE, VVE, EEV, VEV, EVV, VVV; E or V for one trait; or scikit-learn's full,
        tied, diag, spherical. "VVV" is an unrestricted covariance matrix of each component's own.
    weights : str, optional
        Formula of the predictors of the mixing weights, e.g. ``"rs1 + rs2 + C(sex)"``. None: constant weights.
    means : str, optional
        Formula of covariates that shift every component's mean alike, e.g. ``"sex + age"``: the component means are
        then those of the average person, and ``shifts`` the slopes.
    priors : Priors
        Priors of weights, components and effects.
    reference : int, default 0
        Component against which log odds ratios are reported; components are sorted by their mean on the first trait.
    missing_genotypes : {"average", "mean"}, default "average"
        A person who lacks at most two of the genotypes in ``weights`` (or has probabilities instead) is averaged over
        what they may be, given the allele frequency; with more, or with "mean", the columns are set to what is
        expected. :attr:`MapFit.genotypes` says for how many.
    noise : bool or float, default False
        One more component, spread evenly over the box that holds the data (the smaller of the boxes along the axes and
        along the principal components, as mclust's), for people who belong to none. A number is taken for the box's
        volume (1 too; only ``True`` reads it off the data), which must be able to hold the data: at least the range of
        one trait, or of several the volume of the ellipsoid inscribed in that box. Predictors of the weights act on it
        as on any component. With noise, or ``df``, the defaults of the priors are those of the people who are not far
        from the others.
    spike : float or sequence of float, optional
        One more component at exactly this value (one for each trait): survivors, zeros, values at a limit of
        detection. Who has it is of that component for certain; predictors of the weights then say who is.
    df : float or {"each", "shared"}, optional
        Components are Student-t with these degrees of freedom, or with ones that are estimated: of each, or one for
        all. ``covariances`` are then the scale matrices.
    compress : bool, optional
        Compute on distinct rows with counts where people are alike in everything; the answer is the same. None: when
        that saves at least a tenth of the rows.

    Raises
    ------
    InputError
        If an argument is out of bounds.

    Examples
    --------
    >>> import numpy as np, bayesgmm as bg
    >>> rng = np.random.default_rng(1)
    >>> y = np.concatenate([rng.normal(0, 1, 300), rng.normal(4, 1, 200)])
    >>> fit = bg.Mixture(2).fit(y, seed=1)
    >>> fit.params["means"].values.round(1).ravel().tolist()
    [0.0, 4.0]
    """

    n_components: int
    covariance: str = "VVV"
    weights: str | None = None
    means: str | None = None
    priors: Priors = field(default_factory=Priors)
    reference: int = 0
    missing_genotypes: Literal["average", "mean"] = "average"
    compress: bool | None = None
    noise: bool | float = False
    spike: float | Sequence[float] | None = None
    df: float | Literal["each", "shared"] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.n_components, bool) or not isinstance(self.n_components, int | np.integer):
            raise InputError(f"n_components = {self.n_components!r}; it must be a whole number, at least 1")
        if self.n_components < 1:
            raise InputError(f"n_components = {self.n_components}; it must be at least 1")
        try:
            family_of(self.covariance)
        except (KeyError, TypeError):
            known = ", ".join((*FAMILIES, *ONE_TRAIT, *ALIASES))
            raise InputError(f"covariance = {self.covariance!r}; the families are {known}") from None
        if self.weights is not None and not isinstance(self.weights, str):
            raise InputError(f"weights = {self.weights!r}; it must be a formula, e.g. 'rs1 + age', or None")
        if self.means is not None and not isinstance(self.means, str):
            raise InputError(f"means = {self.means!r}; it must be a formula, e.g. 'sex + age', or None")
        if self.missing_genotypes not in ("average", "mean"):
            raise InputError(f"missing_genotypes = {self.missing_genotypes!r}; it must be 'average' or 'mean'")
        if self.compress not in (None, True, False):
            raise InputError(f"compress = {self.compress!r}; it must be True, False or None")
        self._check_beyond_gaussian()
        if not 0 <= self.reference < self.n_all:
            raise InputError(f"reference = {self.reference}; it must be one of the components 0 to {self.n_all - 1}")
        if not isinstance(self.priors, Priors):
            raise InputError(f"priors = {self.priors!r}; it must be a bayesgmm.Priors")

    def _check_beyond_gaussian(self) -> None:
        """Raise where noise, spike or degrees of freedom are out of bounds."""
        if not isinstance(self.noise, bool) and not (_is_number(self.noise) and self.noise > 0.0):
            raise InputError(f"noise = {self.noise!r}; it must be True, False, or the volume of its box, above 0")
        if self.spike is not None:
            values = np.atleast_1d(np.asarray(self.spike, dtype=object))
            if isinstance(self.spike, bool) or not all(_is_number(v) for v in values):
                raise InputError(f"spike = {self.spike!r}; it must be a finite number, or one for each trait")
        if self.df is not None and self.df not in ("each", "shared") and not (_is_number(self.df) and self.df > 0.0):  # type: ignore[operator]
            raise InputError(f"df = {self.df!r}; it must be a number above 0, 'each', 'shared' or None")
        if _is_number(self.df) and self.df > _MOST_DF:  # type: ignore[operator]
            raise InputError(
                f"df = {self.df!r}; it must be at most {_MOST_DF:g}, from where on it is a Gaussian but for rounding: "
                "leave df out"
            )

    @property
    def n_all(self) -> int:
        """Number of components, noise and a spike among them."""
        return self.n_components + (self.noise is not False) + (self.spike is not None)

    def spike_at(self, n_traits: int) -> NDArray[np.float64] | None:
        """The spike's value of each trait (n_traits,); None without a spike.

        Raises
        ------
        InputError
            If there are as many values as traits neither of one nor of all.
        """
        if self.spike is None:
            return None
        values = np.atleast_1d(np.asarray(self.spike, dtype=float))
        if len(values) not in (1, n_traits):
            raise InputError(f"spike has {len(values)} values for {n_traits} traits; give one number, or one per trait")
        return np.broadcast_to(values, n_traits).copy()

    @classmethod
    def from_card(cls, path: str | PathLike[str], study: Study | None = None) -> Mixture:
        """Read the specification from a model card: a TOML file, or the name of a card that comes along.

        The study is needed only where the card's prior of the effects depends on it: an earlier study, or allele
        frequencies.
        """
        from bayesgmm.cards import load_card

        return load_card(path).mixture(study)

    def problem(self, study: StudyLike, sample_weight: Any = None) -> Problem:
        """Bring the specification and a study together: aligned data, predictors and resolved priors."""
        return Problem.build(self, as_study(study, sample_weight))

    def fit(
        self,
        study: StudyLike,
        *,
        seed: int | None = None,
        restarts: int = 10,
        init: MapFit | NDArray[Any] | None = None,
        max_iterations: int = 5000,
        tolerance: float = 1e-8,
        progress: bool = False,
        sample_weight: pd.Series[Any] | NDArray[Any] | None = None,
    ) -> MapFit:
        """Find the posterior mode (MAP) by EM from several starts.

        Parameters
        ----------
        study : Study, DataFrame or ndarray
            Frames and arrays (n_samples, n_traits) are accepted when there are no predictors.
        seed : int, optional
            Seed of the starts. None: 0, so that a fit is always reproducible.
        restarts : int, default 10
            Starts tried: cuts along quantiles, a hierarchy and others first, then k-means++. All are screened by a few
            steps; the best third, at least four, go on to the top.
        init : MapFit or ndarray, optional
            One start instead: an earlier fit, component labels (n_samples,) or responsibilities
            (n_samples, n_components). Series and frames are matched by sample id; labels may be any values, as many
            different ones as there are components.
        max_iterations : int, default 5000
            Most steps of one start.
        tolerance : float, default 1e-8
            Stop when the log posterior is estimated to be this close to its limit.
        progress : bool, default False
            Show a progress bar.
        sample_weight : Series or ndarray (n_samples,), optional
            How many people each row stands for (a Series by sample id), in place of the study's own; 0 is absence.

        Returns
        -------
        MapFit

        Raises
        ------
        InputError
            If the study cannot carry the model.
        """
        from bayesgmm.inference.search import fit_map

        made = as_study(study, sample_weight)
        return fit_map(
            Problem.build(self, made),
            seed=seed,
            restarts=restarts,
            init=_of_the_present(init, made),
            max_iterations=max_iterations,
            tolerance=tolerance,
            progress=progress,
        )

    def sample(
        self,
        study: StudyLike,
        *,
        init: MapFit | None = None,
        draws: int = 1000,
        tune: int = 500,
        chains: int = 4,
        seed: int | None = None,
        cores: int | None = None,
        progress: bool = False,
        log_likelihood: bool | None = None,
        density: Literal["fused", "pymc"] = "fused",
        target_accept: float | None = None,
        sample_weight: pd.Series[Any] | NDArray[Any] | None = None,
    ) -> Posterior:
        """Draw from the posterior with the No-U-Turn sampler.

        Parameters
        ----------
        study : Study, DataFrame or ndarray
        init : MapFit, optional
            Start and pivot of the labels; fitted first when not given.
        draws, tune, chains : int
            Draws kept and warm-up draws of each chain, and chains.
        seed : int, optional
            Seed of the sampler. None: 0, so that a posterior is always reproducible.
        cores : int, optional
            Chains run at a time; by default as many as there are processors.
        progress : bool, default False
            Show a progress bar.
        log_likelihood : bool, optional
            Keep the pointwise log likelihood (chains x draws x people numbers). None: keep it up to 200 MB.
        density : {"fused", "pymc"}
            Where the log density comes from: the project's compiled log posterior, or the compiled graph of
            :meth:`to_pymc`'s model. They are the same density (tested to 1e-8); the graph takes a minute or so to
            compile the first time a shape of model is met.
        target_accept : float, optional
            Share of the sampler's steps that are to be accepted. None: 0.8, and 0.9 where scales are learned. Where
            there are divergences or few effective draws (components that overlap or are nearly empty), 0.97 takes
            shorter steps into the narrow parts, for one and a half to four times as long.
        sample_weight : Series or ndarray (n_samples,), optional
            As in :meth:`fit`.

        Returns
        -------
        Posterior

        Raises
        ------
        PropernessError
            If the prior is improper; the message says which part and why that matters.
        """
        from bayesgmm.inference.nuts import sample_posterior

        problem = self.problem(study, sample_weight)
        return sample_posterior(
            problem,
            init=init,
            draws=draws,
            tune=tune,
            chains=chains,
            seed=seed,
            cores=cores,
            progress=progress,
            log_likelihood=log_likelihood,
            density=density,
            target_accept=target_accept,
        )

    def variational(
        self,
        study: StudyLike,
        *,
        init: MapFit | NDArray[Any] | None = None,
        seed: int | None = None,
        restarts: int = 10,
        max_iterations: int = 5000,
        tolerance: float = 1e-8,
        progress: bool = False,
        sample_weight: pd.Series[Any] | NDArray[Any] | None = None,
    ) -> VariationalPosterior:
        """Approximate the posterior by one in which memberships, weights and components are independent.

        The same priors and the same E step as the MAP fit's, with expected log densities in place of plug-in ones, and
        a lower bound on the log evidence. Under a small concentration of the weights superfluous components empty
        themselves (``pruned``). Its intervals are too narrow, see :class:`bayesgmm.VariationalPosterior`.

        Parameters
        ----------
        study : Study, DataFrame or ndarray
        init : MapFit or ndarray, optional
            One start instead, as in :meth:`fit`.
        seed : int, optional
            Seed of the starts and draws. None: 0, so that the answer is reproducible.
        restarts : int, default 10
            Starts screened as in :meth:`fit`; the bound is raised from the MAP fit and from the highest of every hill,
            and the highest bound is the answer.
        max_iterations : int, default 5000
            Most passes over the people from one start.
        tolerance : float, default 1e-8
            Stop when steps gain less than a tenth of this.
        progress : bool, default False
            Show a progress bar.
        sample_weight : Series or ndarray (n_samples,), optional
            As in :meth:`fit`.

        Returns
        -------
        VariationalPosterior

        Raises
        ------
        PropernessError, InputError
            If the prior is improper, or has no conjugate form: several components of a family that share a part of
            their covariances, Jeffreys' prior of the weights.
        """
        from bayesgmm.inference.variational import fit_variational

        made = as_study(study, sample_weight)
        return fit_variational(
            Problem.build(self, made),
            init=_of_the_present(init, made),
            seed=seed,
            restarts=restarts,
            max_iterations=max_iterations,
            tolerance=tolerance,
            progress=progress,
        )

    def to_pymc(self, study: StudyLike) -> Any:
        """Build the PyMC model of this specification.

        Free variables are those of standardised traits; ``weights``, ``means``, ``covariances``, ``effects`` and
        ``shifts`` carry the names and dims of :class:`bayesgmm.MapFit`, in the traits' own units, and can be used in
        what is added. For priors of another kind use the likelihood by itself, :class:`bayesgmm.pymc.MarginalMixture`.

        Parameters
        ----------
        study : Study, DataFrame or ndarray

        Returns
        -------
        pymc.Model

        Raises
        ------
        PropernessError, InputError
            If the prior is improper, or the covariance family cannot be sampled.

        Examples
        --------
        >>> with model.to_pymc(study) as extended:  # doctest: +SKIP
        ...     distance = extended["means"][1, 0] - extended["means"][0, 0]
        ...     pm.Potential("distance_known", pm.logp(pm.Normal.dist(3.0, 0.2), distance))
        ...     tree = pm.sample()
        """
        from bayesgmm.inference.pymc_model import build_model

        return build_model(self.problem(study))


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return is_number and bool(np.isfinite(value))


def check_model(model: Any) -> None:
    """Refuse what is no specification, often because the arguments are in another order."""
    if not isinstance(model, Mixture):
        raise InputError(f"model is a {type(model).__name__}; give a bayesgmm.Mixture, and then the study")


def as_study(given: StudyLike, sample_weight: Any = None) -> Study:
    """A study, with these sample weights where some are given."""
    from bayesgmm.study import Study

    study = given if isinstance(given, Study) else Study.from_array(given)
    return study if sample_weight is None else study.with_weights(sample_weight)


def _of_the_present(init: Any, study: Study) -> Any:
    """A start by person in the study's order, without people of weight zero, who are absent from the problem."""
    if isinstance(init, pd.DataFrame) and list(init.columns) == [names.COMPONENT, "probability"]:
        init = init[names.COMPONENT]  # what MapFit.assign returns
    if isinstance(init, xr.DataArray):
        init = init.to_pandas()
    weight = study.sample_weight
    if isinstance(init, pd.DataFrame | pd.Series) and list(init.index) != list(range(len(init))):
        by_id = init.set_axis(init.index.astype(str))
        wanted = [s for i, s in enumerate(study.sample_ids) if weight is None or weight[i] > 0.0]
        absent = [s for s in wanted if s not in by_id.index]
        if absent:
            raise InputError(f"init lacks the samples {first_few(absent)}")
        return by_id.loc[wanted]
    if weight is None or init is None or not hasattr(init, "__len__") or len(init) != study.n_samples:
        return init
    return np.asarray(init)[weight > 0.0]
