r"""Score tests of effects on the weights, from one null fit: cheap enough for many variants, and to permute.

At a fit without the variant let :math:`e_{ik} = r_{ik} - w_{ik}` be what the traits of person :math:`i` say of
membership in component :math:`k` beyond the mixing weights. The score of the variant's effects is :math:`\sum_i g_i
e_i`. With :math:`\tilde g` the variant less its regression on the constant and the other predictors,

.. math:: U = \sum_i \tilde g_i e_i, \qquad T = U' V^{-1} U

is the efficient score: under no effect :math:`\tilde g_i` has mean zero whatever the traits are, so that estimating the
mixture, right or wrong, moves U by less than its standard deviation shrinks, and nothing has to be projected out but
the other predictors. Without other predictors the variant is exchangeable under no effect, and V is the variance over
permutations, :math:`\sum_i \tilde g_i^2 \; \sum_i e_i e_i' / (n - 1)`: neither the curvature of the mixture's
likelihood, which misleads where a component is small, nor outer products of scores. With others it is
:math:`\sum_i \tilde g_i^2 e_i e_i'`, which holds where the spread of either depends on them (White 1980).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.objective import Parameters
from bayesgmm.inference.people import everybody, is_whole
from bayesgmm.problem import Problem

Array = NDArray[np.float64]
Long = NDArray[np.int64]

_RANK = 1e-9  # share of the largest eigenvalue, of a matrix scaled to correlations, below which there is none
_CELLS = 4_000_000  # numbers permuted at a time
_TIE = 1e-9  # relative difference below which two statistics are the same


@dataclass(frozen=True, eq=False)
class NullScores:
    """What a null fit leaves unexplained of everybody's membership, ready for any number of variants.

    Attributes
    ----------
    people : ndarray of int (n,)
        Positions in the problem of the people with traits, each as often as it stands for whole people.
    residuals : ndarray (n, K-1)
        Responsibilities less weights of the components but the first, less their regression on the other predictors.
    others : ndarray (n, 1 + Q)
        The constant and the other predictors, as an orthonormal basis under the weights.
    weight : ndarray (n,)
        Ones, unless sample weights are not whole numbers.
    exchangeable : bool
        No other predictors and whole weights.
    """

    people: Long
    residuals: Array
    others: Array
    weight: Array
    exchangeable: bool

    @classmethod
    def of(cls, problem: Problem, parameters: Parameters) -> NullScores:
        """The scores of a fit without the variants that are to be tested."""
        people = everybody(problem)
        whole = is_whole(problem)
        weight = np.ones(len(people))
        if not whole:
            assert problem.sample_weight is not None
            weight = problem.sample_weight[people]
        excess = problem.responsibilities(parameters) - np.exp(problem.log_weights(parameters))
        columns = np.column_stack((np.ones(len(people)), problem.predictors[people] / problem.predictor_unit))
        root = np.sqrt(weight)[:, None]
        basis = np.linalg.qr(root * columns)[0] / root
        scores = cls(people, excess[people, 1:], basis, weight, whole and basis.shape[1] == 1)
        return cls(people, scores.unexplained(scores.residuals), basis, weight, scores.exchangeable)

    def unexplained(self, columns: Array) -> Array:
        """Columns (n, ...) less their regression on the constant and the other predictors."""
        result: Array = columns - self.others @ (self.others.T @ (self.weight[:, None] * columns))
        return result

    @property
    def _spread(self) -> Array:
        """Variance of the residuals over people (m, m)."""
        result: Array = self.residuals.T @ self.residuals / (len(self.residuals) - 1)
        return result

    @property
    def _correction(self) -> float:
        n, size = self.others.shape
        return float(n / max(n - size, 1))

    def each(self, variants: Array) -> tuple[Array, Array]:
        """Test every variant by itself.

        Parameters
        ----------
        variants : ndarray (n, n_variants)
            Of :attr:`people`, without gaps.

        Returns
        -------
        statistic, df : ndarray (n_variants,)
            Chi-square of so many degrees of freedom under no effect; NaN and 0 where a variant does not vary beyond the
            other predictors.
        """
        own = self.unexplained(variants)
        squares = self.weight @ own**2
        varies = squares > 1e-12 * np.maximum(self.weight @ variants**2, 1e-300)
        score = own.T @ (self.weight[:, None] * self.residuals)
        m = self.residuals.shape[1]
        if self.exchangeable:
            inverse, rank = _pseudo_inverse(self._spread[None])
            values = np.einsum("vk,kl,vl->v", score, inverse[0], score) / np.where(varies, squares, 1.0)
            ranks = np.full(len(values), rank[0])
        else:
            products = (self.residuals[:, :, None] * self.residuals[:, None, :]).reshape(-1, m * m)
            variance = (own**2).T @ ((self.weight**2)[:, None] * products) * self._correction
            inverse, ranks = _pseudo_inverse(variance.reshape(-1, m, m))
            values = np.einsum("vk,vkl,vl->v", score, inverse, score)
        return np.where(varies, values, np.nan), np.where(varies, ranks, 0)

    def together(self, columns: Array) -> tuple[float, int]:
        """Test several columns (n, q) at once: statistic and degrees of freedom."""
        own = self.unexplained(columns)
        values, df = self._statistics(own[None])
        return float(values[0]), int(df)

    def permuted(
        self, columns: Array, draws: int, rng: np.random.Generator, stop_after: int | None = None
    ) -> tuple[int, Array]:
        """Compare the joint statistic with those of the columns' unexplained part given to other people.

        Potter (2005): what the other predictors leave of the columns is permuted against (trait, other predictors), so
        that the null fit holds for every permutation. Without other predictors the test is exact whatever the number of
        people; with them it is asymptotic, and because the statistic is studentised it needs no exchangeable spread
        (DiCiccio and Romano 2017).

        Parameters
        ----------
        columns : ndarray (n, q)
        draws : int
        rng : Generator
        stop_after : int, optional
            Stop at so many statistics as large as the one observed (Besag and Clifford 1991).

        Returns
        -------
        exceeded : int
            How many permutations have a statistic as large.
        statistics : ndarray (n_taken,)
            The statistic of every permutation.
        """
        own = self.unexplained(columns)
        observed = self._statistics(own[None])[0][0]
        threshold = observed * (1.0 - _TIE)
        n, q = own.shape
        most = max(1, _CELLS // (n * max(q, 1)))
        at_a_time = most if stop_after is None else min(most, 4 * stop_after)
        exceeded, taken = 0, [np.zeros(0)]
        left = draws
        while left > 0:
            size = min(at_a_time, left)
            orders = rng.permuted(np.tile(np.arange(n), (size, 1)), axis=1)
            values = self._statistics(own[orders])[0]
            above = values >= threshold
            if stop_after is not None and exceeded + above.sum() >= stop_after:
                last = int(np.flatnonzero(above)[stop_after - exceeded - 1])
                return stop_after, np.concatenate((*taken, values[: last + 1]))
            exceeded += int(above.sum())
            taken.append(values)
            left -= size
            at_a_time = min(most, 2 * at_a_time)
        return exceeded, np.concatenate(taken)

    def _statistics(self, own: Array) -> tuple[Array, int]:
        """Joint statistics of several versions (b, n, q) of the unexplained columns, and their degrees of freedom."""
        m, q = self.residuals.shape[1], own.shape[2]
        score = np.einsum("bnq,nk->bqk", own, self.weight[:, None] * self.residuals, optimize=True)
        if self.exchangeable:
            # the same for every permutation
            (across,), (rank,) = _pseudo_inverse(self._spread[None])
            (within,), (columns,) = _pseudo_inverse((own[0].T @ own[0])[None])
            values = np.einsum("bqk,kl,brl,qr->b", score, across, score, within, optimize=True)
            return values, int(rank * columns)
        # sum_i g_iq e_ik g_ir e_il, by one product of matrices
        pairs = (own[:, :, :, None] * own[:, :, None, :]).reshape(*own.shape[:2], q * q)
        products = (self.residuals[:, :, None] * self.residuals[:, None, :]).reshape(-1, m * m)
        products = products * (self.weight**2)[:, None]
        summed = np.einsum("bnx,ny->bxy", pairs, products, optimize=True) * self._correction
        variance = summed.reshape(-1, q, q, m, m).transpose(0, 1, 3, 2, 4).reshape(-1, q * m, q * m)
        inverse, ranks = _pseudo_inverse(variance)
        flat = score.reshape(len(own), q * m)
        return np.einsum("bi,bij,bj->b", flat, inverse, flat), int(ranks[0])


def _pseudo_inverse(matrices: Array) -> tuple[Array, Long]:
    """Inverses of positive semi-definite matrices (b, m, m) on the space that they have, and its dimension."""
    scale = np.sqrt(np.maximum(np.diagonal(matrices, axis1=1, axis2=2), 1e-300))
    values, vectors = np.linalg.eigh(matrices / (scale[:, :, None] * scale[:, None, :]))
    there = values > _RANK * np.maximum(values[:, -1:], 1e-300)
    inverse = np.where(there, 1.0 / np.where(there, values, 1.0), 0.0)
    scaled = vectors / scale[:, :, None]
    return (scaled * inverse[:, None, :]) @ np.swapaxes(scaled, 1, 2), there.sum(axis=1)
