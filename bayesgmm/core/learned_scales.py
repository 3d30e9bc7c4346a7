r"""Scales of the effects that are learned: of groups of predictors, and the regularised horseshoe.

Each is a :class:`bayesgmm.core.scale_model.ScaleModel`; another one is another class and a line in :data:`_MODELS`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, gammaln, ndtri

from bayesgmm import names
from bayesgmm.core.scale_model import NOWHERE, ScaleModel, ScaleTerms, Variables

Array = NDArray[np.float64]

_SHOWN = 6  # groups whose scales are told in one sentence


def _log_half_normal(log_x: Array) -> Array:
    """Log density of the logarithm of a standard half-normal variable."""
    value: Array = 0.5 * math.log(2.0 / math.pi) + log_x - 0.5 * np.exp(2.0 * log_x)
    return value


def _log_half_cauchy(log_x: Array) -> Array:
    """Log density of the logarithm of a standard half-Cauchy variable."""
    value: Array = math.log(2.0 / math.pi) + log_x - np.logaddexp(0.0, 2.0 * log_x)
    return value


@dataclass(frozen=True, eq=False)
class GroupScales(ScaleModel):
    r"""A scale a group, partially pooled.

    .. math::
        s_p^2 = \mathrm{base}_p^2 \sum_{g \ni p} \tau_g^2, \qquad
        \tau_g \mid \tau_0 \sim \mathrm{HN}(\tau_0), \qquad \tau_0 \sim \mathrm{HN}(\mathrm{between})

    A predictor of no group has ``base_p``. Coordinates are ``log(tau_0 / between)``, then ``log(tau_g / tau_0)``.

    Attributes
    ----------
    groups : tuple of str
    member : ndarray (n_predictors, n_groups)
        One where a predictor is of a group, else zero.
    base : ndarray (n_predictors,)
    between : float
    """

    groups: tuple[str, ...]
    member: Array
    base: Array
    between: float

    kind: ClassVar[str] = "groups"

    @property
    def n_scales(self) -> int:
        """One of all groups, then one each."""
        return 1 + len(self.groups)

    @property
    def learned(self) -> NDArray[np.bool_]:
        """Predictors that are of a group."""
        result: NDArray[np.bool_] = self.member.any(axis=1)
        return result

    def _squared(self, theta: Array) -> Array:
        squared: Array = np.exp(2.0 * (math.log(self.between) + theta[..., :1] + theta[..., 1:]))
        return squared

    def sds(self, theta: Array) -> Array:
        """See :meth:`ScaleModel.sds`."""
        variance = self._squared(theta) @ self.member.T
        result: Array = self.base * np.sqrt(np.where(self.learned, variance, 1.0))
        return result

    def slopes(self, theta: Array) -> Array:
        """See :meth:`ScaleModel.slopes`."""
        parts = self.member * self._squared(theta)
        parts /= np.maximum(parts.sum(axis=1, keepdims=True), 1e-300)
        return np.concatenate((self.learned[:, None].astype(float), parts), axis=1)

    def log_density(self, theta: Array) -> Array:
        """See :meth:`ScaleModel.log_density`."""
        result: Array = _log_half_normal(theta).sum(axis=-1)
        return result

    def gradient(self, theta: Array) -> Array:
        """See :meth:`ScaleModel.gradient`."""
        result: Array = 1.0 - np.exp(2.0 * theta)
        return result

    def terms(self) -> ScaleTerms:
        """See :meth:`ScaleModel.terms`: variances of a predictor's groups add."""
        n_groups = self.member.shape[1]
        own = np.concatenate((np.ones((n_groups, 1)), np.eye(n_groups)), axis=1)
        rows = 2.0 * self.member[:, :, None] * own
        base = 2.0 * np.log(self.base)[:, None]
        at = np.where(self.member > 0.0, base + 2.0 * math.log(self.between), NOWHERE)
        # a predictor of no group has a scale that is known
        at[~self.learned, :1] = base[~self.learned]
        size = self.n_scales
        return ScaleTerms(
            rows=rows,
            at=at,
            variances_add=True,
            constant=0.5 * size * math.log(2.0 / math.pi),
            linear=np.ones(size),
            exp_rows=2.0 * np.eye(size),
            exp_weights=np.full(size, 0.5),
            soft_rows=np.zeros((0, size)),
        )

    def log_jacobian(self, theta: Array) -> Array:
        """See :meth:`ScaleModel.log_jacobian`: of ``tau_0`` and every ``tau_g``."""
        log_between = math.log(self.between) + theta[..., 0]
        result: Array = log_between * self.n_scales + theta[..., 1:].sum(axis=-1)
        return result

    def quantiles(self, uniform: Array) -> Array:
        """See :meth:`ScaleModel.quantiles`."""
        result: Array = np.log(-ndtri(0.5 * (1.0 - uniform)))
        return result

    def variables(self, theta: Array) -> Variables:
        """``group_scales`` (group), the ``tau_g``, and ``between_scale``, ``tau_0``."""
        return {
            names.GROUP_SCALES: ((names.GROUP,), self._root(theta)),
            names.BETWEEN_SCALE: ((), self.between * np.exp(theta[..., 0])),
        }

    def theta(self, variables: Mapping[str, Array]) -> Array:
        """See :meth:`ScaleModel.theta`."""
        between = np.asarray(variables[names.BETWEEN_SCALE])[..., None]
        return np.concatenate(
            (np.log(between / self.between), np.log(np.asarray(variables[names.GROUP_SCALES]) / between)), axis=-1
        )

    @property
    def coords(self) -> dict[str, list[str]]:
        """Names of the groups."""
        return {names.GROUP: list(self.groups)}

    def rows(self) -> list[tuple[str, str, str]]:
        """See :meth:`ScaleModel.rows`."""
        low, high = self._tails()
        told = [(names.BETWEEN_SCALE, f"HalfNormal({self.between:g})", "scale of the groups' scales")]
        for label, members in zip(self.groups, self.member.T, strict=True):
            meaning = f"{int(members.sum())} predictors; 95% of scales within {low:.3g} to {high:.3g}"
            told.append((f"{names.GROUP_SCALES}[{label}]", "HalfNormal(between_scale)", meaning))
        return told

    def told(self, theta: Array) -> str:
        """See :meth:`ScaleModel.told`."""
        values = [f"{name} {value:.2g}" for name, value in zip(self.groups, self._root(theta), strict=True)]
        return ", ".join(values[:_SHOWN]) + (f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else "")

    def _root(self, theta: Array) -> Array:
        return np.sqrt(self._squared(theta))

    def _tails(self) -> tuple[float, float]:
        draws = self.between * np.exp(self.quantiles(_grid()).sum(axis=1))
        low, high = np.quantile(draws, [0.025, 0.975])
        return float(low), float(high)

    def words(self, p: int) -> str:
        """See :meth:`ScaleModel.words`."""
        own = [name for name, inside in zip(self.groups, self.member[p], strict=True) if inside]
        if not own:
            return f"{self.base[p]:g}"
        scales = f"scale of {own[0]}" if len(own) == 1 else f"root of the summed squares of scales of {', '.join(own)}"
        return scales if self.base[p] == 1.0 else f"{self.base[p]:g} x {scales}"


