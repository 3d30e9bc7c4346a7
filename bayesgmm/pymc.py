r"""The fused mixture likelihood as a distribution for PyMC models of one's own.

:class:`MarginalMixture` is what :meth:`bayesgmm.Mixture.to_pymc` rests on, offered as a building block: weights, means
and covariances may come from any priors, hierarchies or regressions. Person i has density

.. math:: p(y_i) = \sum_k w_{u(i)k} N(y_i; \mu_k + c_i \Delta, (L_k L_k')^{-1}), \qquad
          w_u = \mathrm{softmax}(\mathrm{logits}_u)

in the traits that the person has. Membership is summed out, so every parameter is continuous and NUTS applies.
Components may be Student-t, and noise and a spike may come after them, as in :class:`bayesgmm.Mixture`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import NDArray
from pymc.pytensorf import constant_fold
from pytensor.graph.basic import Constant, Variable
from pytensor.raise_op import Assert

from bayesgmm.core.fixed import Box, Fixed
from bayesgmm.errors import InputError, first_few
from bayesgmm.inference.mixture_rv import check_people, mixture_of_traits, one_trait_mixture, rows_of_box
from bayesgmm.problem_checks import box_of_noise, refuse_small_volume

__all__ = ["MarginalMixture"]

Array = NDArray[np.float64]
_SPREADS = "precision_cholesky, covariance_cholesky or sd"


class MarginalMixture:
    """Traits of people from a mixture of Gaussians or Student-t's whose membership is summed out.

    Parameters
    ----------
    name : str
        Name of the observed variable.
    logits : tensor (K,), (n, K) or, with ``pattern``, (U, K)
        Unnormalised log weights: of everybody, of every person, or of every distinct kind of people. Noise and a spike
        are the last of the components, in this order; the shapes below are those of the others.
    means : tensor (K,) for one trait, or (K, D)
        In the traits' own units. Give them an order (``transform=pm.distributions.transforms.ordered``), or chains will
        differ in which component is called 0.
    precision_cholesky : tensor (K, D, D), or (K,) for one trait
        Lower Cholesky factors of the precisions, ``inv(Sigma_k) = L_k L_k'``; entries above the diagonal are not read.
        The fastest form: nothing is factored or inverted.
    covariance_cholesky : tensor (K, D, D)
        Instead: lower Cholesky factors of the covariances, as ``pm.LKJCholeskyCov`` gives them.
    sd : tensor (K,) for one trait, or (K, D)
        Instead: standard deviations, traits independent within a component.
    shifts : tensor (Q,) for one trait, or (Q, D), optional
        Slopes of the covariates, shared by all components.
    covariates : array (n, Q) or (n,), optional
        Of the means, without missing values.
    pattern : array of int (n,), optional
        Row of ``logits`` of each person. Use it where few kinds of people differ in their weights (genotypes 0, 1, 2):
        the weights are then computed once a row.
    weights : array (n,), optional
        Sample weights: what a person's log likelihood is multiplied by; 0 is absence.
    df : tensor, scalar or (K,), optional
        Degrees of freedom, of all components or of each: they are Student-t then, and the spreads above those of their
        scale matrices. Numbers, or variables with a prior.
    noise : bool, float or (low, high), default False
        One more component, even over a box: that of the data (True), the same with a volume that is given (a number),
        or from ``low`` to ``high`` of every trait. Outside the box the density is continued, as in
        :class:`bayesgmm.Mixture`; a box that is given must be large enough to hold the data.
    spike : float or array (D,), optional
        One more component at exactly this value: who has it in every trait that is known is of this component for
        certain, and adds the logarithm of its weight.
    observed : array, Series or DataFrame, (n,) or (n, D)
        Traits, NaN where missing: the density is that of the traits a person has. An array, not ``pm.Data``: people are
        sorted and grouped once.
    dims : str or sequence of str, optional
        Dims of the observed variable.

    Returns
    -------
    TensorVariable
        The observed variable (n,) or (n, D), registered in the model of the context.

    Raises
    ------
    InputError
        If a shape, a count of components or an entry cannot be used; at the time of building.

    Notes
    -----
    Series and frames of ``covariates``, ``pattern`` and ``weights`` are matched to an ``observed`` Series or DataFrame
    by their index, arrays by position.

    ``pm.sample``, nutpie, ``pm.find_MAP`` (by its gradient), ``pm.compute_log_likelihood`` (one number a person, times
    the person's weight), ``pm.sample_prior_predictive`` and ``pm.sample_posterior_predictive`` (every trait of
    everybody, also those that were missing) work. The density has a gradient and no second derivative. Cohorts with
    means of their own are one ``MarginalMixture`` each, in one model.

    Examples
    --------
    >>> import numpy as np, pymc as pm, bayesgmm as bg
    >>> y = np.random.default_rng(1).normal([0.0, 4.0], 1.0, (200, 2)).ravel()
    >>> with pm.Model() as model:
    ...     weight = pm.Beta("weight", 2, 2)
    ...     means = pm.Normal("means", [0, 3], 5, transform=pm.distributions.transforms.ordered)
    ...     sd = pm.HalfNormal("sd", 2, shape=2)
    ...     logits = pm.math.log(pm.math.stack([weight, 1 - weight]))
    ...     likelihood = bg.pymc.MarginalMixture("y", logits=logits, means=means, sd=sd, observed=y)
    """

    def __new__(
        cls,
        name: str,
        *,
        logits: Any,
        means: Any,
        precision_cholesky: Any = None,
        covariance_cholesky: Any = None,
        sd: Any = None,
        shifts: Any = None,
        covariates: Any = None,
        pattern: Any = None,
        weights: Any = None,
        df: Any = None,
        noise: Any = False,
        spike: Any = None,
        observed: Any = None,
        dims: str | tuple[str, ...] | list[str] | None = None,
    ) -> Any:
        """Add the observed variable to the model of the context."""
        model = pm.modelcontext(None)
        if observed is None:
            raise InputError(
                f"MarginalMixture {name!r} needs observed: it is a likelihood. For a mixture as a prior use "
                "pm.NormalMixture or pm.Mixture; for draws only, MarginalMixture.dist"
            )
        values, index = _observed(observed)
        traits = values.reshape(len(values), -1)
        check_people(traits, index)
        mass = _in_order(weights, index, "weights")
        rv = cls.dist(
            logits=logits,
            means=means,
            precision_cholesky=precision_cholesky,
            covariance_cholesky=covariance_cholesky,
            sd=sd,
            shifts=shifts,
            covariates=_in_order(covariates, index, "covariates"),
            pattern=_in_order(pattern, index, "pattern"),
            weights=mass,
            df=df,
            noise=_noise_around(noise, spike, values, mass),
            spike=spike,
            n=len(values),
        )
        if values.ndim != rv.ndim or (values.ndim == 2 and values.shape[1] != rv.type.shape[1]):
            n_traits = rv.type.shape[1] if rv.ndim == 2 else 1
            raise InputError(
                f"observed has shape {values.shape}, and means those of {n_traits} trait{'s' * (n_traits > 1)}; "
                "observed must be (n,) with means (K,), or (n, D) with means (K, D)"
            )
        if spike is not None and not Fixed(spike=_spike(spike, traits.shape[1])).at_spike(traits).any():
            raise InputError(
                f"spike = {spike!r}, but nobody has this value; give the value as it is in observed, to the last digit,"
                " or leave the spike out"
            )
        # a constant of the graph, because PyMC would impute missing values of an array: here they are summed over
        constant = pt.constant(values, name=name)
        return model.register_rv(rv, name, observed=constant, dims=(dims,) if isinstance(dims, str) else dims)

    @classmethod
    def dist(
        cls,
        *,
        logits: Any,
        means: Any,
        precision_cholesky: Any = None,
        covariance_cholesky: Any = None,
        sd: Any = None,
        shifts: Any = None,
        covariates: Any = None,
        pattern: Any = None,
        weights: Any = None,
        df: Any = None,
        noise: Any = False,
        spike: Any = None,
        n: int | None = None,
        rng: Any = None,
    ) -> Any:
        """Make the random variable without a model: for ``pm.draw``, and ``pm.logp`` of an array.

        Parameters
        ----------
        n : int, optional
            How many people; not needed where ``pattern``, ``covariates``, ``weights`` or logits (n, K) tell.
        rng : random generator variable, optional
        noise : bool or (low, high), default False
            The box from ``low`` to ``high`` of every trait: there are no data to read it off.
        **others
            As in :class:`MarginalMixture`.
        """
        centres = _tensor(means, "means")
        one_trait = centres.ndim == 1
        if centres.ndim not in (1, 2):
            raise InputError(f"means has {centres.ndim} dimensions; it must be (K,) for one trait, or (K, D)")
        centres = centres[:, None] if one_trait else centres
        heights = _tensor(logits, "logits")
        if heights.ndim not in (1, 2):
            raise InputError(f"logits has {heights.ndim} dimensions; it must be (K,), (n, K), or (U, K) with pattern")
        kinds = ("noise",) * (noise is not False) + ("spike",) * (spike is not None)
        n_located, n_traits = _components(heights, centres, kinds), _known_length(centres, 1)
        if n_traits is None:
            raise InputError("means: the number of traits is not known when the model is built; give the prior a shape")
        centres = _of_shape(centres, "means", (n_located, n_traits), one_trait)
        roots = _roots(precision_cholesky, covariance_cholesky, sd, n_located, n_traits, one_trait)
        n_components = n_located + len(kinds)
        about, slopes = _covariates(covariates, shifts, n_traits, one_trait)
        mass = None if weights is None else _weights(weights)
        n = _n_people(n, {"pattern": pattern, "covariates": about, "weights": mass}, heights)
        rows, which = _rows(heights, n_components, pattern, n)
        parameters = (
            which,
            rows,
            centres,
            roots,
            np.zeros((n, 0)) if about is None else about,
            slopes,
            np.ones(n) if mass is None else mass,
            _degrees(df, n_located),
            rows_of_box(_box(noise, n_traits), n_traits),
            np.empty((0, n_traits)) if spike is None else _spike(spike, n_traits)[None],
        )
        op = one_trait_mixture if one_trait else mixture_of_traits
        rng = pt.random.shared_rng(seed=None) if rng is None else rng
        return op(*parameters, rng=rng, return_next_rng=True)[1]


def _observed(observed: Any) -> tuple[Array, Any]:
    """Traits as numbers, NaN where missing, and the labels of the people where they have any."""
    if isinstance(observed, Constant):
        observed = observed.data
    if isinstance(observed, Variable):
        raise InputError(
            "observed is a variable of the graph (pm.Data?); give an array, Series or DataFrame: people are sorted and "
            "grouped once. For other data build the model anew"
        )
    index = observed.index if isinstance(observed, pd.Series | pd.DataFrame) else None
    if index is not None and index.has_duplicates:
        raise InputError(f"observed: duplicated sample ids {first_few(index[index.duplicated()])}")
    if isinstance(observed, np.ma.MaskedArray):
        observed = np.where(np.ma.getmaskarray(observed), np.nan, observed.data)
    values = _numbers(observed, "observed")
    if values.ndim not in (1, 2) or values.size == 0:
        raise InputError(f"observed has shape {values.shape}; it must be (n,) or (n, D), with at least one entry")
    return values, index


def _numbers(given: Any, name: str) -> Array:
    try:
        return np.array(given, dtype=float)
    except (TypeError, ValueError):
        raise InputError(f"{name} is not numeric ({type(given).__name__}); give an array of numbers") from None


def _in_order(given: Any, index: Any, name: str) -> Any:
    """A Series or DataFrame in the order of the observed people, matched by index; anything else as it is."""
    if index is None or not isinstance(given, pd.Series | pd.DataFrame):
        return given
    gone = [label for label in index if label not in given.index]
    if gone or given.index.has_duplicates:
        said = f"lacks the samples {first_few(gone)}" if gone else "has duplicated sample ids"
        raise InputError(f"{name} {said} of observed; give one row a person, or an array in the order of observed")
    return given.loc[index]


def _tensor(given: Any, name: str) -> Any:
    """A parameter as a float tensor; constants must be finite."""
    if isinstance(given, Constant):
        given = given.data
    if isinstance(given, Variable):
        return pt.as_tensor_variable(given).astype("float64")
    values = _numbers(given, name)
    if not np.isfinite(values).all():
        raise InputError(f"{name} has entries that are not finite; every one must be a finite number")
    return pt.constant(values)


def _known_length(tensor: Any, axis: int) -> int | None:
    """Length along an axis where it can be told before anything is compiled."""
    length: int | None = tensor.type.shape[axis]
    if length is None:
        (folded,) = constant_fold([tensor.shape[axis]], raise_not_constant=False)
        length = None if isinstance(folded, Variable) else int(folded)
    return length


def _components(logits: Any, means: Any, kinds: tuple[str, ...] = ()) -> int:
    """Number of components with a mean, which logits and means must agree on; ``kinds`` are the others."""
    of_logits, of_means = _known_length(logits, logits.ndim - 1), _known_length(means, 0)
    if of_logits is not None and of_means is not None and of_logits != of_means + len(kinds):
        others = f", and {' and '.join(kinds)} beside them" if kinds else ""
        raise InputError(
            f"logits has {of_logits} components (its last dimension) and means {of_means}{others}; they must agree"
        )
    if of_means is None and of_logits is not None:
        of_means = of_logits - len(kinds)
    if of_means is None:
        raise InputError(
            "the number of components is not known when the model is built; give the prior of means a shape"
        )
    if of_means < 1:
        raise InputError("means has no component; it needs at least one")
    return of_means


def _degrees(df: Any, n_located: int) -> Any:
    """Degrees of freedom (K,) of every component; empty where they are Gaussian."""
    if df is None:
        return np.empty(0)
    degrees = _tensor(df, "df")
    if isinstance(degrees, Constant):
        _positive(np.asarray(degrees.data), "df")
    if degrees.ndim == 0:
        return degrees * np.ones(n_located)
    return _of_shape(degrees, "df", (n_located,))


def _spike(spike: Any, n_traits: int) -> Array:
    """The spike's value of every trait (D,)."""
    _refuse_variable(spike, "spike")
    values = _numbers(spike, "spike")
    if values.ndim > 1 or values.size not in (1, n_traits) or not np.isfinite(values).all():
        raise InputError(f"spike = {spike!r}; it must be a finite number, or one for each of the {n_traits} traits")
    return np.array(np.broadcast_to(values.ravel(), (n_traits,)))


