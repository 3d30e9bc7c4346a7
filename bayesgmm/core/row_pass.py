r"""Expectation of a mean-field posterior row by row, for what the fused pass does not know.

Where slopes of Student-t components' means are not certain, a person's latent precision depends on how uncertain they
are for that person: with :math:`w_{ik}` the expected squared length that the slopes add and :math:`d_i` the number of
traits the person has,

.. math:: u \mid z = k \sim \mathrm{Gamma}\left(\tfrac{\nu_k + d_i}{2},
          \tfrac{\nu_k + \delta_{ik} + D / \kappa_k + w_{ik}}{2}\right)

and integrating ``u`` out leaves no Student-t density whose scale matrix is the component's alone. This is plain numpy,
some hundreds of nanoseconds a step for each person, component and trait.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from bayesgmm.core.conjugate import ComponentFactors
from bayesgmm.core.gaussian import covariances_from_roots, precision_roots
from bayesgmm.core.moments import Moments
from bayesgmm.core.sample import Sample
from bayesgmm.core.vectormath import log_gamma_ratio

Array = NDArray[np.float64]


def student_rows(
    sample: Sample,
    components: ComponentFactors,
    df: Array,
    shifts: Array,
    widths: Array,
    log_weights: Array,
    responsibilities: Array,
    pointwise: Array,
) -> Moments:
    """Moments of memberships and latent precisions under Student-t factors.

    Parameters
    ----------
    sample : Sample
        Grouped by traits; patterns are not read.
    components : ComponentFactors
    df : ndarray (L,)
    shifts : ndarray (Q, D)
        Expected slopes.
    widths : ndarray (n_rows, L)
        ``w``.
    log_weights : ndarray (n_rows, K)
        Expected log weights, with what else does not depend on the traits.
    responsibilities, pointwise
        Written unless empty.

    Returns
    -------
    Moments
        ``counts`` are the responsibilities of every row, times what it stands for.
    """
    n_located, size = components.means.shape
    n_components, n_both = log_weights.shape[1], size + len(shifts)
    covariances = covariances_from_roots(components.roots)
    # half the expected log determinants beside those of the plug-in precisions, which the densities have
    level = components.expected_log_roots - np.log(np.diagonal(components.roots, axis1=1, axis2=2)).sum(axis=1)
    counts, mass = np.zeros(log_weights.shape), np.zeros(n_components + 2 * n_located)
    first, second = np.zeros((n_located, n_both)), np.zeros((n_located, n_both, n_both))
    value = 0.0
    for g in range(len(sample.starts) - 1):
        rows = slice(int(sample.starts[g]), int(sample.starts[g + 1]))
        n_seen, n = int(sample.n_observed[g]), rows.stop - rows.start
        people = sample.repeats[rows] if len(sample.repeats) else np.ones(n)
        if n_seen == 0:
            joint = np.full((n, n_components), -np.inf)
            joint[:, -1] = log_weights[rows, -1]
        else:
            joint = log_weights[rows].copy()
            joint[:, n_located:] += sample.fixed[g]
        seen = sample.observed[g, :n_seen]
        values = sample.values[sample.offsets[g] : sample.offsets[g + 1]].reshape(n, n_seen)
        about = sample.covariates[:, rows].T
        y = (values - sample.centre[seen]) * sample.scale[seen] - about @ shifts[:, seen]
        away, rates = [], []
        for k in range(n_located if n_seen else 0):
            root = precision_roots(covariances[k][np.ix_(seen, seen)])
            diff = y - components.means[k, seen]
            length = ((diff @ root) ** 2).sum(axis=1) + size / components.strength[k] + widths[rows, k]
            constant = log_gamma_ratio(0.5 * df[k], 0.5 * n_seen) - 0.5 * n_seen * np.log(np.pi * df[k])
            constant += level[k] + np.log(np.diagonal(root)).sum()
            joint[:, k] += constant - 0.5 * (df[k] + n_seen) * np.log1p(length / df[k])
            away.append(diff)
            rates.append(0.5 * (df[k] + length))
        top = joint.max(axis=1)
        totals = top + np.log(np.exp(joint - top[:, None]).sum(axis=1))
        value += float(people @ totals)
        r = np.exp(joint - totals[:, None])
        if len(responsibilities):
            responsibilities[rows] = r
        if len(pointwise):
            pointwise[rows] = totals
        r = r * people[:, None]
        counts[rows] = r
        mass[:n_components] += r.sum(axis=0)
        for k, (diff, rate) in enumerate(zip(away, rates, strict=True)):
            half = 0.5 * (df[k] + n_seen)
            ru = r[:, k] * half / rate
            mass[n_components + k] += ru.sum()
            mass[n_components + n_located + k] += r[:, k] @ (digamma(half) - np.log(rate))
            regression = np.linalg.solve(covariances[k][np.ix_(seen, seen)], covariances[k][seen]).T
            both = np.concatenate((diff @ regression.T, about), axis=1)
            first[k] += ru @ both
            second[k] += (ru[:, None] * both).T @ both
            second[k, :size, :size] += r[:, k].sum() * (covariances[k] - regression @ covariances[k][seen])
    return Moments(value, counts, mass, first, second)
