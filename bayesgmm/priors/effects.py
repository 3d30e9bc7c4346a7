r"""Priors of the effects: normal, heavy-tailed, and spike and slab, each the same whichever component is the reference.

Every family is stated by the scale of a pairwise log odds ratio and is an elliptical density of a predictor's log odds
ratios; :mod:`bayesgmm.core.effect_density` has the formulas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.effect_density import LAPLACE, N_SHAPES, NORMAL, SPIKE_SLAB, STUDENT_T
from bayesgmm.core.scale_model import ScaleModel
from bayesgmm.errors import InputError

Array = NDArray[np.float64]

ByPredictor = float | Sequence[float] | Mapping[str, float]

_LEAST_SD = 1e-50  # its square is still a number to divide by
_LEAST_DF = 0.01
_LEAST_SPIKE = 1e-4  # a narrower spike is a point, in which a sampler would be caught
SD_ONE = 0.5**0.5  # scale at which a Laplace has standard deviation one


class EffectNumbers(NamedTuple):
    """A prior of the effects as numbers: ``mean``, ``scale`` (P,), family and shape (P, N_SHAPES) by predictor.

    ``scales`` is the prior of the scales where they are learned.
    """

    mean: Array
    scale: Array
    kind: NDArray[np.int64]
    shape: Array
    scales: ScaleModel | None = None

    def learned(self, scales: ScaleModel) -> EffectNumbers:
        """The same with scales that are learned, here at their prior medians."""
        return self._replace(scale=scales.sds(scales.median), scales=scales)


class PredictorFacts(NamedTuple):
    """What is known where a prior is resolved: sds of the predictors (P,), people with traits, components."""

    sds: Array
    n_people: float
    n_components: int


@dataclass(frozen=True)
class EffectsPrior:
    """What the families share: values given once, one each, or by predictor, and their bounds."""

    _kind: ClassVar[int]
    _scale: ClassVar[str]  # which field is the scale
    _shapes: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Refuse values that are out of bounds whatever the predictors, where they are written."""
        for name in (self._scale, "mean", *self._shapes):
            given = getattr(self, name)
            values = list(given.values()) if isinstance(given, Mapping) else given
            try:
                self._refuse(name, np.atleast_1d(np.asarray(values, dtype=float)))
            except (TypeError, ValueError) as error:
                if isinstance(error, InputError):
                    raise
                raise InputError(
                    f"effects prior: {name} = {given!r}; give a number, one per predictor, or a mapping of predictors "
                    "to numbers"
                ) from None

    def _refuse(self, name: str, values: Array) -> None:
        """Refuse values of a field that are out of its bounds."""
        if name == "mean":
            good, allowed = np.isfinite(values), "finite"
        elif name == self._scale:
            # a normal without a bound on its sd is flat, and is refused or told where that matters
            most = np.inf if self._kind == NORMAL else np.finfo(float).max
            good = (values >= _LEAST_SD) & (values <= most)
            allowed = f"above 0 (at least {_LEAST_SD:g})" + ("" if self._kind == NORMAL else " and finite")
        else:
            low, high = _BOUNDS[name]
            good, allowed = (values >= low) & (values <= high), _ALLOWED[name]
        if not good.all():
            raise InputError(f"effects prior: {name} = {getattr(self, name)!r}; every {name} must be {allowed}")

    def resolve(self, predictors: Sequence[str], facts: PredictorFacts | None = None) -> EffectNumbers:
        """Numbers for these predictors.

        Parameters
        ----------
        predictors : sequence of str
        facts : PredictorFacts, optional
            Of the data, which some families ask; without them scales that are learned are not set up.

        Raises
        ------
        InputError
            If a value names a predictor that the model does not have.
        """
        scale, mean = self._values(self._scale, predictors), self._values("mean", predictors)
        shape = np.zeros((len(predictors), N_SHAPES))
        for column, name in enumerate(self._shapes):
            shape[:, column] = self._values(name, predictors)
        return EffectNumbers(mean, scale, np.full(len(predictors), self._kind, dtype=np.int64), shape)

    def with_scale(self, scale: Mapping[str, float]) -> Self:
        """The same prior with another scale by predictor."""
        return replace(self, **{self._scale: scale})

    def _values(self, name: str, predictors: Sequence[str]) -> Array:
        default = type(self).__dataclass_fields__[name].default
        assert isinstance(default, float)
        return _per_predictor(name, getattr(self, name), predictors, default)


