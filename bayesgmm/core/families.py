r"""The fourteen covariance families: names, geometry, free parameters, and coordinates.

Each family is a choice, for the volume, shape and orientation of
:math:`\Sigma_k = \lambda_k D_k A_k D_k'` (Banfield and Raftery 1993; Celeux and Govaert 1995), between one for all
components (E), each its own (V), and none (I).

Coordinates are those of the precision's factor, :math:`\Sigma_k^{-1} = L_k L_k'` and
:math:`L_k = U_k \mathrm{diag}(e^{l_k})` with :math:`U_k` unit lower triangular: the logarithms ``l`` (K, D), then the
entries of ``U`` below the diagonal (K, D(D-1)/2), row by row. In them ten families are linear subspaces. The four with
an orientation shared between unequal shapes, or a shape shared between unequal orientations (EVE, VVE, EEV, VEV), are
curved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EQUAL, VARIABLE, NONE = 0, 1, 2
_LETTER = {"E": EQUAL, "V": VARIABLE, "I": NONE}

FAMILIES = (
    "EII", "VII", "EEI", "VEI", "EVI", "VVI", "EEE", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "VVV",
)  # fmt: skip
ALIASES = {"full": "VVV", "tied": "EEE", "diag": "VVI", "spherical": "VII"}
ONE_TRAIT = {"E": "EEE", "V": "VVV"}
SAMPLED = ("EII", "VII", "EEI", "VVI", "EEE", "VVV")
CURVED = ("EVE", "VVE", "EEV", "VEV")
# What a family is closed under: a change of each trait's unit, or only of all at once.
_ONE_UNIT = ("EII", "VII", *CURVED)


@dataclass(frozen=True)
class Family:
    """One covariance family.

    Attributes
    ----------
    name : str
        Three letters: volume, shape, orientation.
    """

    name: str

    @property
    def volume(self) -> int:
        """EQUAL or VARIABLE."""
        return _LETTER[self.name[0]]

    @property
    def shape(self) -> int:
        """EQUAL, VARIABLE or NONE (spheres)."""
        return _LETTER[self.name[1]]

    @property
    def orientation(self) -> int:
        """EQUAL, VARIABLE or NONE (along the axes)."""
        return _LETTER[self.name[2]]

    @property
    def spherical(self) -> bool:
        """Whether every covariance is a multiple of the identity."""
        return self.shape == NONE

    @property
    def diagonal(self) -> bool:
        """Whether every covariance is diagonal but not spherical."""
        return self.shape != NONE and self.orientation == NONE

    @property
    def on_axes(self) -> bool:
        """Whether covariances are diagonal."""
        return self.orientation == NONE

    @property
    def equal_volume(self) -> bool:
        """Whether the covariances have one determinant."""
        return self.volume == EQUAL

    @property
    def linear(self) -> bool:
        """Whether the family is a linear subspace of the coordinates."""
        return self.name not in CURVED

    @property
    def sampled(self) -> bool:
        """Whether the family's posterior can be sampled."""
        return self.name in SAMPLED

    @property
    def one_unit(self) -> bool:
        """Whether traits may only be rescaled together: a change of one trait's unit would leave the family."""
        return self.name in _ONE_UNIT

    @property
    def shared(self) -> bool:
        """Whether all components have one covariance matrix."""
        return self.name in ("EII", "EEI", "EEE")

    def within(self, other: Family) -> bool:
        """Whether every member of this family is one of the other.

        Volume, shape and orientation may each only become freer. A sphere has every orientation.
        """
        freedom = {NONE: 0, EQUAL: 1, VARIABLE: 2}
        mine, theirs = ((f.volume, f.shape, f.orientation) for f in (self, other))
        return all(freedom[a] <= freedom[b] for a, b in zip(mine, theirs, strict=True))

    def in_one_trait(self) -> Family:
        """The family of the same volume when there is one trait, where shape and orientation say nothing."""
        return Family("EEE" if self.volume == EQUAL else "VVV")

    def n_parameters(self, n_components: int, n_traits: int) -> int:
        """Free parameters of the covariances (Celeux and Govaert 1995, table 1)."""
        k, size = n_components, n_traits
        volume = k if self.volume == VARIABLE else 1
        shape = {EQUAL: size - 1, VARIABLE: k * (size - 1), NONE: 0}[self.shape]
        turns = size * (size - 1) // 2
        orientation = {EQUAL: turns, VARIABLE: k * turns, NONE: 0}[self.orientation]
        return volume + shape + orientation


def family_of(name: str) -> Family:
    """Family by its three letters, scikit-learn's name, or E and V.

    Raises
    ------
    KeyError
        If there is no such family.
    """
    full = ALIASES.get(name, ONE_TRAIT.get(name, name))
    if full not in FAMILIES:
        raise KeyError(name)
    return Family(full)


def tie(family: Family, n_components: int, n_traits: int) -> Array:
    """Matrix from a linear family's free coordinates to the full ones, (K D + K D(D-1)/2, n_free).

    The rows of the diagonals come first; each of the other rows has at most a single one. The pseudoinverse reads free
    coordinates off full ones.
    """
    k, size = n_components, n_traits
    turns = size * (size - 1) // 2
    diagonal: NDArray[Any]
    lower: NDArray[Any]
    volume: NDArray[Any] = np.kron(np.eye(k) if family.volume == VARIABLE else np.ones((k, 1)), np.ones((size, 1)))
    # shapes have determinant one: their logarithms sum to zero
    contrast = np.vstack((np.eye(size - 1), -np.ones((1, size - 1))))
    if family.volume == VARIABLE and family.shape == VARIABLE:
        diagonal = np.eye(k * size)
    elif family.volume == EQUAL and family.shape == EQUAL:
        diagonal = np.kron(np.ones((k, 1)), np.eye(size))
    elif family.shape == NONE:
        diagonal = volume
    else:
        shape: NDArray[Any] = np.kron(np.eye(k) if family.shape == VARIABLE else np.ones((k, 1)), contrast)
        diagonal = np.hstack((volume, shape))
    if family.orientation == NONE:
        lower = np.zeros((k * turns, 0))
    else:
        lower = np.kron(np.eye(k) if family.orientation == VARIABLE else np.ones((k, 1)), np.eye(turns))
    top = np.hstack((diagonal, np.zeros((k * size, lower.shape[1]))))
    bottom = np.hstack((np.zeros((k * turns, diagonal.shape[1])), lower))
    return np.vstack((top, bottom))
