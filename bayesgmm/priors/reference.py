r"""Priors by rule: Jeffreys' for the components given memberships, and for the weights given the components.

Which rule is which:

- ``Dirichlet(0.5)`` is Jeffreys' prior of the weights when memberships are known, the complete-data rule: proper, no
  cost, and it favours empty components more than the next.
- :class:`JeffreysWeights` is Jeffreys' prior of the weights when they are not: proper, and where components overlap it
  is flatter than that.
- ``Dirichlet(1)`` is uniform on the simplex.
- :class:`Jeffreys` is the complete-data rule for each Gaussian: improper, so it can be maximised and not sampled.
- :meth:`bayesgmm.Priors.jeffreys` is ``Dirichlet(0.5)`` with :class:`Jeffreys`: the rule applied to weights and
  components as blocks of their own. (Applied to all at once it has another power of each weight, since a rare component
  informs of its mean and covariance less; that is not used, as Jeffreys did not for location and scale.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.families import Family
from bayesgmm.core.gaussian import NiwPrior

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Jeffreys:
    r"""Jeffreys' prior of each Gaussian given memberships, :math:`|\Sigma|^{-(D + 2)/2}` in :math:`(\mu, \Sigma)`.

    The Normal-Inverse-Wishart with strength, dof and scale 0. In diagonal families :math:`\prod_d \sigma_d^{-3}`, in
    spherical ones :math:`\sigma^{-(D + 2)}`; a covariance that components share counts once.

    It has no finite integral. In a mixture neither has the posterior, since a component may have nobody (Grazian and
    Robert 2018), so only the MAP can be had, which warns: the density has no bound where a component closes in on D or
    fewer people. One component with more than D people can be sampled: the posterior is then
    :math:`\Sigma \sim IW(n, S)`, :math:`\mu \mid \Sigma \sim N(\bar y, \Sigma / n)`.
    """

    def resolve(self, n_traits: int, family: Family) -> NiwPrior:
        """Numbers for so many traits."""
        return NiwPrior.jeffreys(n_traits, family)


@dataclass(frozen=True)
class JeffreysWeights:
    r"""Jeffreys' prior of the weights: root of the determinant of their Fisher information given the components.

    .. math:: p(\pi \mid \theta) \propto \sqrt{\det I(\pi; \theta)}, \quad
        I_{kl} = \mathrm{E}_f[(f_k - f_K)(f_l - f_K) / f^2]

    (Bernardo and Giron 1988, Bayesian Statistics 3:67; Grazian and Robert 2018, Computational Statistics and Data
    Analysis 121:149.) It multiplies the prior of the components as it stands, without a constant that would depend on
    them, so components that overlap wholly are held to be less likely, too. It is proper, being at most the kernel of
    Dirichlet(1/2), and it is conservative in the number of components: superfluous ones get small weights.

    ``Mixture.sample`` samples under Dirichlet(1/2) and keeps each draw with probability the ratio of the two densities:
    what is kept are draws of the posterior under this prior. ``posterior.tree.attrs`` says what share was kept
    (``acceptance``). The information is that of one person with all the traits, by quadrature (one trait) or by fixed
    quasi-random points (more; ``acceptance_error`` is the standard error of a draw's probability to be kept).

    There is no MAP: where a component's tails are wider than all others' the density is infinite as its weight
    vanishes.
    Predictors of the weights are refused, since the weights then differ from person to person.
    """

    def resolve(self, n_components: int) -> Array:
        """Concentrations (n_components,) of the Dirichlet that bounds it."""
        return np.full(n_components, 0.5)