def _box(noise: Any, n_traits: int) -> Box | None:
    """The box of noise that is given."""
    if noise is False or isinstance(noise, Box):
        return noise or None
    if not isinstance(noise, tuple | list) or len(noise) != 2:
        raise InputError(
            f"noise = {noise!r}; without observed there is no box: give (low, high) of every trait, or False"
        )
    low, high = (_numbers(x, "noise") for x in noise)
    if any(x.ndim > 1 or x.size not in (1, n_traits) or not np.isfinite(x).all() for x in (low, high)):
        raise InputError(
            f"noise = {noise!r}; low and high must be finite numbers, or one for each of {n_traits} traits"
        )
    low, high = (np.array(np.broadcast_to(x.ravel(), (n_traits,))) for x in (low, high))
    if not (high > low).all():
        raise InputError(f"noise = {noise!r}; high must be above low")
    centre = 0.5 * (low + high)
    return Box(low - centre, high - centre, np.eye(n_traits), centre, high - low, float(np.prod(high - low)))


def _noise_around(noise: Any, spike: Any, values: Array, weights: Any) -> Any:
    """The box of noise: read off the data, or given and able to hold them; of the people who count and are no spike."""
    if noise is False:
        return noise
    is_given = isinstance(noise, tuple | list)
    is_number = isinstance(noise, int | float | np.number) and not isinstance(noise, bool)
    if not (is_given or noise is True or (is_number and 0.0 < noise < np.inf)):
        raise InputError(f"noise = {noise!r}; it must be True, False, the volume of its box (above 0), or (low, high)")
    traits = values.reshape(len(values), -1)
    present = np.ones(len(traits), dtype=bool)
    if spike is not None:
        present &= ~Fixed(spike=_spike(spike, traits.shape[1])).at_spike(traits)
    if weights is not None and (mass := _weights(weights)).shape == present.shape:
        present &= mass > 0.0
    traits = traits[present]
    if is_given:
        box = _box(noise, traits.shape[1])
        if box is not None and not np.isnan(traits).all(axis=0).any():
            refuse_small_volume(f"noise = {noise!r}", box.volume, Box.around(traits))
        return box
    names_of = [f"trait {d} of observed" for d in range(traits.shape[1])]
    if np.isnan(traits).all(axis=0).any():
        raise InputError(f"noise: nobody has {names_of[int(np.isnan(traits).all(axis=0).argmax())]}")
    return box_of_noise(noise, traits, names_of)


