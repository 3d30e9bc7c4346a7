"""Draws from the posterior as a result: an ArviZ DataTree and what is read off it."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import ClassVar

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.inference.fit_storage import map_from_tree
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.problem import Problem
from bayesgmm.problem_storage import problem_from_dataset


@dataclass(frozen=True, eq=False)
class Posterior:
    """Relabelled posterior draws of a mixture.

    Attributes
    ----------
    tree : xarray.DataTree
        Groups ``posterior`` (the names of :attr:`MapFit.params`), ``log_likelihood`` (pointwise), ``log_prior``,
        ``sample_stats``, ``observed_data``, ``constant_data``, ``membership`` and ``map``; resolved priors, versions,
        seed and timings in ``attrs``.
    problem : Problem
        Data and resolved priors.
    map : MapFit
        Start of the chains and pivot of the labels.
    """

    tree: xr.DataTree
    problem: Problem
    map: MapFit
    engine: ClassVar[str] = "posterior"

    @property
    def posterior(self) -> xr.Dataset:
        """Draws (chain, draw, ...) of weights, means, covariances, effects and shifts, in the traits' units."""
        draws = self._numbered(self.tree["posterior"].to_dataset())
        lead = (names.CHAIN, names.DRAW)
        sizes = tuple(draws.sizes[d] for d in lead)
        # variables without entries are not kept in files
        for variable, dims, labels in (
            (
                names.EFFECTS,
                (names.PREDICTOR, names.CONTRAST),
                (self.problem.predictor_names, self.problem.contrasts),
            ),
            (names.SHIFTS, (names.COVARIATE, names.TRAIT), (self.problem.covariate_names, self.problem.trait_names)),
        ):
            if variable not in draws:
                draws[variable] = ((*lead, *dims), np.zeros((*sizes, *(len(n) for n in labels))))
                draws = draws.assign_coords(
                    {d: np.array(n, dtype=object if n else "<U1") for d, n in zip(dims, labels, strict=True)}
                )
        return draws

    @property
    def responsibilities(self) -> xr.DataArray:
        """Posterior probability of each component for each person (sample, component)."""
        membership: xr.DataArray = self._numbered(self.tree["membership"].to_dataset())[names.RESPONSIBILITIES]
        return membership.reset_coords(drop=True)

    def _numbered(self, group: xr.Dataset) -> xr.Dataset:
        """Components by number as in :attr:`MapFit.params`; in the tree ArviZ finds noise and a spike by name."""
        coords = self.problem.coords
        return group.assign_coords({c: coords[c] for c in (names.COMPONENT, names.KIND) if c in coords})

    @property
    def n_divergences(self) -> int:
        """Divergent transitions; any above a handful says part of the posterior was not reached."""
        stats = self.tree["sample_stats"].to_dataset()
        return int(stats["diverging"].sum()) if "diverging" in stats else 0

    def assign(self) -> pd.DataFrame:
        """Likeliest component of each person, noise and a spike by name, and its posterior probability."""
        r = self.responsibilities.values
        return pd.DataFrame(
            {names.COMPONENT: self.problem.component_names(r.argmax(axis=1)), "probability": r.max(axis=1)},
            index=pd.Index(self.problem.sample_ids, name=names.SAMPLE),
        )

    def summary(self) -> pd.DataFrame:
        """One row per free parameter: mean, sd, median, 89% and 95% intervals, effective sample sizes and R-hat."""
        from bayesgmm.inference.summary import summarise_draws

        return summarise_draws(self.posterior, self.summarised)

    def summarised(self, values: NDArray[np.float64]) -> dict[str, float]:
        """The numbers of :meth:`summary` from the draws (chain, draw) of one parameter."""
        from bayesgmm.inference.summary import summarise_array

        return summarise_array(values)

    def __repr__(self) -> str:
        sizes = self.tree["posterior"].to_dataset().sizes
        return (
            f"Posterior: {self.problem.components_told} of {', '.join(self.problem.trait_names)}, "
            f"{sizes[names.CHAIN]} chains of {sizes[names.DRAW]} draws, {self.n_divergences} divergences\n"
            f"{self.summary().round(4).to_string(index=False)}"
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Write to NetCDF (``.nc``) or Zarr (``.zarr``); the file appears whole or not at all."""
        from bayesgmm.inference.storage import save_tree

        save_tree(self.tree, path)


def read_posterior(path: str | PathLike[str]) -> Posterior:
    """Read a posterior written by :meth:`Posterior.save`.

    Raises
    ------
    InputError
        If the file is not a posterior.
    """
    from bayesgmm.inference.laplace import LaplacePosterior
    from bayesgmm.inference.storage import open_tree
    from bayesgmm.inference.variational_posterior import VariationalPosterior

    tree = open_tree(path, needs=("posterior", "map", "constant_data"))
    kinds: dict[str, type[Posterior]] = {kind.engine: kind for kind in (LaplacePosterior, VariationalPosterior)}
    kind = kinds.get(str(tree.attrs.get("engine")), Posterior)
    return kind(tree=tree, problem=problem_from_dataset(tree["constant_data"].to_dataset()), map=map_from_tree(tree))
