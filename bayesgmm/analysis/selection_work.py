"""What is added to the table of a selection: criteria that take draws or refits, and a second look at the choice."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesgmm import names
from bayesgmm.analysis.components_test import ComponentsTest, components_test
from bayesgmm.analysis.evidence import of_laplace
from bayesgmm.analysis.leave_one_out import USABLE_DRAWS, LeaveOneOut, difference, leave_one_out
from bayesgmm.analysis.selection_table import best_row, numbers_of
from bayesgmm.analysis.selection_words import Stability
from bayesgmm.inference.bridge import Evidence, bridge
from bayesgmm.inference.laplace import USABLE_K, LaplacePosterior
from bayesgmm.inference.nested import FAILURES
from bayesgmm.inference.nuts import sample_posterior
from bayesgmm.inference.search import fit_map
from bayesgmm.progress import track

if TYPE_CHECKING:
    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.inference.posterior import Posterior

DRAWN = ("loo", "evidence")  # criteria that need the posterior

_HIGHER = 1e-4  # log posterior units by which a second search must be higher to be another mode
_CHECKS = 3  # times that the chosen model is searched again and the choice may change


class Work:
    """What is added to the table of fits: criteria that take draws or refits, and a second look at the choice."""

    def __init__(self, table: pd.DataFrame, fits: dict[int, MapFit], seed: int, workers: int, progress: bool) -> None:
        self.table, self._fits = table, fits
        self._seed, self._workers, self._progress = seed, workers, progress
        self.tests: dict[int, ComponentsTest] = {}
        self.evidences: dict[int, Evidence] = {}
        self.loo: dict[int, LeaveOneOut] = {}

    def draw(self, wanted: Sequence[str], engine: str, draws: int) -> None:
        """Criteria from the posterior of every fit."""
        columns = [c for c in DRAWN if c in wanted]
        if "loo" in columns:
            self.table[["loo", "loo_se", "loo_high_k", "loo_diff", "loo_diff_se"]] = np.nan
            self.table["loo_by"] = ""
        if "evidence" in columns:
            self.table[["evidence", "evidence_se", "evidence_k"]] = np.nan
            self.table["evidence_by"] = ""
        for row in track(list(self._fits), "posteriors", enabled=self._progress):
            try:
                self._draw_one(row, columns, engine, draws)
            except FAILURES as error:
                self.table.loc[row, "reason"] = f"{' and '.join(columns)}: {error}"
        self._compare_loo()

    def _compare_loo(self) -> None:
        """How far each model's -2 elpd is above the lowest, of those that can be believed, person by person."""
        trusted = {row: left for row, left in self.loo.items() if left.trusted}
        if not trusted:
            return
        best = max(trusted.values(), key=lambda left: left.elpd)
        for row, left in trusted.items():
            lower, error = difference(best, left)
            self.table.loc[row, ["loo_diff", "loo_diff_se"]] = 2.0 * lower, 2.0 * error

    def _draw_one(self, row: int, columns: Sequence[str], engine: str, draws: int) -> None:
        fit = self._fits[row]
        posterior: Posterior
        found: Evidence | None = None
        k_hat = np.nan
        if engine != "nuts":
            approx = fit.laplace(draws, self._seed)
            k_hat, found, posterior = approx.pareto_k, of_laplace(approx), approx
        usable = min(USABLE_DRAWS, USABLE_K) if "loo" in columns else USABLE_K
        if engine == "nuts" or (engine == "auto" and not k_hat <= usable):
            each = max(200, draws // 4)
            posterior = sample_posterior(
                fit.problem, init=fit, draws=each, chains=4, seed=self._seed, cores=self._workers, log_likelihood=False
            )
            found = bridge(posterior, self._seed) if "evidence" in columns else None
        if "loo" in columns:
            self.loo[row] = left = leave_one_out(posterior)
            self.table.loc[row, ["loo", "loo_se", "loo_high_k"]] = -2.0 * left.elpd, 2.0 * left.se, left.n_high
            self.table.loc[row, "loo_by"] = "Laplace" if isinstance(posterior, LaplacePosterior) else "NUTS"
        if "evidence" in columns and found is not None:
            self.evidences[row] = found
            self.table.loc[row, ["evidence", "evidence_se", "evidence_k"]] = (
                -2.0 * found.log_evidence,
                2.0 * found.error,
                k_hat,
            )
            self.table.loc[row, "evidence_by"] = found.method

    def test(self, draws: int, level: float) -> None:
        """Bootstrap tests of each number of components against the next, until one is not rejected."""
        self.table[["lrt", "lrt_p", "lrt_draws"]] = np.nan
        fitted = self.table.loc[list(self._fits)]
        for _, rows in fitted.groupby(["covariance", "weights"], sort=False):
            ordered = rows.sort_values(names.N_COMPONENTS)
            for row, larger in pairwise(int(r) for r in ordered.index.to_numpy()):
                if self._fits[larger].problem.n_located != self._fits[row].problem.n_located + 1:
                    continue
                try:
                    made = components_test(
                        self._fits[row],
                        self._fits[larger],
                        draws=draws,
                        seed=self._seed,
                        workers=self._workers,
                        progress=self._progress,
                    )
                except FAILURES as error:
                    self.table.loc[row, "reason"] = f"blrt: {error}"
                    break
                self.tests[row] = made
                self.table.loc[row, ["lrt", "lrt_p", "lrt_draws"]] = made.statistic, made.p_value, len(made.simulated)
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
            if row in seen or self._fits[row].problem.n_located == 1:
                break
            seen.add(row)
            fit = self._fits[row]
            try:
                again = fit_map(fit.problem, seed=self._seed + 1, restarts=2 * restarts, **limits)
            except FAILURES:
                break
            stability = Stability.of(fit, again)
            # criteria that took draws or refits are of the mode that was known
            if again.log_posterior - fit.log_posterior <= _HIGHER or criterion in (*DRAWN, "blrt"):
                break
            self._fits[row] = again
            for name, value in numbers_of(again).items():
                self.table.loc[row, name] = value
        return best_row(self.table, criterion, level), stability
