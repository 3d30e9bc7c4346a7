"""How many components, which covariance family, which predictors: many mixtures of one study, held side by side."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any

import pandas as pd

from bayesgmm import names
from bayesgmm.analysis.components_test import ComponentsTest
from bayesgmm.analysis.leave_one_out import LeaveOneOut
from bayesgmm.analysis.selection_grid import OF_MODEL, Grid, check_numbers, criteria_of
from bayesgmm.analysis.selection_table import (
    CRITERIA,
    KIND,
    VALUE_IS,
    chosen_values,
    column_of,
    differs,
    knows_no_formula,
    log_evidences,
    model_probabilities,
    size_probabilities,
    told_of,
)
from bayesgmm.analysis.selection_words import Stability, cautions_of, notes_of, verdict_of
from bayesgmm.analysis.selection_work import DRAWN, Work
from bayesgmm.checks import check_above_zero, check_whole, seed_or_zero
from bayesgmm.errors import FitWarning, InputError
from bayesgmm.inference.bridge import Evidence
from bayesgmm.inference.nested import NestedSearch
from bayesgmm.model import Mixture, as_study
from bayesgmm.priors import Priors
from bayesgmm.progress import counting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayesgmm.inference.map_fit import MapFit


@dataclass(frozen=True, eq=False)
class Selection:
    """Many mixtures of one study and which of them a criterion chooses, from :func:`select`.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a model; one component alone, which has no weights that a formula could move, is one model whatever the
        formulas, its formula empty. ``n_components``, ``covariance``, ``weights`` (formula), ``noise``, ``df`` (degrees
        of freedom; all three are text, empty for none), ``n_parameters``, ``log_likelihood``, ``log_posterior``; the
        criteria, of each of which smaller is better: ``bic``, ``icl``, ``aic``, ``nec`` (entropy of the memberships as
        a share of the likelihood gained over one component; one component has 1; NaN where a component holds fewer than
        two people), and where asked for ``loo`` (-2 elpd) with ``loo_se``, ``loo_high_k`` (people for whom it is not to
        be believed), ``loo_by`` (the engine), ``loo_diff`` and ``loo_diff_se`` (how far above the lowest, and the
        standard error of that; NaN of models that are not compared because k-hats are high), ``evidence`` (-2 log
        marginal likelihood) with ``evidence_se``, ``evidence_k`` (k-hat of the importance draws) and ``evidence_by``;
        ``lrt`` with ``lrt_p`` and ``lrt_draws`` (bootstrap test of this number of components against one more: a
        p-value, of one component beside several formulas the smallest); ``entropy`` of the memberships (nats);
        ``smallest`` (people whom the smallest component holds); ``probability`` (posterior probability of the model,
        every number of components equally likely a priori and the models of each too) and ``probability_by``, what it
        is from: "evidence" where that was asked for, else "bic";
        ``converged``, ``starts``, ``reached`` (starts that were followed to the best mode), ``seconds``, ``status``
        ("fitted" or "failed") and ``reason``.
    criterion : str
    problems : tuple of str
        What should worry the reader; also in :meth:`summary`.
    seconds : float
    """

    table: pd.DataFrame
    criterion: str
    level: float
    seconds: float
    best_row: int
    fits: dict[int, MapFit] = field(repr=False)
    stability: Stability | None = None
    tests: dict[int, ComponentsTest] = field(default_factory=dict, repr=False)
    evidences: dict[int, Evidence] = field(default_factory=dict, repr=False)
    loo: dict[int, LeaveOneOut] = field(default_factory=dict, repr=False)

    @property
    def best(self) -> MapFit:
        """The fit that the criterion chooses."""
        return self.fits[self.best_row]

    @property
    def n_components(self) -> int:
        """Number of components that the criterion chooses."""
        return int(self.table[names.N_COMPONENTS][self.best_row])

    def fit(
        self,
        n_components: int,
        covariance: str | None = None,
        weights: str | None = None,
        noise: bool | float | None = None,
        df: float | str | None = None,
    ) -> MapFit:
        """The fit of one model; what all models have in common may be left out.

        Raises
        ------
        InputError
            If there is no such fit, or more than one.
        """
        t = self.table
        chosen = t[names.N_COMPONENTS] == n_components
        if covariance is not None:
            chosen &= t["covariance"] == covariance
        asked = told_of(weights, False if noise is None else noise, df)
        for column, given in (("weights", weights), ("noise", noise), ("df", df)):
            if given is not None or differs(t, column):
                alike = t[column] == asked[column]
                chosen &= alike | knows_no_formula(t) if column == "weights" else alike
        rows = [int(r) for r in t.index[chosen] if int(r) in self.fits]
        if len(rows) != 1:
            other = "".join(f", {c} {asked[c]!r}" for c in ("noise", "df") if differs(t, c))
            raise InputError(
                f"{len(rows)} fits have {n_components} components, covariance {covariance!r} and weights {weights!r}"
                f"{other}; say which of them, as in the rows of table"
            )
        return self.fits[rows[0]]

    def ranked(self, criterion: str | None = None) -> pd.DataFrame:
        """The fitted rows of the table, the best by a criterion first."""
        criterion = self.criterion if criterion is None else criterion
        values = chosen_values(self.table, criterion, self.level)
        return self.table.loc[values.dropna().sort_values(kind="stable").index]

    @property
    def choices(self) -> pd.DataFrame:
        """What every criterion chooses: ``criterion``, ``n_components``, the kind of model, ``value``, ``value_is``."""
        rows = []
        for criterion in CRITERIA:
            if column_of(criterion) in self.table:
                ranked = self.ranked(criterion)
                if len(ranked):
                    first = ranked.iloc[0]
                    kind = [first[name] for name in KIND]
                    value = float(first[column_of(criterion)])
                    rows.append((criterion, int(first[names.N_COMPONENTS]), *kind, value, VALUE_IS[criterion]))
        return pd.DataFrame(rows, columns=["criterion", names.N_COMPONENTS, *KIND, "value", "value_is"])

    @property
    def n_components_probability(self) -> pd.DataFrame:
        """Posterior probability of each number of components.

        Every number has the same prior probability, and so have the models of one number among themselves. From the
        evidences where they are known (``error`` is what their Monte Carlo errors leave), else from BIC, whose
        difference is roughly twice that of the log evidences. ``attrs["from"]`` says which.
        """
        return size_probabilities(self.table)

    @property
    def verdict(self) -> str:
        """The choice in words."""
        return verdict_of(self)

    @property
    def cautions(self) -> list[str]:
        """What should worry the reader, a sentence or two each."""
        return cautions_of(self)

    @property
    def notes(self) -> list[str]:
        """How the numbers are to be read: what each is of, and by which rule it chooses."""
        return notes_of(self)

    def summary(self) -> str:
        """Verdict, cautions, what every criterion chooses, and how to read it."""
        lines = [self.verdict, *(f"- {caution}" for caution in self.cautions)]
        alike = [name for name in KIND[1:] if not differs(self.table, name)]
        choices = self.choices.drop(columns=alike)
        return "\n".join([*lines, choices.round(3).to_string(index=False), *self.notes])

    def __repr__(self) -> str:
        fitted = int((self.table["status"] == "fitted").sum())
        return (
            f"Selection: {fitted} of {len(self.table)} models fitted in {self.seconds:.1f} s; of every criterion "
            f"{'but the test (blrt) ' if 'lrt_p' in self.table else ''}smaller is better\n{self.summary()}"
        )

    def plot(self, criterion: str | None = None) -> Figure:
        """Draw a criterion against the number of components, a line a family."""
        from bayesgmm.plots.selection import plot_selection

        return plot_selection(self, criterion)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the table to ``.tsv``; or table and chosen fit to ``.nc`` or ``.zarr``, for :func:`read_selection`."""
        from bayesgmm.analysis.selection_storage import save_selection

        save_selection(self, path)


