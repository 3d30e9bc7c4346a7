"""A number of components with a family and what its prior says, and that prior in one problem's own units."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bayesgmm.core.small_data import Moments
from bayesgmm.core.small_mixture import Form, SmallPrior

Array = NDArray[np.float64]

_REPEATS = 1e-12  # one less the correlation at which two traits repeat each other


class Model(NamedTuple):
    """A number of components with a family and what its prior says; numbers that depend on the data are not given.

    Attributes
    ----------
    family : int
        The same for the models of one family, which come one after another with more and more components.
    n_components, n_parameters : int
    form : Form
    one_unit : bool
        The family may only be rescaled as a whole.
    concentration, strength, dof : float
    improper : bool
        The components' prior has no constant: flat, or Jeffreys'.
    mean_power, covariance_power, unit_power : float
        See :class:`bayesgmm.core.gaussian.NiwPrior`; the last of each trait.
    own_mean, own_scale : bool
        Whether ``m0`` and ``Psi0`` are the defaults, which depend on the data.
    mean_0, mean_1, scale_00, scale_01, scale_11 : float
        Those given, in the traits' units.
    """

    family: int
    n_components: int
    n_parameters: int
    form: Form
    one_unit: bool
    concentration: float
    strength: float
    dof: float
    improper: bool
    mean_power: float
    covariance_power: float
    unit_power: float
    own_mean: bool
    own_scale: bool
    mean_0: float
    mean_1: float
    scale_00: float
    scale_01: float
    scale_11: float

    def row(self) -> list[float]:
        """The numbers in a row, as the compiled code takes them."""
        numbers: list[float] = []
        for value in self:
            numbers += value if isinstance(value, tuple) else [value]
        return [float(number) for number in numbers]


@njit(cache=True, error_model="numpy", nogil=True)
def model_at(row: Array) -> Model:
    """The model of a row that :meth:`Model.row` made."""
    return Model(
        int(row[0]),
        int(row[1]),
        int(row[2]),
        Form(int(row[3]), row[4] > 0.0, row[5] > 0.0, row[6] > 0.0),
        row[7] > 0.0,
        row[8],
        row[9],
        row[10],
        row[11] > 0.0,
        row[12],
        row[13],
        row[14],
        row[15] > 0.0,
        row[16] > 0.0,
        row[17],
        row[18],
        row[19],
        row[20],
        row[21],
    )


@njit(cache=True, error_model="numpy", nogil=True)
def prior_of(model: Model, moments: Moments, unit_0: float, unit_1: float) -> tuple[bool, SmallPrior]:
    """The prior in standardised units; False where its default scale cannot be formed."""
    form, k = model.form, model.n_components
    size = form.n_traits
    m0, m1, p00, p01, p11 = 0.0, 0.0, 0.0, 0.0, 0.0
    if not model.own_mean:
        m0 = (model.mean_0 - moments.mean_0) / unit_0
        m1 = (model.mean_1 - moments.mean_1) / unit_1 if size > 1 else 0.0
    if model.own_scale:
        p00, p01, p11 = moments.s00, moments.s01, moments.s11
        whole = p00 > 0.0 and (size == 1 or p11 > 0.0)
        if form.on_axes:
            p01 = 0.0
        elif size > 1 and whole:
            # the smallest eigenvalue of the correlation matrix
            whole = 1.0 - abs(p01) / math.sqrt(p00 * p11) >= _REPEATS
        if not (moments.has_covariance and whole):
            return False, SmallPrior(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        if form.spherical and size > 1:
            p00 = 0.5 * (p00 + p11)
            p11 = p00
        share = k ** (-2.0 / size)
        p00, p01, p11 = p00 * share, p01 * share, p11 * share
    else:
        p00, p01, p11 = model.scale_00, model.scale_01, model.scale_11
    p00, p01, p11 = p00 / (unit_0 * unit_0), p01 / (unit_0 * unit_1), p11 / (unit_1 * unit_1)
    if size == 1:
        p01, p11 = 0.0, 0.0
    a = model.concentration
    constant = math.lgamma(k * a) - k * math.lgamma(a)
    if not model.improper:
        half = 0.5 * model.dof
        of_mean = 0.5 * size * math.log(model.strength / (2.0 * math.pi))
        if size == 1:
            of_covariance = half * math.log(0.5 * p00) - math.lgamma(half)
        elif form.spherical:
            of_covariance = half * math.log(0.25 * (p00 + p11)) - math.lgamma(half)
        elif form.on_axes:
            of_covariance = half * (math.log(0.5 * p00) + math.log(0.5 * p11)) - 2.0 * math.lgamma(half)
        else:
            of_covariance = half * math.log(0.25 * (p00 * p11 - p01 * p01)) - 0.5 * math.log(math.pi)
            of_covariance -= math.lgamma(half) + math.lgamma(half - 0.5)
        constant += k * of_mean + (1 if form.shared else k) * of_covariance
    if form.spherical and size > 1:
        # the density of the one variance has the mean of the two
        p00 = 0.25 * (p00 + p11)
        p11, p01 = p00, 0.0
    prior = SmallPrior(
        a - 1.0, model.strength, model.mean_power, model.covariance_power, m0, m1, p00, p01, p11, constant
    )
    return True, prior