def _of_shape(tensor: Any, name: str, shape: tuple[int, ...], one_trait: bool = False) -> Any:
    """The tensor with a shape that is checked now where it is known, else whenever it is evaluated."""
    given = tuple(_known_length(tensor, axis) for axis in range(tensor.ndim))
    if len(given) != len(shape) or any(a is not None and a != b for a, b in zip(given, shape, strict=True)):
        shown = ", ".join("?" if length is None else str(length) for length in given)
        wanted = shape[:1] if one_trait else shape
        raise InputError(f"{name} has shape ({shown}); with these means it must be {wanted}")
    return pt.specify_shape(tensor, shape)


def _roots(precision: Any, covariance: Any, sd: Any, n_components: int, n_traits: int, one_trait: bool) -> Any:
    """Lower factors of the precisions (K, D, D), whichever way they are given."""
    if sum(x is not None for x in (precision, covariance, sd)) != 1:
        raise InputError(f"give exactly one of {_SPREADS}")
    if sd is not None:
        spread = _tensor(sd, "sd")
        if isinstance(spread, Constant):
            _positive(spread.data, "sd")
        spread = spread[:, None] if one_trait and spread.ndim == 1 else spread
        spread = _of_shape(spread, "sd", (n_components, n_traits), one_trait)
        return pt.eye(n_traits)[None] / spread[:, :, None]
    name = "precision_cholesky" if precision is not None else "covariance_cholesky"
    factor = _tensor(precision if precision is not None else covariance, name)
    if isinstance(factor, Constant):
        diagonal = factor.data if factor.ndim < 3 else np.diagonal(factor.data, axis1=1, axis2=2)
        _positive(diagonal, f"the diagonal of {name}")
    factor = factor[:, None, None] if one_trait and factor.ndim == 1 else factor
    factor = _of_shape(factor, name, (n_components, n_traits, n_traits))
    if n_traits == 1:
        return factor if precision is not None else 1.0 / factor
    lower = factor * np.tri(n_traits)
    if precision is not None:
        return lower
    inverse = pt.linalg.inv(lower)
    return pt.linalg.cholesky(pt.matmul(inverse.transpose(0, 2, 1), inverse))