def select(
    study: Any,
    n_components: int | Iterable[int] = range(1, 6),
    covariance: str | Sequence[str] = "VVV",
    weights: str | Sequence[str | None] | None = None,
    *,
    noise: bool | float | Sequence[bool | float] | None = None,
    df: float | str | Sequence[float | str | None] | None = OF_MODEL,
    criterion: str = "bic",
    also: Sequence[str] = (),
    means: str | None = None,
    priors: Priors | None = None,
    model: Mixture | None = None,
    engine: str = "auto",
    draws: int = 4000,
    bootstrap: int = 199,
    level: float = 0.05,
    seed: int | None = None,
    restarts: int = 10,
    max_iterations: int = 5000,
    tolerance: float = 1e-8,
    workers: int | None = None,
    progress: bool = False,
    sample_weight: Any = None,
) -> Selection:
    """Fit mixtures of several numbers of components, covariance families and formulas, and choose among them.

    Fits run side by side and each stands alone: one that fails is a row with its reason. Models that contain each other
    help each other to their modes, so that a larger one does not end below a smaller.

    Parameters
    ----------
    study : Study, DataFrame or ndarray
    n_components : int or iterable of int, default 1 to 5
    covariance : str or sequence of str, default "VVV"
        Covariance families; ``"all"`` for the fourteen (E and V for one trait).
    weights : str, None, or sequence of these
        Formulas of the predictors of the weights.
    noise : bool, float, or sequence of these, optional
        As in :class:`bayesgmm.Mixture`; ``[False, True]`` compares models without and with noise. None: as ``model``
        has it. A spike is the same in all models (``model=``): a density and a point mass have no common unit, so no
        criterion compares models with and without.
    df : float, "each", "shared", None, or sequence of these
        Degrees of freedom of Student-t components; ``[None, "shared"]`` compares Gaussian ones with them. Left out: as
        ``model`` has it.
    criterion : {"bic", "icl", "aic", "nec", "loo", "evidence", "blrt"}
        What chooses; of all but the test smaller is better. ``"bic"``: the density, with a price of ``log n`` a
        parameter (Keribin 2000: consistent). ``"icl"``: BIC plus twice the entropy of the memberships, for clusters
        that are apart (Biernacki, Celeux and Govaert 2000). ``"aic"``: prediction; tends to too many. ``"nec"``:
        entropy as a share of the likelihood gained (Celeux and Soromenho 1996). ``"loo"``: prediction by the posterior;
        the smallest model that is not clearly worse than the best (by less than 4 units of elpd or 2 standard errors),
        since a superfluous component hardly harms prediction; models whose draws cannot be trusted (k-hat of the
        Laplace engine's above 0.5, or of many people above 0.7) are not compared.
        ``"evidence"``: marginal likelihood under the priors. ``"blrt"``: bootstrap likelihood-ratio test of each number
        against one more (:func:`components_test`).
    also : sequence of str
        Further criteria that take draws or refits: "loo", "evidence", "blrt". The others are always in the table.
    means : str, optional
        Formula of covariates of the means, the same in every model.
    priors : Priors, optional
        Default: the defaults, under which BIC is that of the mode. ``Priors.flat()``: maximum likelihood, as the
        criteria were derived; components may then close in on a few people.
    model : Mixture, optional
        What is not named here comes from it: priors, formulas, reference, how missing genotypes are treated.
    engine : {"auto", "laplace", "nuts"}
        Where draws for "loo" and "evidence" come from: the Laplace engine, the sampler (and evidence by bridge
        sampling), or the sampler only where the Laplace engine's k-hat is above 0.7 (0.5 for "loo"), seconds
        to minutes a model: after the first a warning says how long the others will take, if more than a minute.
    draws : int, default 4000
        Of each posterior (of all chains together).
    bootstrap : int, default 199
        Data sets simulated for each test of "blrt", at most.
    level : float, default 0.05
        Of that test: the p-value up to which one more component is called for.
    seed : int, optional
        None: 0.
    restarts, max_iterations, tolerance
        As in :meth:`bayesgmm.Mixture.fit`; besides the restarts there are the starts from other models.
    workers : int, optional
        Fits side by side; by default as many as there are processors. The answer does not depend on it.
    progress : bool, default False
    sample_weight
        As in :meth:`bayesgmm.Mixture.fit`.

    Returns
    -------
    Selection

    Raises
    ------
    InputError
        If an argument is out of bounds, or no model at all could be fitted.

    Examples
    --------
    >>> import numpy as np, bayesgmm as bg
    >>> rng = np.random.default_rng(1)
    >>> y = np.concatenate([rng.normal(0, 1, 200), rng.normal(5, 1, 200)])
    >>> bg.select(y, range(1, 5)).n_components
    2
    """
    began = time.perf_counter()
    wanted = criteria_of(criterion, also)
    check_numbers(engine, draws, bootstrap, level, restarts, workers)
    check_whole("max_iterations", max_iterations, 1)
    check_above_zero("tolerance", tolerance)
    grid = Grid.of(
        model, as_study(study, sample_weight), n_components, covariance, weights, noise, df, means=means, priors=priors
    )
    seed = seed_or_zero(seed)
    workers = max(1, os.cpu_count() or 1) if workers is None else workers
    limits: dict[str, Any] = {"max_iterations": max_iterations, "tolerance": tolerance}
    with warnings.catch_warnings():
        # what is wrong with a fit is in its row
        warnings.simplefilter("ignore", FitWarning)
        cells = grid.cells()
        with counting("models", 4 * len(cells), enabled=progress) as tick:
            NestedSearch(cells, restarts=restarts, seed=seed, workers=workers, told=tick, **limits).run()
        work = Work.of_cells(list(cells.values()), grid.models, seed, workers, progress)
        if set(wanted) & set(DRAWN):
            work.draw(wanted, engine, draws)
        if "blrt" in wanted:
            work.test(bootstrap, level)
        best, stability = work.checked(criterion, level, restarts, limits)
    work.table["probability"] = model_probabilities(work.table)
    work.table["probability_by"] = log_evidences(work.table)[3]
    return Selection(
        table=work.table,
        criterion=criterion,
        level=level,
        seconds=time.perf_counter() - began,
        best_row=best,
        fits=work.fits,
        stability=stability,
        tests=work.tests,
        evidences=work.evidences,
        loo=work.loo,
    )
