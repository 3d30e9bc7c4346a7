"""Mixtures in scikit-learn's manners: for pipelines, grid searches and cross-validation.

:class:`MixtureEstimator` is a density, a clustering and a transformation to memberships; :class:`MixtureClassifier`
classifies by one mixture a class. Both see traits alone; weights that depend on genotypes are for
:class:`bayesgmm.Mixture`.
"""

from __future__ import annotations

from bayesgmm.errors import MissingExtraError

try:
    import sklearn  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingExtraError("scikit-learn's manners need the extra: pip install 'bayesgmm[sklearn]'") from error

from bayesgmm.sklearn.classifier import MixtureClassifier
from bayesgmm.sklearn.estimator import MixtureEstimator

__all__ = ["MixtureClassifier", "MixtureEstimator"]
