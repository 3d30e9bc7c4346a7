"""What both estimators share: plain values to a specification, and data in scikit-learn's shapes to a study."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from bayesgmm.core.families import Family
from bayesgmm.core.one_component import mean_and_covariance, mean_and_variance
from bayesgmm.errors import FitWarning, InputError, SingularTraitsError, warn
from bayesgmm.priors import Priors
from bayesgmm.priors.stated import positive_definite
from bayesgmm.study import Study

Array = NDArray[np.float64]

_NAMED = {"flat": Priors.flat, "jeffreys": Priors.jeffreys}
# arguments of the estimators that are hyperparameters, so that a grid can vary them
_PATHS = {
    "weights_concentration": "weights.concentration",
    "components_strength": "components.strength",
    "components_dof": "components.dof",
    "components_scale": "components.scale",
}


class TraitsEstimator(BaseEstimator):
    """Validation of traits, which may be missing, and the priors from plain values."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _stated_priors(self) -> Priors:
        """Priors, with the hyperparameters that were given by themselves."""
        priors = self.priors
        if priors is None:
            priors = Priors()
        elif isinstance(priors, str):
            if priors not in _NAMED:
                raise InputError(f"priors = {priors!r}; it must be 'flat', 'jeffreys', a bayesgmm.Priors or None")
            priors = _NAMED[priors]()
        elif not isinstance(priors, Priors):
            raise InputError(f"priors = {priors!r}; it must be 'flat', 'jeffreys', a bayesgmm.Priors or None")
        for argument, path in _PATHS.items():
            value = getattr(self, argument)
            if value is not None:
                priors = priors.with_value(path, value)
        return priors

    def _new_traits(self, X: Any) -> Array:
        """Traits to predict for, float64, NaN where missing."""
        check_is_fitted(self)
        values: Array = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False)
        return values

    def _study(self, traits: Array, weights: Array | None = None) -> Study:
        study = Study.from_array(traits, getattr(self, "feature_names_in_", None))
        return study if weights is None else study.with_weights(weights)


def fit_under[Fit](
    fitted: Callable[[Priors], Fit],
    priors: Priors,
    family: Family,
    n_components: int,
    spare: Callable[[], tuple[Array, str]],
) -> Fit:
    """A fit, under a default scale of the components' prior that is made in another way where it must be.

    The default scale is the sample covariance, which more traits than people make singular.

    Parameters
    ----------
    fitted : callable
        Priors to a fit.
    priors : Priors
    family : Family
    n_components : int
    spare : callable
        Gives a covariance (n_traits, n_traits) to stand in for the sample's, and what it is.
    """
    try:
        return fitted(priors)
    except SingularTraitsError:
        covariance, what = spare()
        size = len(covariance)
        warn(
            f"there are too few people for {size} traits, or traits repeat each other: the default scale of the "
            f"components' prior is from {what}, because the sample covariance is not positive definite. State priors, "
            "or use a diagonal or spherical family",
            FitWarning,
        )
        scale = of_family(covariance, family) / n_components ** (2.0 / size)
        return fitted(priors.with_value("components.scale", scale))


def of_family(covariance: Array, family: Family) -> Array:
    """What a prior's scale may be in a family: the matrix, its diagonal, or the mean of that."""
    variances = np.diag(covariance)
    if family.spherical:
        variances = np.full(len(variances), variances.mean())
    return np.diag(variances) if family.on_axes else covariance


def variances_alone(traits: Array, weights: Array | None) -> tuple[Array, str]:
    """Sample variances of what is known of each trait, on a diagonal (n_traits, n_traits), and what that is."""
    total = float(len(traits) if weights is None else weights.sum())
    variances = mean_and_variance(traits, weights)[1]
    return np.diag(variances) * (total / max(total - 1.0, 1.0)), "the variances alone"


def within_classes(traits: Array, labels: NDArray[np.int64], weights: Array | None) -> tuple[Array, str]:
    """Covariance about the classes' means (n_traits, n_traits), or variances where that is singular, and which."""
    apart = traits.copy()
    for c in np.unique(labels):
        of_class = labels == c
        apart[of_class] -= mean_and_variance(traits[of_class], None if weights is None else weights[of_class])[0]
    total = float(len(traits) if weights is None else weights.sum())
    known = ~np.isnan(apart).all(axis=1)
    _, covariance = mean_and_covariance(apart[known], None if weights is None else weights[known], total)
    scale = (total - 1.0) / max(total - labels.max() - 1.0, 1.0)
    if covariance is not None and positive_definite(covariance):
        return covariance * scale, "the covariance within classes"
    within, overall = variances_alone(apart, weights)[0] * scale, variances_alone(traits, weights)[0]
    return np.where(within > 0.0, within, overall), "the variances within classes"


def checked_weights(sample_weight: Any, X: Array) -> Array | None:
    """Sample weights (n_samples,), or None where there are none.

    Raises
    ------
    ValueError
        If they are not numbers, negative, or of another length.
    """
    if sample_weight is None:
        return None
    weights: Array = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not weights.sum() > 0.0:
        raise InputError("sample_weight is zero for everyone; nobody is left")
    return weights


def counted(weights: Array | None) -> bool | None:
    """Whether rows that are alike are counted as one, and so sorted.

    With weights they are, so that a weight of two and a row twice are one problem to the last bit and lead, from starts
    that draw rows at random, to the same mode.
    """
    return None if weights is None else True


def seed_of(random_state: Any) -> int:
    """Seed of the starts; None is 0, as everywhere in the library."""
    if random_state is None:
        return 0
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