def _positive(values: Array, name: str) -> None:
    if not (values > 0.0).all():
        raise InputError(f"{name} has the entry {values.min():g}; it must be above 0")


def _covariates(covariates: Any, shifts: Any, n_traits: int, one_trait: bool) -> tuple[Array | None, Any]:
    """Covariates (n, Q) and their slopes (Q, D)."""
    if (covariates is None) != (shifts is None):
        missing, there = ("covariates", "shifts") if covariates is None else ("shifts", "covariates")
        raise InputError(f"{there} without {missing}; give both or neither")
    if covariates is None:
        return None, pt.zeros((0, n_traits))
    _refuse_variable(covariates, "covariates")
    about = _numbers(covariates, "covariates")
    about = about[:, None] if about.ndim == 1 else about
    if about.ndim != 2 or not np.isfinite(about).all():
        raise InputError(f"covariates, of shape {about.shape}, must be (n, Q) and finite; impute or drop missing ones")
    slopes = _tensor(shifts, "shifts")
    slopes = slopes[:, None] if one_trait and slopes.ndim == 1 else slopes
    return about, _of_shape(slopes, "shifts", (about.shape[1], n_traits), one_trait)


def _weights(weights: Any) -> Array:
    _refuse_variable(weights, "weights")
    mass = _numbers(weights, "weights")
    if mass.ndim != 1:
        raise InputError(f"weights has shape {mass.shape}; it must be (n,)")
    wrong = ~(np.isfinite(mass) & (mass >= 0.0))
    if wrong.any():
        raise InputError(
            f"weights must be finite and at least 0; they are not at rows {first_few(np.flatnonzero(wrong))}"
        )
    if not mass.sum() > 0.0:
        raise InputError("weights are 0 for everyone; nobody is left")
    return mass


