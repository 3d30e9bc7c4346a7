"""One mixture as an estimator: density, clustering, and memberships as features."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from bayesgmm import names
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.inference.prediction import score
from bayesgmm.model import Mixture
from bayesgmm.priors import Priors
from bayesgmm.problem_checks import family_for
from bayesgmm.sklearn.options import TraitsEstimator, checked_weights, counted, fit_under, seed_of, variances_alone

Array = NDArray[np.float64]


class MixtureEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, TraitsEstimator):
    """A Gaussian mixture of traits, fitted by :meth:`bayesgmm.Mixture.fit`.

    Parameters
    ----------
    n_components : int, default 1
    covariance : str, default "VVV"
        Covariance family, by mclust's letters or scikit-learn's names; see :class:`bayesgmm.Mixture`.
    noise : bool or float, default False
        One more component, even over the box that holds the data; see :class:`bayesgmm.Mixture`, as for the next two.
    spike : float or sequence of float, optional
        One more component at exactly this value.
    df : float or {"each", "shared"}, optional
        Student-t components with these degrees of freedom, or with ones that are estimated.
    priors : Priors, {"flat", "jeffreys"} or None
        None: the library's defaults; "flat": maximum likelihood.
    weights_concentration, components_strength, components_dof, components_scale : optional
        Hyperparameters of ``priors`` by themselves, so that a grid can vary them; None: as ``priors`` has them.
    restarts : int, default 10
        Starts tried.
    tolerance : float, default 1e-8
        Distance of the log posterior (of everybody, not a mean) to its limit at which a fit stops.
    max_iterations : int, default 5000
    random_state : int, RandomState or None
        Seed of the starts and of :meth:`sample`. None: a fit is reproducible all the same, draws are not.

    Attributes
    ----------
    fit_ : MapFit
        The fit, with everything that :class:`bayesgmm.MapFit` offers: standard errors, flags, Laplace.
    weights_ : ndarray (n_components,), noise and a spike among them
    means_ : ndarray (n_components, n_features)
        Components are in the order of their means of the first feature; noise (the middle of its box) and a
        spike come last.
    covariances_ : ndarray (n_components, n_features, n_features)
        Full matrices, whichever family; of Student-t components the scale matrices.
    lower_bound_ : float
        Log posterior at the mode: log likelihood of everybody plus log prior density.
    converged_ : bool
    n_iter_ : int
        Steps of the best start.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Where ``X`` had names.

    Notes
    -----
    Missing values (NaN) are modelled: a person is judged by what is known of them.

    Under ``weights_concentration`` below 1 components may be emptied; ``weights_`` is then shorter than
    ``n_components``.

    A pickle holds ``fit_``, and so the traits that it was fitted to.

    Examples
    --------
    >>> import numpy as np, bayesgmm as bg
    >>> rng = np.random.default_rng(1)
    >>> X = np.concatenate([rng.normal(0, 1, (300, 1)), rng.normal(4, 1, (200, 1))])
    >>> bg.sklearn.MixtureEstimator(2).fit(X).means_.round(1).ravel().tolist()
    [-0.1, 4.0]
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance: str = "VVV",
        noise: bool | float = False,
        spike: Any = None,
        df: Any = None,
        priors: Any = None,
        weights_concentration: Any = None,
        components_strength: float | None = None,
        components_dof: float | None = None,
        components_scale: Any = None,
        restarts: int = 10,
        tolerance: float = 1e-8,
        max_iterations: int = 5000,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.covariance = covariance
        self.noise = noise
        self.spike = spike
        self.df = df
        self.priors = priors
        self.weights_concentration = weights_concentration
        self.components_strength = components_strength
        self.components_dof = components_dof
        self.components_scale = components_scale
        self.restarts = restarts
        self.tolerance = tolerance
        self.max_iterations = max_iterations
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Find the posterior mode.

        Parameters
        ----------
        X : array_like or DataFrame (n_samples, n_features)
            Traits; NaN where missing.
        y : ignored
        sample_weight : array_like (n_samples,), optional
            How many people each row stands for; 0 is absence.

        Raises
        ------
        ValueError
            If an argument is out of bounds or the data cannot carry the model.
        """
        X = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", ensure_min_samples=2)
        weights = checked_weights(sample_weight, X)
        study = self._study(X, weights)
        model = Mixture(
            self.n_components,
            self.covariance,
            priors=self._stated_priors(),
            compress=counted(weights),
            noise=self.noise,
            spike=self.spike,
            df=self.df,
        )

        def fitted(priors: Priors) -> MapFit:
            return replace(model, priors=priors).fit(
                study,
                seed=seed_of(self.random_state),
                restarts=self.restarts,
                max_iterations=self.max_iterations,
                tolerance=self.tolerance,
            )

        fit = fit_under(
            fitted,
            model.priors,
            family_for(model.covariance, X.shape[1]),
            model.n_components,
            lambda: variances_alone(X, weights),
        )
        self.fit_ = fit
        self.weights_ = fit.params[names.WEIGHTS].values
        self.means_ = fit.params[names.MEANS].values
        self.covariances_ = fit.params[names.COVARIANCES].values
        self.lower_bound_ = fit.log_posterior
        self.converged_ = fit.converged
        self.n_iter_ = fit.n_iterations
        return self

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Likeliest component (n_samples,); arguments as in :meth:`fit`."""
        labels: NDArray[np.int64] = self.predict_proba(X).argmax(axis=1)
        return labels

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> NDArray[np.int64]:
        """Fit, and give the likeliest component of everybody (n_samples,)."""
        return self.fit(X, y, sample_weight).predict(X)

    def predict_proba(self, X: Any) -> Array:
        """Membership probabilities (n_samples, n_components)."""
        return self._scored(X)[0]

    def transform(self, X: Any) -> Array:
        """Membership probabilities as features (n_samples, n_components)."""
        return self.predict_proba(X)

    def score_samples(self, X: Any) -> Array:
        """Log density of each row (n_samples,), of the values that are not missing."""
        return self._scored(X)[1]

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Mean log density of a row: what a grid search makes as large as it can."""
        return float(np.average(self.score_samples(X), weights=sample_weight))

    def sample(self, n_samples: int = 1) -> tuple[Array, NDArray[np.int64]]:
        """Draw from the mixture: traits (n_samples, n_features) and components (n_samples,)."""
        check_is_fitted(self)
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        drawn = self.fit_.simulate(n_samples, seed)
        problem = self.fit_.problem
        # numbers for noise and a spike too, as in predict
        component = [problem.component_labels.index(str(name)) for name in drawn[names.COMPONENT]]
        return drawn[list(problem.trait_names)].to_numpy(), np.array(component, dtype=np.int64)

    def bic(self, X: Any) -> float:
        """Bayesian information criterion on ``X``; smaller is better."""
        log_density = self.score_samples(X)
        return float(-2.0 * log_density.sum() + self.fit_.n_parameters * np.log(len(log_density)))

    def aic(self, X: Any) -> float:
        """Akaike information criterion on ``X``; smaller is better."""
        return float(-2.0 * self.score_samples(X).sum() + 2.0 * self.fit_.n_parameters)

    def icl(self, X: Any) -> float:
        """BIC plus twice the entropy of the memberships: clusters that are apart; smaller is better."""
        probabilities = self.predict_proba(X)
        return self.bic(X) - 2.0 * float((probabilities * np.log(np.maximum(probabilities, 1e-300))).sum())

    def _scored(self, X: Any) -> tuple[Array, Array]:
        values = self._new_traits(X)
        probabilities, log_density, _ = score(self.fit_.problem, self.fit_.parameters, values)
        return probabilities, log_density

    @property
    def _n_features_out(self) -> int:
        """How many features :meth:`transform` gives, for their names."""
        return len(self.weights_)