def _grid() -> Array:
    """Evenly spread pairs of probabilities."""
    from scipy.stats import qmc

    return np.clip(qmc.Sobol(2, rng=np.random.default_rng(0)).random_base2(13), 1e-12, 1.0 - 1e-12)


@dataclass(frozen=True, eq=False)
class HorseshoeScales(ScaleModel):
    r"""The regularised horseshoe (Piironen and Vehtari 2017, Electronic Journal of Statistics 11:5018, section 2.3).

    .. math::
        s_p^2 = \frac{c^2 t_p^2}{c^2 + t_p^2}, \quad t_p = \tau \lambda_p / u_p, \quad
        \lambda_p \sim C^+(0, 1), \quad \tau \sim C^+(0, \tau_0), \quad
        c^2 \sim \mathrm{InvGamma}(\nu / 2, \nu\, \mathrm{slab}^2 / 2)

    with :math:`u_p` the predictor's standard deviation, because :math:`\tau_0` is one of standardised predictors.
    Coordinates are ``log(tau / tau_0)``, ``log(c^2 / slab^2)``, then ``log lambda_p``.

    Attributes
    ----------
    unit : ndarray (n_predictors,)
    global_scale : float
        ``tau_0``.
    slab : float
        Per unit of a predictor.
    slab_df : float
        ``nu``.
    information : float
        What the data know of one effect per standard deviation of its predictor, ``n / pseudo-sigma^2``.
    """

    unit: Array
    global_scale: float
    slab: float
    slab_df: float
    information: float

    kind: ClassVar[str] = "horseshoe"

    @property
    def n_scales(self) -> int:
        """The global one, the slab's, then one a predictor."""
        return 2 + len(self.unit)

    @property
    def learned(self) -> NDArray[np.bool_]:
        """Every predictor."""
        return np.ones(len(self.unit), dtype=bool)

    def _logs(self, theta: Array) -> tuple[Array, Array]:
        """Logarithms of ``t_p^2`` (..., P) and of ``c^2`` (..., 1)."""
        log_t = 2.0 * (math.log(self.global_scale) + theta[..., :1] + theta[..., 2:] - np.log(self.unit))
        return log_t, 2.0 * math.log(self.slab) + theta[..., 1:2]

    def sds(self, theta: Array) -> Array:
        """See :meth:`ScaleModel.sds`."""
        log_t, log_c = self._logs(theta)
        result: Array = np.exp(0.5 * (log_t + log_c - np.logaddexp(log_t, log_c)))
        return result

    def slopes(self, theta: Array) -> Array:
        """See :meth:`ScaleModel.slopes`."""
        log_t, log_c = self._logs(theta)
        free = 1.0 / (1.0 + np.exp(np.minimum(log_t - log_c, 700.0)))  # share of the scale that the slab does not hold
        return np.concatenate((free[:, None], 0.5 * (1.0 - free[:, None]), np.diag(free)), axis=1)

    def log_density(self, theta: Array) -> Array:
        """See :meth:`ScaleModel.log_density`."""
        half = 0.5 * self.slab_df
        slab = half * math.log(half) - gammaln(half) - half * (theta[..., 1] + np.exp(-theta[..., 1]))
        result: Array = _log_half_cauchy(theta[..., 0]) + slab + _log_half_cauchy(theta[..., 2:]).sum(axis=-1)
        return result

    def gradient(self, theta: Array) -> Array:
        """See :meth:`ScaleModel.gradient`."""
        result: Array = -np.tanh(theta)
        result[1] = 0.5 * self.slab_df * (math.exp(min(-theta[1], 700.0)) - 1.0)
        return result

    def terms(self) -> ScaleTerms:
        """See :meth:`ScaleModel.terms`: precisions, of ``t_p`` and the slab, add."""
        n_predictors, size, half = len(self.unit), self.n_scales, 0.5 * self.slab_df
        rows, at = np.zeros((n_predictors, 2, size)), np.empty((n_predictors, 2))
        every = np.arange(n_predictors)
        rows[every, 0, 0] = rows[every, 0, 2 + every] = -2.0
        rows[:, 1, 1] = -1.0
        at[:, 0] = 2.0 * (np.log(self.unit) - math.log(self.global_scale))
        at[:, 1] = -2.0 * math.log(self.slab)
        cauchy = np.delete(np.eye(size), 1, axis=0)
        slab = half * math.log(half) - gammaln(half)
        return ScaleTerms(
            rows=rows,
            at=at,
            variances_add=False,
            constant=float(slab) + (size - 1) * math.log(2.0 / math.pi),
            linear=np.where(np.arange(size) == 1, -half, 1.0),
            exp_rows=-np.eye(size)[1:2],
            exp_weights=np.array([half]),
            soft_rows=2.0 * cauchy,
        )

    def log_jacobian(self, theta: Array) -> Array:
        """See :meth:`ScaleModel.log_jacobian`: of ``tau``, ``c`` and every ``lambda_p``."""
        slab = math.log(0.5 * self.slab) + 0.5 * theta[..., 1]
        result: Array = math.log(self.global_scale) + theta[..., 0] + slab + theta[..., 2:].sum(axis=-1)
        return result

    def quantiles(self, uniform: Array) -> Array:
        """See :meth:`ScaleModel.quantiles`."""
        result: Array = np.log(np.tan(0.5 * math.pi * uniform))
        half = 0.5 * self.slab_df
        result[:, 1] = np.log(half / gammaincinv(half, 1.0 - uniform[:, 1]))
        return result

    def variables(self, theta: Array) -> Variables:
        """Scales, ``shrinkage`` factors (predictor) and the ``effective_effects`` that they leave.

        The shrinkage factor of an effect is the share of the way to its prior mean that it is drawn, were the
        predictors uncorrelated: near 1, no effect; near 0, left alone (their equations 2.4 and 2.5). The effective
        number of effects is the sum of what is not drawn.
        """
        shrinkage = 1.0 / (1.0 + self.information * (self.unit * self.sds(theta)) ** 2)
        return {
            names.GLOBAL_SCALE: ((), self.global_scale * np.exp(theta[..., 0])),
            names.SLAB_SCALE: ((), self.slab * np.exp(0.5 * theta[..., 1])),
            names.LOCAL_SCALES: ((names.PREDICTOR,), np.exp(theta[..., 2:])),
            names.SHRINKAGE: ((names.PREDICTOR,), shrinkage),
            names.EFFECTIVE_EFFECTS: ((), (1.0 - shrinkage).sum(axis=-1)),
        }

    def theta(self, variables: Mapping[str, Array]) -> Array:
        """See :meth:`ScaleModel.theta`."""
        overall = np.log(np.asarray(variables[names.GLOBAL_SCALE]) / self.global_scale)
        slab = 2.0 * np.log(np.asarray(variables[names.SLAB_SCALE]) / self.slab)
        local = np.log(np.asarray(variables[names.LOCAL_SCALES]))
        return np.concatenate((overall[..., None], slab[..., None], local), axis=-1)

    @property
    def coords(self) -> dict[str, list[str]]:
        """None of its own."""
        return {}

    def rows(self) -> list[tuple[str, str, str]]:
        """See :meth:`ScaleModel.rows`."""
        low, middle, high = np.quantile(self.variables(self.simulate())[names.EFFECTIVE_EFFECTS][1], [0.1, 0.5, 0.9])
        return [
            (
                names.GLOBAL_SCALE,
                f"HalfCauchy({self.global_scale:.3g})",
                f"{middle:.2g} effective effects, 80% within {low:.2g} to {high:.2g}",
            ),
            (
                "slab_scale^2",
                f"InverseGamma({0.5 * self.slab_df:g}, {0.5 * self.slab_df * self.slab**2:.3g})",
                f"large effects are Student-t({self.slab_df:g}) with scale {self.slab:g}",
            ),
            (names.LOCAL_SCALES, "HalfCauchy(1)", "which effects are large"),
        ]

    def told(self, theta: Array) -> str:
        """See :meth:`ScaleModel.told`."""
        found = self.variables(theta)
        overall, effects = (float(found[name][1]) for name in (names.GLOBAL_SCALE, names.EFFECTIVE_EFFECTS))
        return f"global scale {overall:.2g}, {effects:.2g} effective effects"

    def words(self, p: int) -> str:
        """See :meth:`ScaleModel.words`."""
        return "global x local scale, at most the slab's"


_MODELS: dict[str, type[ScaleModel]] = {model.kind: model for model in (GroupScales, HorseshoeScales)}


def scale_model_of(stored: Mapping[str, Any]) -> ScaleModel:
    """A model of scales from what :meth:`ScaleModel.to_dict` gave."""
    model = _MODELS[stored["kind"]]
    arrays = ("member", "base", "unit")
    values = {f.name: stored[f.name] for f in fields(model)}  # type: ignore[arg-type]
    values = {k: np.asarray(v, dtype=float) if k in arrays else v for k, v in values.items()}
    if "groups" in values:
        values["groups"] = tuple(values["groups"])
    return model(**values)