def _refuse_variable(given: Any, name: str) -> None:
    if isinstance(given, Variable) and not isinstance(given, Constant):
        raise InputError(f"{name} is a variable of the graph; it must be an array: people are sorted and grouped once")


def _n_people(n: int | None, given: dict[str, Any], logits: Any) -> int:
    """Number of people, on which everything that is of people must agree."""
    lengths = {name: len(np.asarray(x)) for name, x in given.items() if x is not None}
    if given["pattern"] is None and logits.ndim == 2 and (rows := _known_length(logits, 0)) is not None:
        lengths["logits (no pattern is given)"] = rows
    if n is None:
        if not lengths:
            raise InputError("the number of people is not known; give n")
        n = next(iter(lengths.values()))
    for name, length in lengths.items():
        if length != n:
            raise InputError(f"{name} has {length} rows, and there are {n} people; they must agree")
    return n


def _rows(logits: Any, n_components: int, pattern: Any, n: int) -> tuple[Any, NDArray[np.int64]]:
    """Distinct rows of logits (U, K), and the row of each person."""
    if logits.ndim == 1:
        if pattern is not None:
            raise InputError("pattern is given and logits has one dimension; with pattern logits must be (U, K)")
        return _of_shape(logits, "logits", (n_components,))[None, :], np.zeros(n, dtype=np.int64)
    if pattern is None:
        return _of_shape(logits, "logits", (n, n_components)), np.arange(n)
    _refuse_variable(pattern, "pattern")
    which = _numbers(pattern, "pattern")
    n_rows = _known_length(logits, 0)
    most = np.inf if n_rows is None else n_rows - 1
    wrong = ~((which >= 0) & (which <= most) & (which == np.floor(which)))
    if which.ndim != 1 or wrong.any():
        raise InputError(
            f"pattern must be whole numbers (n,), rows of logits from 0 to {most:g}; it is not at people "
            f"{first_few(np.flatnonzero(wrong))}"
        )
    if n_rows is None:
        enough = Assert(f"logits must have a row for every pattern, at least {int(which.max()) + 1}")
        logits = enough(logits, pt.gt(logits.shape[0], int(which.max())))
        return pt.specify_shape(logits, (None, n_components)), which.astype(np.int64)
    return _of_shape(logits, "logits", (n_rows, n_components)), which.astype(np.int64)
