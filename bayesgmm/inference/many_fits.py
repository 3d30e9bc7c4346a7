"""What comes of many problems: a tidy table, parameters, criteria, and memberships of old and new samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayesgmm import names
from bayesgmm.checks import check_whole
from bayesgmm.core.many import (
    CONSTANT,
    FITTED,
    INTERRUPTED,
    NO_MODE,
    NOBODY,
    REPEATED,
    TOO_FEW,
    TRAIT_MISSING,
    Found,
)
from bayesgmm.core.small_climb import CONVERGED, FLAT
from bayesgmm.core.small_facts import membership_into
from bayesgmm.errors import InputError
from bayesgmm.inference.many_data import ManyData
from bayesgmm.inference.many_words import cautions, counted, most_bimodal, separations, verdicts
from bayesgmm.io.atomic import write_frame

if TYPE_CHECKING:
    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.priors import Priors

Array = NDArray[np.float64]

TRAITS = ("first", "second")
OUTCOMES = {
    FITTED: "fitted",
    NOBODY: "not fitted: missing for everyone",
    TRAIT_MISSING: "not fitted: one of the two traits is missing for everyone",
    CONSTANT: "not fitted: a trait is constant",
    TOO_FEW: "not fitted: fewer samples than components, or too few for the default prior",
    REPEATED: "not fitted: the two traits repeat each other, so the default prior has no scale",
    NO_MODE: "not fitted: a component collapsed from every start, which only a prior of the components prevents",
    INTERRUPTED: "not fitted: interrupted before its turn",
}
SPIKE_COLUMNS = ("spike", "spike_component", "spike_samples", "spike_trait")
_WHOLE = 50_000_000  # memberships (problems x samples x components) that are returned at once, 400 MB


@dataclass(frozen=True, eq=False, kw_only=True)
class ManyFits:
    """Thousands of fitted mixtures.

    Attributes
    ----------
    params : xarray.Dataset
        Of the chosen model of every problem: ``weights`` (problem, component), ``means`` (problem, component, trait),
        ``covariances`` (problem, component, trait, trait_bis), components in the order of their means, NaN beyond the
        problem's own number and where there is no fit; ``n_components`` (0: no fit), ``covariance`` (the family),
        ``n_observed`` (samples with a trait), ``n_modes``, ``status``, and ``spike`` with ``spike_component``,
        ``spike_samples`` and of two traits ``spike_trait`` by problem, as in :attr:`table`.
    scores : xarray.Dataset
        Of every model (problem, n_components, covariance): ``log_posterior``, ``log_likelihood``, ``bic``, ``icl``
        (smaller is better), ``gap`` (estimated distance of the log posterior to its limit) and ``converged``.
    criterion : str
        What chose, "bic" or "icl".
    data : ManyData or None
        None after reading from a file.
    priors : Priors or None
        None after reading from a file.
    """

    params: xr.Dataset
    scores: xr.Dataset
    criterion: str
    data: ManyData | None = field(default=None, repr=False)
    priors: Priors | None = None

    @classmethod
    def of_found(
        cls,
        found: Found,
        data: ManyData,
        *,
        n_parameters: NDArray[np.int64],
        n_components: Sequence[int],
        families: Sequence[str],
        criterion: str,
        tolerance: float,
        priors: Priors,
    ) -> ManyFits:
        """Label what the compiled code found."""
        d, most, n_problems = data.n_traits, found.weights.shape[1], data.n_problems
        shape = (n_problems, len(families), len(n_components))

        def of_models(values: NDArray[Any]) -> tuple[tuple[str, ...], NDArray[Any]]:
            dims = (names.PROBLEM, names.N_COMPONENTS, names.COVARIANCE)
            return dims, np.ascontiguousarray(values.reshape(shape).transpose(0, 2, 1))

        with np.errstate(divide="ignore"):
            logs = np.log(found.n_observed)[:, None]
        bic = -2.0 * found.log_likelihood + n_parameters * np.where(np.isfinite(logs), logs, 0.0)
        converged = np.isin(found.status, (CONVERGED, FLAT)) & ~(found.gap > tolerance)
        scores = xr.Dataset(
            {
                names.LOG_POSTERIOR: of_models(found.log_posterior),
                names.LOG_LIKELIHOOD: of_models(found.log_likelihood),
                "bic": of_models(bic),
                "icl": of_models(bic + 2.0 * found.entropy),
                "gap": of_models(found.gap),
                "converged": of_models(converged),
                "strict": of_models(found.status != FLAT),
            },
            coords={
                names.PROBLEM: data.problems,
                names.N_COMPONENTS: list(n_components),
                names.COVARIANCE: list(families),
            },
        )
        index = {0: (0, 0), 1: (0, 1), 2: (1, 1)}
        covariances = np.empty((n_problems, most, d, d))
        for c, (a, b) in index.items():
            if b < d:
                covariances[:, :, a, b] = covariances[:, :, b, a] = found.covariances[:, :, c]
        fitted = found.chosen >= 0
        each = (names.PROBLEM,)
        parts: dict[str, Any] = {
            names.WEIGHTS: ((names.PROBLEM, names.COMPONENT), found.weights),
            names.MEANS: ((names.PROBLEM, names.COMPONENT, names.TRAIT), found.means[:, :, :d]),
            names.COVARIANCES: ((names.PROBLEM, names.COMPONENT, names.TRAIT, names.TRAIT_BIS), covariances),
            names.N_COMPONENTS: (each, np.where(fitted, np.tile(n_components, len(families))[found.chosen], 0)),
            names.COVARIANCE: (each, np.where(fitted, np.repeat(families, len(n_components))[found.chosen], "")),
            "n_observed": (each, found.n_observed),
            "n_modes": (each, found.n_modes),
            **{name: (each, values) for name, values in _spikes(found, d).items()},
            "status": (each, np.array([OUTCOMES[code] for code in range(len(OUTCOMES))])[found.outcome]),
        }
        if data.rows is not None:
            for trait, name in enumerate(TRAITS):
                parts[name] = (each, data.row_names[data.rows[:, trait]])
        traits = ["trait"] if d == 1 else list(TRAITS)
        params = xr.Dataset(
            parts,
            coords={
                names.PROBLEM: data.problems,
                names.COMPONENT: np.arange(most),
                names.TRAIT: traits,
                names.TRAIT_BIS: traits,
            },
        )
        return cls(params=params, scores=scores, criterion=criterion, data=data, priors=priors)

    # -- what was found -------------------------------------------------------------------------

    @property
    def problems(self) -> NDArray[Any]:
        """Names of the problems; numbers where they have none."""
        return self.params[names.PROBLEM].values

    @property
    def n_problems(self) -> int:
        """Number of problems."""
        return int(self.params.sizes[names.PROBLEM])

    @property
    def criteria(self) -> xr.DataArray:
        """The criterion that chose, of every model (problem, n_components, covariance); the smallest is the best."""
        return self.scores[self.criterion]

    @cached_property
    def chosen(self) -> xr.Dataset:
        """The rows of :attr:`scores` of the chosen models, by problem."""
        k = np.searchsorted(self.scores[names.N_COMPONENTS].values, self.params[names.N_COMPONENTS].values)
        families = list(self.scores[names.COVARIANCE].values)
        f = np.array([families.index(name) if name else 0 for name in self.params[names.COVARIANCE].values])
        at = (np.arange(self.n_problems), k, f)
        missing = self.params[names.N_COMPONENTS].values == 0
        parts = {}
        for name, values in self.scores.data_vars.items():
            picked = values.values[at]
            parts[name] = (names.PROBLEM, np.where(missing, False if picked.dtype == bool else np.nan, picked))
        return xr.Dataset(parts, coords={names.PROBLEM: self.problems})

    @cached_property
    def gain(self) -> xr.DataArray:
        """How far the criterion of the chosen model is below that of the best with one component, by problem.

        Above 10 the evidence against one component is very strong (Kass and Raftery 1995, of BIC). NaN where one
        component was not among the numbers asked for, or there is no fit.
        """
        gain = np.full(self.n_problems, np.nan)
        numbers = self.scores[names.N_COMPONENTS].values
        if 1 in numbers:
            alone = self.criteria.sel({names.N_COMPONENTS: 1}).values
            gain = np.where(np.isnan(alone), np.inf, alone).min(axis=1) - self.chosen[self.criterion].values
        return xr.DataArray(
            np.where(np.isfinite(gain), gain, np.nan),
            dims=(names.PROBLEM,),
            coords={names.PROBLEM: self.problems},
            name="gain",
        )

    def most_bimodal(self, n: int | None = None) -> pd.DataFrame:
        """The problems with groups of samples that are apart, the surest first.

        Those whose density has two modes or more, of two traits whose components are all apart (``separation`` above
        2), but for those with a spike or with a component of fewer than 5 samples. In order of :attr:`gain`, or of the
        bimodality index where one component was not among the numbers asked for.

        Parameters
        ----------
        n : int, optional
            As many at most.

        Returns
        -------
        pandas.DataFrame
            Rows of :attr:`table` with ``gain`` and ``smallest``, the samples that the smallest component holds.
        """
        if n is not None:
            check_whole("n", n, 1)
        return most_bimodal(self, n)

    def choices(self) -> pd.DataFrame:
        """How many problems chose each number of components (rows) and family (columns)."""
        k, family = self.params[names.N_COMPONENTS].values, self.params[names.COVARIANCE].values
        numbers, families = self.scores[names.N_COMPONENTS].values, self.scores[names.COVARIANCE].values
        counts = [[int(((k == number) & (family == name)).sum()) for name in families] for number in numbers]
        return pd.DataFrame(
            counts,
            index=pd.Index(numbers, name=names.N_COMPONENTS),
            columns=pd.Index([str(name) for name in families], name=names.COVARIANCE),
        )

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a problem, indexed by its name.

        Columns: ``n_components`` (0: no fit), ``covariance``, ``n_observed``, ``log_likelihood``, ``log_posterior``,
        ``bic``, ``icl``, ``converged``; ``weight_0``, ``mean_0``, ``sd_0`` and so on, of two traits with the trait
        (``mean_first_0``) and ``correlation_0``; ``separation``, the smallest distance between two components in
        standard deviations (Ashman's D; above 2 they are apart); ``bimodality_index`` of two components (Wang and
        others 2009; above 1.1 often called bimodal); ``n_modes`` of the density of one trait; ``spike``, the one value
        that most samples of a component have, as zeros (NaN where none has), with ``spike_component`` (-1),
        ``spike_samples``, how many have it, and of two traits ``spike_trait``; ``verdict`` and ``caution`` in words,
        and ``status``.
        """
        p, chosen = self.params, self.chosen
        pairs = {name: p[name].values for name in TRAITS if name in p}
        columns: dict[str, Any] = {
            **pairs,
            names.N_COMPONENTS: p[names.N_COMPONENTS].values,
            names.COVARIANCE: p[names.COVARIANCE].values,
            "n_observed": p["n_observed"].values,
        }
        for name in (names.LOG_LIKELIHOOD, names.LOG_POSTERIOR, "bic", "icl", "converged"):
            columns[name] = chosen[name].values
        columns |= self._parameter_columns()
        separation, index = separations(p)
        columns["separation"], columns["bimodality_index"] = separation, index
        one_trait = p.sizes[names.TRAIT] == 1
        if one_trait:
            columns["n_modes"] = p["n_modes"].values
        columns |= {name: p[name].values for name in SPIKE_COLUMNS if name in p}
        columns["verdict"] = verdicts(p, separation)
        columns["caution"] = cautions(self)
        columns["status"] = p["status"].values
        return pd.DataFrame(columns, index=pd.Index(self.problems, name=names.PROBLEM))

    def _parameter_columns(self) -> dict[str, Array]:
        p, columns = self.params, {}
        traits = [""] if p.sizes[names.TRAIT] == 1 else [f"{name}_" for name in p[names.TRAIT].values]
        covariances = p[names.COVARIANCES].values
        for k in range(p.sizes[names.COMPONENT]):
            columns[f"weight_{k}"] = p[names.WEIGHTS].values[:, k]
            for d, trait in enumerate(traits):
                columns[f"mean_{trait}{k}"] = p[names.MEANS].values[:, k, d]
            for d, trait in enumerate(traits):
                columns[f"sd_{trait}{k}"] = np.sqrt(covariances[:, k, d, d])
            if len(traits) > 1:
                product = np.sqrt(covariances[:, k, 0, 0] * covariances[:, k, 1, 1])
                columns[f"correlation_{k}"] = covariances[:, k, 0, 1] / product
        return columns

    # -- memberships ----------------------------------------------------------------------------

    def responsibilities(self, problems: slice | Sequence[Any] | None = None) -> xr.DataArray:
        """Membership probabilities of the samples that were fitted (problem, sample, component).

        Parameters
        ----------
        problems : slice of positions, or names, optional
            Some problems only; needed where there are too many to hold.
        """
        return self.predict_proba(None, problems)

    def predict_proba(
        self, matrix: pd.DataFrame | NDArray[Any] | None, problems: slice | Sequence[Any] | None = None
    ) -> xr.DataArray:
        """Membership probabilities of new samples (problem, sample, component).

        Parameters
        ----------
        matrix : DataFrame or ndarray
            The rows that were fitted, with new samples; a frame is brought into order by the names of its rows. None:
            the samples that were fitted. Of a sample without a trait the weights are given; NaN where there is no fit.
        problems : slice of positions, or names, optional
            Some problems only.

        Raises
        ------
        InputError
            If rows are lacking, or the answer would not be held; :meth:`predict` is smaller.
        """
        data, at = self._data(matrix), self._positions(problems)
        size = (len(at), len(data.samples), self.params.sizes[names.COMPONENT])
        if np.prod(size, dtype=float) > _WHOLE:
            raise InputError(
                f"memberships of {size[0]} problems, {size[1]} samples and {size[2]} components are "
                f"{np.prod(size, dtype=float) * 8e-9:.1f} GB; ask for some of the problems at a time"
            )
        out = np.empty(size)
        self._each_block(data, at, lambda start, stop, r: out.__setitem__(slice(start, stop), r))
        return xr.DataArray(
            out,
            dims=(names.PROBLEM, names.SAMPLE, names.COMPONENT),
            coords={
                names.PROBLEM: self.problems[at],
                names.SAMPLE: data.samples,
                names.COMPONENT: self.params[names.COMPONENT].values,
            },
            name=names.RESPONSIBILITIES,
        )

    def predict(
        self, matrix: pd.DataFrame | NDArray[Any] | None = None, problems: slice | Sequence[Any] | None = None
    ) -> xr.DataArray:
        """Likeliest component of new samples, or of those that were fitted (problem, sample); -1 where there is no fit.

        Arguments as in :meth:`predict_proba`.
        """
        data, at = self._data(matrix), self._positions(problems)
        out = np.empty((len(at), len(data.samples)), dtype=np.int8)

        def keep(start: int, stop: int, r: Array) -> None:
            absent = np.isnan(r[:, :, 0])
            out[start:stop] = np.where(absent, -1, np.where(np.isnan(r), -1.0, r).argmax(axis=2))

        self._each_block(data, at, keep)
        return xr.DataArray(
            out,
            dims=(names.PROBLEM, names.SAMPLE),
            coords={names.PROBLEM: self.problems[at], names.SAMPLE: data.samples},
            name=names.COMPONENT,
        )

    def _each_block(self, data: ManyData, at: NDArray[np.int64], keep: Callable[[int, int, Array], None]) -> None:
        """Memberships block after block, on threads."""
        from bayesgmm.inference.many import BLOCK, in_blocks

        p = self.params
        weights, means = p[names.WEIGHTS].values[at], np.zeros((len(at), p.sizes[names.COMPONENT], 2))
        d = p.sizes[names.TRAIT]
        means[:, :, :d] = p[names.MEANS].values[at]
        covariances = np.ones((*weights.shape, 3))
        full = p[names.COVARIANCES].values[at]
        covariances[:, :, 0] = full[:, :, 0, 0]
        if d == 2:
            covariances[:, :, 1], covariances[:, :, 2] = full[:, :, 0, 1], full[:, :, 1, 1]

        def work(start: int, stop: int) -> None:
            out = np.empty((stop - start, len(data.samples), weights.shape[1]))
            membership_into(
                *data.block_of(at[start:stop]), *(x[start:stop] for x in (weights, means, covariances)), out
            )
            keep(start, stop, out)

        in_blocks(work, len(at), BLOCK, None, "memberships", False)

    def _data(self, matrix: Any) -> ManyData:
        if matrix is None:
            if self.data is None:
                raise InputError("fits read from a file do not know the samples any more; give the matrix")
            return self.data
        return self._rows.new(matrix)

    @cached_property
    def _rows(self) -> ManyData:
        """What is needed of the data to bring new samples into order."""
        if self.data is not None:
            return self.data
        at = self.params.attrs
        place = None
        if "rows" in self.params:
            place = self.params["rows"].values
        row_names = self.params["row"].values if "row" in self.params.coords else self.problems
        values = np.empty((len(row_names), 0, 2) if at["two_arrays"] else (len(row_names), 0))
        return ManyData(values, place, row_names, np.empty(0), self.problems)

    def _positions(self, problems: slice | Sequence[Any] | None) -> NDArray[np.int64]:
        if isinstance(problems, str) or not isinstance(problems, slice | Iterable | None):
            raise InputError(f"problems = {problems!r}; give a slice of positions, or names of problems in a list")
        if problems is None or isinstance(problems, slice):
            return np.arange(self.n_problems)[problems or slice(None)]
        return np.array([self.position(problem) for problem in problems], dtype=np.int64)

    def position(self, problem: Any) -> int:
        """Place of a problem, by its name, among those that were fitted."""
        place = self._index.get(problem, self._index.get(str(problem)))
        if place is None:
            raise InputError(f"there is no problem {str(problem)!r} among the {self.n_problems} that were fitted")
        return place

    @cached_property
    def _index(self) -> dict[Any, int]:
        by_text = {str(name): i for i, name in enumerate(self.problems)}
        return by_text | {name: i for i, name in enumerate(self.problems.tolist())}

    # -- one of them ----------------------------------------------------------------------------

    def fit(self, problem: Any) -> MapFit:
        """The single fit of one problem, by its name: standard errors, flags, posteriors, pictures.

        It is climbed from where this fit is, so it is the same mode.
        """
        from bayesgmm.model import Mixture
        from bayesgmm.study import Study

        at = self.position(problem)
        if self.data is None or self.priors is None:
            raise InputError("fits read from a file do not know their data; fit the problem by bayesgmm.Mixture")
        k = int(self.params[names.N_COMPONENTS].values[at])
        if k == 0:
            raise InputError(f"problem {str(problem)!r} is {self.params['status'].values[at]}")
        # as many decimals of the means as there are: the start is the mode itself
        start = self.responsibilities(slice(at, at + 1)).values[0, :, :k]
        traits = [str(problem)] if self.data.n_traits == 1 else list(TRAITS)
        frame = pd.DataFrame(self.data.traits(at), index=self.data.samples.astype(str), columns=traits)
        mixture = Mixture(k, str(self.params[names.COVARIANCE].values[at]), priors=self.priors)
        return mixture.fit(Study(frame), init=None if k == 1 else start)

    # -- files ----------------------------------------------------------------------------------

    def save(self, path: str | PathLike[str]) -> None:
        """Write to NetCDF (``.nc``) or Zarr (``.zarr``), without the data; :func:`bayesgmm.read_many` reads it.

        The file appears whole or not at all.
        """
        from bayesgmm.inference.many_storage import save_many

        save_many(self, path)

    def write_table(self, path: str | PathLike[str]) -> None:
        """Write :attr:`table` to ``.tsv``, ``.tsv.gz``, ``.csv`` or ``.parquet``; the file appears whole or not."""
        write_frame(Path(path), self.table)

    def __repr__(self) -> str:
        return f"ManyFits: {counted(self)}"


def _spikes(found: Found, n_traits: int) -> dict[str, NDArray[Any]]:
    """What is known of components at one value, by problem."""
    component, trait, value, n_there, _ = found.spike.T
    none = np.isnan(component)
    parts: dict[str, NDArray[Any]] = {
        "spike": value,
        "spike_component": np.where(none, -1, component).astype(np.int64),
        "spike_samples": np.where(none, 0, n_there).astype(np.int64),
    }
    if n_traits > 1:
        parts["spike_trait"] = np.array([*TRAITS, ""], dtype=object)[np.where(none, 2, trait).astype(int)]
    return parts
