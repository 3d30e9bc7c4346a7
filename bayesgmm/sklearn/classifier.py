"""Classification by a mixture per class: EDDA and MclustDA."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logsumexp
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from bayesgmm.errors import DataWarning, InputError, first_few, warn
from bayesgmm.sklearn.class_models import (
    OwnMixtures,
    People,
    Search,
    SharedFamily,
    best_mixtures,
    best_shared_family,
    families_asked,
)
from bayesgmm.sklearn.options import TraitsEstimator, checked_weights, seed_of

Array = NDArray[np.float64]

_METHODS = ("edda", "mclustda")
_SIZES = (1, 2, 3, 4, 5)  # components of a class that are tried, as mclust does


class MixtureClassifier(ClassifierMixin, TraitsEstimator):
    r"""Classify by the density of each class, ``P(c | x)`` proportional to ``P(c) f_c(x)``.

    Parameters
    ----------
    method : {"edda", "mclustda"}, default "edda"
        "edda": one Gaussian a class, and the covariance family says what classes share (Bensmail and Celeux 1996,
        J. American Statist. Assoc. 91:1743). Under flat priors EEE is linear and VVV quadratic discriminant analysis,
        EEI and VVI Gaussian naive Bayes. "mclustda": a mixture of its own for every class, for classes that are not one
        cloud (Hastie and Tibshirani 1996, J. Royal Statist. Soc. B 58:155; Fraley and Raftery 2002, J. American
        Statist. Assoc. 97:611).
    covariance : str or sequence of str, default "all"
        Covariance family; of several, or all fourteen, the one with the smallest BIC, for each class by itself under
        "mclustda" (where a few families in place of all save time).
    n_components : int or sequence of int, optional
        Components of a class under "mclustda"; of several, the number with the smallest BIC for each class. None: 1
        to 5.
    df : float or {"each", "shared"}, optional
        Student-t classes (under "mclustda", components) with these degrees of freedom, or with ones that are estimated:
        strays then move a class less.
    priors : Priors, {"flat", "jeffreys"} or None
        Of the components, and of the weights of components within a class. None: every covariance is shrunk to the one
        within classes, as if that had been seen in ``dof + D + 2`` more people (2 D + 4 by default; Friedman 1989, J.
        American Statist. Assoc. 84:165), so that classes of few people in many traits can be told apart; otherwise the
        library's defaults.
    weights_concentration, components_strength, components_dof, components_scale : optional
        Hyperparameters of ``priors`` by themselves, so that a grid can vary them; ``components_dof`` is how much
        covariances are shrunk.
    class_prior : array_like (n_classes,), optional
        Probabilities of the classes, in the order of ``classes_``. None: their shares where the classifier is fitted,
        which a study of cases and controls says nothing about.
    restarts, tolerance, max_iterations, random_state
        As in :class:`MixtureEstimator`.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
    class_prior_ : ndarray (n_classes,)
    means_, covariances_ : ndarray (n_classes, n_features), (n_classes, n_features, n_features)
        Of the classes; under "mclustda" those of each class's mixture as a whole. Scale matrices stand for covariances
        where components are Student-t.
    fits_ : dict of MapFit
        Under "mclustda": the mixture of each class. Empty under "edda".
    candidates_ : DataFrame
        One row a candidate: (class), ``n_components``, ``covariance``, ``n_parameters``, ``bic``, ``chosen``, ``note``
        (why there is no fit).
    log_likelihood_ : float
        Of traits and classes together.
    n_parameters_ : int
    bic_ : float
        ``-2 log L + p log n`` of traits and classes together; smaller is better.
    n_features_in_, feature_names_in_

    Notes
    -----
    Missing values (NaN) are modelled: a person is judged by what is known of them, and with nothing known by
    ``class_prior_``.

    Examples
    --------
    >>> import bayesgmm as bg
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> bool(bg.sklearn.MixtureClassifier().fit(X, y).score(X, y) > 0.97)
    True
    """

    def __init__(
        self,
        *,
        method: str = "edda",
        covariance: Any = "all",
        n_components: Any = None,
        df: Any = None,
        priors: Any = None,
        weights_concentration: Any = None,
        components_strength: float | None = None,
        components_dof: float | None = None,
        components_scale: Any = None,
        class_prior: Any = None,
        restarts: int = 10,
        tolerance: float = 1e-8,
        max_iterations: int = 5000,
        random_state: Any = None,
    ) -> None:
        self.method = method
        self.covariance = covariance
        self.n_components = n_components
        self.df = df
        self.priors = priors
        self.weights_concentration = weights_concentration
        self.components_strength = components_strength
        self.components_dof = components_dof
        self.components_scale = components_scale
        self.class_prior = class_prior
        self.restarts = restarts
        self.tolerance = tolerance
        self.max_iterations = max_iterations
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the density of every class.

        Parameters
        ----------
        X : array_like or DataFrame (n_samples, n_features)
            Traits; NaN where missing.
        y : array_like (n_samples,)
            Classes: numbers or names.
        sample_weight : array_like (n_samples,), optional
            How many people each row stands for; 0 is absence.

        Raises
        ------
        ValueError
            If an argument is out of bounds or a class cannot be fitted; the message names it.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_all_finite="allow-nan", ensure_min_samples=2)
        check_classification_targets(y)
        weights = checked_weights(sample_weight, X)
        if weights is not None:
            X, y, weights = X[weights > 0.0], y[weights > 0.0], weights[weights > 0.0]
        self.classes_, labels = np.unique(y, return_inverse=True)
        n_classes = len(self.classes_)
        people = np.bincount(labels, weights, n_classes)
        alone = [str(self.classes_[c]) for c in np.flatnonzero(np.bincount(labels, minlength=n_classes) == 1)]
        if alone:
            warn(
                f"classes {first_few(alone)} have one person each: their spread is what the prior and the others "
                "say, and their share is hardly known; leave them out, join them, or find more people",
                DataWarning,
            )
        self.class_prior_ = people / people.sum() if self.class_prior is None else self._given_prior(n_classes)
        names_in = getattr(self, "feature_names_in_", None)
        known = People(X, labels, self.classes_.tolist(), weights, names_in)
        known.refuse_unknown()
        search = self._search(X.shape[1])
        self._model: SharedFamily | OwnMixtures
        if self.method == "edda":
            self._model, rows = best_shared_family(known, search)
            self.fits_ = {}
        else:
            self._model, rows = best_mixtures(known, search)
            self.fits_ = dict(zip(known.classes, self._model.fits, strict=True))
        self.means_, self.covariances_ = self._model.moments()
        self.candidates_ = pd.DataFrame(rows)
        # a class of probability zero that has people cannot be: minus infinity says so
        with np.errstate(divide="ignore"):
            of_classes = float(people @ np.log(self.class_prior_))
        self.log_likelihood_ = self._model.log_density + of_classes
        self.n_parameters_ = self._model.n_parameters + (n_classes - 1 if self.class_prior is None else 0)
        self.bic_ = float(-2.0 * self.log_likelihood_ + self.n_parameters_ * np.log(people.sum()))
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Likeliest class (n_samples,); arguments as in :meth:`fit`."""
        best = self.predict_joint_log_proba(X).argmax(axis=1)
        labels: NDArray[Any] = self.classes_[best]
        return labels

    def predict_proba(self, X: Any) -> Array:
        """Probability of each class (n_samples, n_classes), in the order of ``classes_``."""
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: Any) -> Array:
        """Logarithm of :meth:`predict_proba`, exact where that is zero to the computer."""
        joint = self.predict_joint_log_proba(X)
        normalised: Array = joint - logsumexp(joint, axis=1, keepdims=True)
        return normalised

    def predict_joint_log_proba(self, X: Any) -> Array:
        """Log probability of class and traits together, ``log P(c) f_c(x)`` (n_samples, n_classes)."""
        values = self._new_traits(X)
        with np.errstate(divide="ignore"):
            joint: Array = self._model.log_densities(values) + np.log(self.class_prior_)
        return joint

    def score_samples(self, X: Any) -> Array:
        """Log density of each row whichever its class (n_samples,): how usual it is. Low in every class: an outlier."""
        usual: Array = logsumexp(self.predict_joint_log_proba(X), axis=1)
        return usual

    def _search(self, n_features: int) -> Search:
        """What is tried, from the arguments."""
        if self.method not in _METHODS:
            raise InputError(f"method = {self.method!r}; it must be one of {', '.join(map(repr, _METHODS))}")
        sizes = _SIZES if self.n_components is None else self.n_components
        sizes = [sizes] if isinstance(sizes, Integral) else sizes
        if isinstance(sizes, str) or not isinstance(sizes, Sequence | np.ndarray) or len(sizes) == 0:
            raise InputError(f"n_components = {self.n_components!r}; it must be a number, several, or None")
        if self.method == "edda" and self.n_components is not None and list(sizes) != [1]:
            raise InputError(
                f"n_components = {self.n_components!r}, but under method = 'edda' a class is one Gaussian; use "
                "method = 'mclustda'"
            )
        options = {
            "seed": seed_of(self.random_state),
            "restarts": self.restarts,
            "max_iterations": self.max_iterations,
            "tolerance": self.tolerance,
        }
        return Search(
            families=families_asked(self.covariance, n_features),
            sizes=list(sizes),
            df=self.df,
            priors=self._stated_priors(),
            shrinks=self.priors is None and self.components_scale is None,
            options=options,
        )

    def _given_prior(self, n_classes: int) -> Array:
        given = np.asarray(self.class_prior, dtype=float)
        if given.shape != (n_classes,) or not (given >= 0.0).all() or not np.isclose(given.sum(), 1.0, atol=1e-6):
            raise InputError(
                f"class_prior = {self.class_prior!r}; it must be {n_classes} probabilities that sum to one, in the "
                f"order of the classes {', '.join(map(repr, self.classes_.tolist()))}"
            )
        return given