_BOUNDS = {
    "df": (_LEAST_DF, 1e6),
    "inclusion": (1e-12, 1.0 - 1e-12),
    "spike": (_LEAST_SPIKE, 1.0 - 1e-6),
}
_ALLOWED = {
    "df": f"at least {_LEAST_DF:g} and at most 1e6, where it is a normal",
    "inclusion": "between 0 and 1",
    "spike": f"below 1, and at least {_LEAST_SPIKE:g}",
}


@dataclass(frozen=True)
class LogOddsNormal(EffectsPrior):
    """Normal prior of the log odds ratios, the same whichever component is the reference.

    Every pairwise log odds ratio of a predictor has standard deviation ``sd``.

    Parameters
    ----------
    sd : float, sequence or mapping, default 1.0
        Prior standard deviation of a log odds ratio per allele (or per unit of the column): one number, one per
        predictor, or ``{predictor: sd}`` with 1.0 for those not named.
    mean : float, sequence or mapping, default 0.0
        Prior mean of the log odds ratio of each component against the reference, in the same forms.
    """

    sd: ByPredictor = 1.0
    mean: ByPredictor = 0.0

    _kind = NORMAL
    _scale = "sd"


@dataclass(frozen=True)
class LogOddsStudentT(EffectsPrior):
    """Student-t prior of the log odds ratios: most effects small, a few large ones hardly shrunk.

    Every pairwise log odds ratio of a predictor is Student-t with ``df`` degrees of freedom and this scale.

    Parameters
    ----------
    scale : float, sequence or mapping, default 1.0
        Scale of a log odds ratio per allele (or per unit of the column): one number, one per predictor, or
        ``{predictor: scale}`` with the default for those not named.
    df : float, sequence or mapping, default 4.0
        Degrees of freedom: 1 is Cauchy, above 30 nearly normal.
    mean : float, sequence or mapping, default 0.0
        Centre of the log odds ratio of each component against the reference.

    Notes
    -----
    A scale mixture of normals (West 1987, Biometrika 74:646).
    """

    scale: ByPredictor = 1.0
    df: ByPredictor = 4.0
    mean: ByPredictor = 0.0

    _kind = STUDENT_T
    _scale = "scale"
    _shapes = ("df",)


@dataclass(frozen=True)
class LogOddsCauchy(EffectsPrior):
    """Cauchy prior of the log odds ratios: Student-t with one degree of freedom.

    Parameters
    ----------
    scale : float, sequence or mapping, default 2.5
        Half of the prior lies within one scale of the mean. The default is that of Gelman, Jakulin, Pittau and Su
        (2008, Annals of Applied Statistics 2:1360) for predictors brought to a standard deviation of 0.5; that of an
        allele count at a frequency of 15% is 0.5. A genotype is seldom worth a log odds ratio of 2.5 an allele: smaller
        scales say so.
    mean : float, sequence or mapping, default 0.0
        Centre of the log odds ratio of each component against the reference.
    """

    scale: ByPredictor = 2.5
    mean: ByPredictor = 0.0

    _kind = STUDENT_T
    _scale = "scale"

    def resolve(self, predictors: Sequence[str], facts: PredictorFacts | None = None) -> EffectNumbers:
        """Numbers for these predictors; see :meth:`EffectsPrior.resolve`."""
        numbers = super().resolve(predictors, facts)
        numbers.shape[:, 0] = 1.0
        return numbers


