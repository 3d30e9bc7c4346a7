"""What is added to the table of a selection: criteria that take draws or refits, and a second look at the choice."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesgmm import names
from bayesgmm.analysis.components_test import ComponentsTest, components_test
from bayesgmm.analysis.evidence import of_laplace
from bayesgmm.analysis.leave_one_out import USABLE_DRAWS, LeaveOneOut, difference, leave_one_out
from bayesgmm.analysis.selection_table import best_row, by_kind, normalised_entropy, numbers_of, table_of_cells
from bayesgmm.analysis.selection_words import Stability
from bayesgmm.errors import InputError, SlowWarning
from bayesgmm.inference.bridge import Evidence, bridge
from bayesgmm.inference.laplace import USABLE_K, LaplacePosterior
from bayesgmm.inference.nested import FAILURES, Cell
from bayesgmm.inference.nuts import sample_posterior
from bayesgmm.inference.search import fit_map
from bayesgmm.progress import track

if TYPE_CHECKING:
    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.inference.posterior import Posterior
    from bayesgmm.model import Mixture

DRAWN = ("loo", "evidence")  # criteria that need the posterior

_LONG = 60.0  # seconds of sampling that are told of
_HIGHER = 1e-4  # log posterior units by which a second search must be higher to be another mode
_CHECKS = 3  # times that the chosen model is searched again and the choice may change


class Work:
    """What is added to the table of fits: criteria that take draws or refits, and a second look at the choice."""

    def __init__(self, table: pd.DataFrame, fits: dict[int, MapFit], seed: int, workers: int, progress: bool) -> None:
        self.table, self.fits = table, fits
        self._seed, self._workers, self._progress = seed, workers, progress
        self.tests: dict[int, ComponentsTest] = {}
        self.evidences: dict[int, Evidence] = {}
        self.loo: dict[int, LeaveOneOut] = {}
        # of one component, which knows no formula, the same fit under each formula
        self._under: dict[tuple[int, str], MapFit] = {}

    @classmethod
    def of_cells(
        cls, cells: Sequence[Cell], models: Sequence[Mixture], seed: int, workers: int, progress: bool
    ) -> Work:
        """From the cells of a search, of which at least one has a fit."""
        table = table_of_cells(cells, models)
        if not (table["status"] == "fitted").any():
            raise InputError(f"select: no model could be fitted; of the first it is said: {table['reason'][0]}")
        row_of = {cell.key: row for row, cell in enumerate(c for c in cells if c.same_as is None)}
        fits = {row_of[cell.key]: cell.fit for cell in cells if cell.key in row_of and cell.fit is not None}
        work = cls(table, fits, seed, workers, progress)
        for cell in cells:
            if cell.same_as is not None and cell.fit is not None:
                work._under[row_of[cell.same_as], models[cell.key.base].weights or ""] = cell.fit
        return work

    def draw(self, wanted: Sequence[str], engine: str, draws: int) -> None:
        """Criteria from the posterior of every fit."""
        columns = [c for c in DRAWN if c in wanted]
        if "loo" in columns:
            self.table[["loo", "loo_se", "loo_high_k", "loo_diff", "loo_diff_se"]] = np.nan
            self.table["loo_by"] = ""
        if "evidence" in columns:
            self.table[["evidence", "evidence_se", "evidence_k"]] = np.nan
            self.table["evidence_by"] = ""
        left = list(self.fits)
        if engine != "nuts":
            left = self._draw_by_laplace(left, columns, draws)
        if engine != "laplace" and left:
            self._draw_by_sampling(left, columns, draws)
        self._compare_loo()

    def _draw_by_laplace(self, rows: Sequence[int], columns: Sequence[str], draws: int) -> list[int]:
        """From the Laplace engine; the rows of which it cannot be believed."""
        usable = min(USABLE_DRAWS, USABLE_K) if "loo" in columns else USABLE_K
        left = []
        for row in track(rows, "draws by Laplace's approximation", enabled=self._progress):
            try:
                approx = self.fits[row].laplace(draws, self._seed)
                if not approx.pareto_k <= usable:
                    left.append(row)
                self._record(row, columns, approx, of_laplace(approx), "Laplace")
            except FAILURES as error:
                left.append(row)
                self.table.loc[row, "reason"] = f"{' and '.join(columns)}: {error}"
        return left

    def _draw_by_sampling(self, rows: Sequence[int], columns: Sequence[str], draws: int) -> None:
        """From the sampler, which takes long; what it cannot sample keeps what the Laplace engine said."""
        began = perf_counter()
        for j, row in enumerate(track(rows, f"sampling {len(rows)} of {len(self.fits)}", enabled=self._progress)):
            if j == 1:
                _tell_of_time(perf_counter() - began, len(rows), len(self.fits))
            fit = self.fits[row]
            try:
                posterior = sample_posterior(
                    fit.problem,
                    init=fit,
                    draws=max(200, draws // 4),
                    chains=4,
                    seed=self._seed,
                    cores=self._workers,
                    log_likelihood=False,
                )
                found = bridge(posterior, self._seed) if "evidence" in columns else None
                self._record(row, columns, posterior, found, "NUTS")
                self.table.loc[row, "reason"] = ""
            except FAILURES as error:
                self.table.loc[row, "reason"] = f"{' and '.join(columns)}: {error}"

    def _compare_loo(self) -> None:
        """How far each model's -2 elpd is above the lowest, of those that can be believed, person by person."""
        trusted = {row: left for row, left in self.loo.items() if left.trusted}
        if not trusted:
            return
        best = max(trusted.values(), key=lambda left: left.elpd)
        for row, left in trusted.items():
            lower, error = difference(best, left)
            self.table.loc[row, ["loo_diff", "loo_diff_se"]] = 2.0 * lower, 2.0 * error

    def _record(self, row: int, columns: Sequence[str], posterior: Posterior, found: Evidence | None, by: str) -> None:
        """Criteria of one posterior in the table."""
        if "loo" in columns:
            self.loo[row] = left = leave_one_out(posterior)
            self.table.loc[row, ["loo", "loo_se", "loo_high_k"]] = -2.0 * left.elpd, 2.0 * left.se, left.n_high
            self.table.loc[row, "loo_by"] = by
        if "evidence" in columns and found is not None:
            self.evidences[row] = found
            self.table.loc[row, ["evidence", "evidence_se"]] = -2.0 * found.log_evidence, 2.0 * found.error
            if isinstance(posterior, LaplacePosterior):
                self.table.loc[row, "evidence_k"] = posterior.pareto_k
            self.table.loc[row, "evidence_by"] = found.method

    def test(self, draws: int, level: float) -> None:
        """Bootstrap tests of each number of components against the next, until one is not rejected.

        One component, which knows no formula, is tested against two of each; its row has the smallest p-value.
        """
        self.table[["lrt", "lrt_p", "lrt_draws"]] = np.nan
        fitted = self.table.loc[list(self.fits)]
        for formula, rows in by_kind(fitted):
            ordered = rows.sort_values(names.N_COMPONENTS)
            for row, larger in pairwise(int(r) for r in ordered.index.to_numpy()):
                smaller = self._under.get((row, formula), self.fits[row])
                if self.fits[larger].problem.n_located != smaller.problem.n_located + 1:
                    continue
                try:
                    made = components_test(
                        smaller,
                        self.fits[larger],
                        draws=draws,
                        seed=self._seed,
                        workers=self._workers,
                        progress=self._progress,
                    )
                except FAILURES as error:
                    self.table.loc[row, "reason"] = f"blrt: {error}"
                    break
                if row not in self.tests or made.p_value < self.tests[row].p_value:
                    told = made.statistic, made.p_value, len(made.simulated)
                    self.table.loc[row, ["lrt", "lrt_p", "lrt_draws"]] = told
                    self.tests[row] = made
                if made.p_value > level:
                    break

    def checked(
        self, criterion: str, level: float, restarts: int, limits: dict[str, Any]
    ) -> tuple[int, Stability | None]:
        """The chosen row, after a second search of it from other starts has not found a higher mode."""
        stability = None
        seen: set[int] = set()
        for _ in range(_CHECKS):
            row = best_row(self.table, criterion, level)
            if row in seen or self.fits[row].problem.n_located == 1:
                break
            seen.add(row)
            fit = self.fits[row]
            try:
                again = fit_map(fit.problem, seed=self._seed + 1, restarts=2 * restarts, **limits)
            except FAILURES:
                break
            stability = Stability.of(fit, again)
            # criteria that took draws or refits are of the mode that was known
            if again.log_posterior - fit.log_posterior <= _HIGHER or criterion in (*DRAWN, "blrt"):
                break
            self.fits[row] = again
            for name, value in numbers_of(again).items():
                self.table.loc[row, name] = value
            self.table["nec"] = normalised_entropy(self.table)
        return best_row(self.table, criterion, level), stability


def _tell_of_time(first: float, rows: int, models: int) -> None:
    """How long the sampler will take, where that is long, from the seconds that its first model took."""
    left = first * (rows - 1)
    if left > _LONG:
        warnings.warn(
            f"select: {rows} of {models} models are sampled, because the Laplace engine cannot be trusted of them or "
            f"engine = 'nuts'; the first took {first:.0f} s, so the others will take about {left / 60:.0f} min. "
            "engine = 'laplace' is quick and says of which models it is not to be believed; fewer models take less",
            SlowWarning,
            stacklevel=4,
        )
