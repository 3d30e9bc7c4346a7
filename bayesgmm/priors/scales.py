r"""Priors of the effects whose scales are learned from the data: groups of predictors, and the horseshoe.

Given the scales the effects are label-invariant normal; :mod:`bayesgmm.core.learned_scales` has the formulas. The joint
density of effects and scales is infinite where a scale is zero and its effects are at their mean, so it has no mode: a
MAP fit is that of everything else given scales at the mode of their own posterior
(:mod:`bayesgmm.inference.scale_search`), and says so. The posterior averages over them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np

from bayesgmm.core.effect_density import NORMAL
from bayesgmm.core.learned_scales import GroupScales, HorseshoeScales
from bayesgmm.errors import InputError, first_few
from bayesgmm.io.groups import read_groups
from bayesgmm.priors.effects import ByPredictor, EffectNumbers, EffectsPrior, PredictorFacts


@dataclass(frozen=True)
class LogOddsGroups(EffectsPrior):
    r"""Predictors in groups (genes, pathways, annotations), with a scale of the effects a group that is learned.

    A pairwise log odds ratio of predictor ``p`` is normal with variance :math:`s_p^2 \sum_g \tau_g^2`, the sum over the
    groups that it is in; :math:`\tau_g` is half-normal with scale :math:`\tau_0`, which is half-normal with scale
    ``between``. So predictors of a group share what is known of their scale, groups are drawn towards each other, and a
    predictor of two groups has the variance of both. A predictor of no group keeps ``sd``.

    Parameters
    ----------
    groups : mapping of str to sequence of str, or path
        Predictors (columns of the formula) of each group; groups may overlap. Or a file, see
        :func:`bayesgmm.read_groups`.
    sd : float, sequence or mapping, default 1.0
        ``s_p``: what the scales of the groups are multiples of, per allele (or per unit of the column): one number, one
        per predictor, or ``{predictor: sd}`` with 1.0 for those not named.
    mean : float, sequence or mapping, default 0.0
        Prior mean of the log odds ratio of each component against the reference, in the same forms.
    between : float, default 1.0
        Scale of the half-normal prior of the scale that the groups have in common.

    Notes
    -----
    Half-normal scales for variances of effects: Gelman (2006, Bayesian Analysis 1:515). The marginal prior density of
    an effect in a group is infinite at its mean, so there is no Savage-Dickey Bayes factor against no effect.
    """

    groups: Mapping[str, Sequence[str]] | str | PathLike[str]
    sd: ByPredictor = 1.0
    mean: ByPredictor = 0.0
    between: float = 1.0

    _kind = NORMAL
    _scale = "sd"

    def resolve(self, predictors: Sequence[str], facts: PredictorFacts | None = None) -> EffectNumbers:
        """Numbers for these predictors; see :meth:`bayesgmm.priors.effects.EffectsPrior.resolve`."""
        numbers = super().resolve(predictors, facts)
        if not np.isfinite(numbers.scale).all():
            raise InputError(f"effects prior: sd = {self.sd!r}; every sd must be finite where scales are learned")
        if not (_is_number(self.between) and 0.0 < self.between < np.inf):
            raise InputError(f"effects prior: between = {self.between!r}; it must be above 0 and finite")
        groups = self._checked(predictors)
        if facts is None or facts.n_components < 2:
            return numbers
        member = np.array([[float(name in members) for members in groups.values()] for name in predictors])
        return numbers.learned(GroupScales(tuple(groups), member, numbers.scale, float(self.between)))

    def _checked(self, predictors: Sequence[str]) -> Mapping[str, Sequence[str]]:
        groups = self.groups if isinstance(self.groups, Mapping) else read_groups(self.groups)
        if not groups:
            raise InputError("effects prior: groups is empty; give at least one group, or use LogOddsNormal")
        for name, members in groups.items():
            if isinstance(members, str) or not all(isinstance(m, str) for m in members):
                raise InputError(f"effects prior: group {name!r} = {members!r}; it must be a list of predictors' names")
            if not len(members):
                raise InputError(f"effects prior: group {name!r} is empty; give it predictors, or leave it out")
            twice = {m for m in members if list(members).count(m) > 1}
            if twice:
                raise InputError(f"effects prior: group {name!r} names {first_few(sorted(twice))} more than once")
            unknown = [m for m in members if m not in predictors]
            if unknown:
                raise InputError(
                    f"effects prior: group {name!r} names {unknown[0]!r}, which is not a predictor; the predictors are "
                    f"{', '.join(predictors) or '(none)'}. bayesgmm.read_groups(path, predictors=...) keeps those of "
                    "a model"
                )
        return groups


@dataclass(frozen=True)
class LogOddsHorseshoe(EffectsPrior):
    r"""The regularised horseshoe: most effects next to nothing, the few others hardly shrunk, how many is learned.

    A pairwise log odds ratio of predictor ``p`` is normal with variance :math:`c^2 t_p^2 / (c^2 + t_p^2)` and
    :math:`t_p = \tau \lambda_p / u_p`, where :math:`u_p` is the predictor's standard deviation, :math:`\lambda_p` is
    half-Cauchy, :math:`\tau` half-Cauchy with scale :math:`\tau_0`, and :math:`c^2` inverse-gamma, so that large
    effects are Student-t with ``slab_df`` degrees of freedom and scale ``slab``.

    Parameters
    ----------
    expected : float
        How many of the ``P`` predictors are expected to have an effect, above 0 and below ``P``. It sets
        :math:`\tau_0 = \frac{p_0}{P - p_0} \frac{\sigma}{\sqrt{n}}` for ``n`` people with traits.
    slab : float, default 1.0
        Scale of the large effects, per allele (or per unit of the column).
    slab_df : float, default 4.0
        Their degrees of freedom.
    mean : float, sequence or mapping, default 0.0
        Prior mean of the log odds ratio of each component against the reference.
    pseudo_sd : float, optional
        The pseudo-sigma of :math:`\tau_0`: what ``sqrt(n)`` times the standard error of a log odds ratio per standard
        deviation of its predictor is. Default: ``sqrt(2 K)``, that of K components that are equally large and fully
        apart; for two it is 2, as in logistic regression. Components that overlap or are unequal know less (take more).

    Notes
    -----
    Piironen and Vehtari (2017, Electronic Journal of Statistics 11:5018), sections 2.3 and 3.1. The marginal prior
    density of an effect is infinite at its mean, so there is no Savage-Dickey Bayes factor against no effect.
    """

    expected: float
    slab: float = 1.0
    slab_df: float = 4.0
    mean: ByPredictor = 0.0
    pseudo_sd: float | None = None

    _kind = NORMAL
    _scale = "slab"

    def resolve(self, predictors: Sequence[str], facts: PredictorFacts | None = None) -> EffectNumbers:
        """Numbers for these predictors; see :meth:`bayesgmm.priors.effects.EffectsPrior.resolve`."""
        for name in ("slab", "slab_df", *(() if self.pseudo_sd is None else ("pseudo_sd",))):
            value = getattr(self, name)
            if not (_is_number(value) and 0.0 < value < np.inf):
                raise InputError(f"effects prior: {name} = {value!r}; it must be a number above 0 and finite")
        numbers = super().resolve(predictors, facts)
        if facts is None or facts.n_components < 2 or not len(predictors):
            return numbers
        size = len(predictors)
        if not (_is_number(self.expected) and 0.0 < self.expected < size):
            raise InputError(
                f"effects prior: expected = {self.expected!r} effects; with {size} predictors it must be above 0 and "
                f"below {size}"
            )
        pseudo = np.sqrt(2.0 * facts.n_components) if self.pseudo_sd is None else self.pseudo_sd
        information = facts.n_people / pseudo**2
        overall = self.expected / (size - self.expected) / np.sqrt(information)
        return numbers.learned(
            HorseshoeScales(facts.sds, float(overall), float(self.slab), float(self.slab_df), float(information))
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