@dataclass(frozen=True)
class LogOddsLaplace(EffectsPrior):
    r"""Laplace prior of the log odds ratios: the lasso, whose MAP has effects that are exactly zero.

    For two components a log odds ratio ``x`` has density ``exp(-|x| / scale) / (2 scale)``. For more, those of a
    predictor have density proportional to ``exp(-r / scale)``, with ``r`` the root of the summed squares of all
    pairwise log odds ratios: the group lasso, under which a predictor acts on all components or on none. Every pairwise
    log odds ratio then has standard deviation ``sqrt(2) scale``, whatever the number of components.

    Parameters
    ----------
    scale : float, sequence or mapping, default 0.707
        Scale of a log odds ratio per allele (or per unit of the column): one number, one per predictor, or
        ``{predictor: scale}`` with the default for those not named. At the default the standard deviation is one, that
        of :class:`LogOddsNormal`.
    mean : float, sequence or mapping, default 0.0
        Where the kink is: what the log odds ratio of each component against the reference is shrunk to.

    Notes
    -----
    Tibshirani (1996, JRSS B 58:267); Park and Casella (2008, JASA 103:681); for groups Yuan and Lin (2006, JRSS B
    68:49), Kyung, Gill, Ghosh and Casella (2010, Bayesian Analysis 5:369). An effect that is exactly zero in the MAP is
    not so in the posterior, where its chance of being exactly zero is nil.
    """

    scale: ByPredictor = SD_ONE
    mean: ByPredictor = 0.0

    _kind = LAPLACE
    _scale = "scale"


@dataclass(frozen=True)
class LogOddsSpikeSlab(EffectsPrior):
    """Spike and slab: most predictors do next to nothing, some have an effect.

    A mixture of two normals for the log odds ratios of a predictor: the slab, in which every pairwise log odds ratio
    has standard deviation ``sd``, with probability ``inclusion``; else the spike, of standard deviation ``spike * sd``.
    Whether a predictor is in is summed out; :func:`bayesgmm.inclusion` says how probable it is.

    Parameters
    ----------
    sd : float, sequence or mapping, default 1.0
        Standard deviation of a log odds ratio in the slab, per allele (or per unit of the column): one number, one per
        predictor, or ``{predictor: sd}`` with the default for those not named.
    inclusion : float, sequence or mapping, default 0.1
        Prior probability of the slab.
    spike : float, sequence or mapping, default 0.05
        Standard deviation of the spike as a share of the slab's: what counts as no effect. Narrower spikes take longer
        to sample.
    mean : float, sequence or mapping, default 0.0
        Centre of both, for each component against the reference.

    Notes
    -----
    George and McCulloch (1993, JASA 88:881), continuous, so that gradients exist. The log posterior may have a mode for
    every set of predictors that could be in: a MAP is one of them, the posterior weighs them.
    """

    sd: ByPredictor = 1.0
    inclusion: ByPredictor = 0.1
    spike: ByPredictor = 0.05
    mean: ByPredictor = 0.0

    _kind = SPIKE_SLAB
    _scale = "sd"
    _shapes = ("inclusion", "spike")


class Spread(dict[str, Any]):
    """A mapping by predictor with the value of those that it does not name.

    Parameters
    ----------
    other : float
        Of the predictors not named.
    named : mapping
    """

    def __init__(self, other: float, named: Mapping[str, float]) -> None:
        super().__init__(named)
        self.other = float(other)


def _per_predictor(what: str, given: ByPredictor, predictors: Sequence[str], default: float) -> Array:
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in predictors]
        if unknown:
            raise InputError(
                f"effects prior: {what} names {unknown[0]!r}, which is not a predictor; the predictors are "
                f"{', '.join(predictors) or '(none)'}"
            )
        default = getattr(given, "other", default)
        return np.array([float(given.get(name, default)) for name in predictors])
    values = np.atleast_1d(np.asarray(given, dtype=float))
    if values.size == 1:
        return np.repeat(values, len(predictors))
    if values.shape != (len(predictors),):
        raise InputError(f"effects prior: {what} has {values.size} values for {len(predictors)} predictors")
    return values
