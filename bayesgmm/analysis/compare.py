"""MAP and posterior side by side, parameter by parameter, with a verdict in plain words."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import gaussian_kde

from bayesgmm import names
from bayesgmm.errors import InputError
from bayesgmm.inference.laplace import USABLE_K, LaplacePosterior
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.inference.posterior import Posterior
from bayesgmm.inference.summary import summarise_array
from bayesgmm.inference.tidy import parameter_index, parameter_rows
from bayesgmm.inference.variational_posterior import VariationalPosterior

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayesgmm.problem import Problem

Array = NDArray[np.float64]

# Thresholds of the verdicts, each tested.
R_HAT_LIMIT = 1.01  # Vehtari et al. 2021
ESS_LIMIT = 400  # Vehtari et al. 2021: 100 a chain of four
SKEWNESS_LIMIT = 0.5  # third standardised moment of the draws
SHIFT_LIMIT = 0.5  # posterior sds between the MAP and the posterior mean
PRIOR_SHARE_LIMIT = 0.8  # posterior sd over prior sd of an effect
ENTROPY_LIMIT = 0.35  # mean membership entropy over log K: above it the components are weakly separated
VALLEY_LIMIT = 0.75  # height of the valley between two peaks over the lower peak
WIDTH_LIMIT = 0.25  # difference of an interval's end between Laplace and the sampler over its width
PEAK_LIMIT = 0.2  # height of a peak, over the highest, to count
NARROW_LIMIT = 0.8  # sd of the variational posterior over that of another below which it is too narrow

AGREE = "agree"
SKEWED = "skewed"
PRIOR_DOMINATED = "prior-dominated"
SEVERAL_MODES = "more than one mode"
NOT_CONVERGED = "not converged"
WEAKLY_SEPARATED = "weakly separated"
SHIFTED = "shifted"
UNTRUSTED = "Laplace not to be trusted"
TOO_NARROW = "variational intervals too narrow"


class Comparison(pd.DataFrame):
    """What :func:`compare` returns: a tidy table, one row per free parameter, with verdicts on the whole.

    Columns: ``parameter``, ``variable``, ``map``, ``mean``, ``sd``, ``median``, interval ends ``eti89_lb`` to
    ``eti95_ub``, ``ess_bulk``, ``ess_tail``, ``r_hat``, ``map_quantile`` (share of draws below the MAP) and
    ``verdict``; of a variational posterior alone also ``corrected_sd``, ``corrected_eti95_lb`` and
    ``corrected_eti95_ub``, where it can be corrected, which ``map_quantile`` and ``verdict`` then are of.

    Attributes
    ----------
    verdict : str
        The whole in one sentence or more.
    findings : list of str
        Verdicts that hold for the whole, ``["agree"]`` when nothing stands out.
    classification : dict
        ``agreement`` (share of people assigned alike), ``responsibility_gap`` (mean absolute difference of membership
        probabilities) and ``entropy`` (0: certain, 1: memberships say nothing).
    """

    _metadata: ClassVar[list[str]] = ["verdict", "findings", "classification"]  # pandas carries these along

    verdict: str
    findings: list[str]
    classification: dict[str, float]

    @classmethod
    def build(
        cls, table: pd.DataFrame, verdict: str, findings: list[str], classification: dict[str, float]
    ) -> Comparison:
        """Attach verdicts to a table."""
        comparison = cls(table)
        comparison.verdict, comparison.findings, comparison.classification = verdict, findings, classification
        return comparison

    # takes the place of pandas' own plots, which say nothing about such a table
    def plot(self, **options: Any) -> Figure:  # type: ignore[override]
        """Draw MAP and posterior intervals in units of the posterior standard deviation."""
        from bayesgmm.plots.compare import plot_compare

        return plot_compare(self, **options)

    def __repr__(self) -> str:
        return f"{self.verdict}\n{self.round(4).to_string(index=False)}"

    def _repr_html_(self) -> str:
        return f"<p>{self.verdict}</p>{self.round(4).to_html(index=False)}"


def compare(fit: MapFit, *posteriors: Posterior) -> Comparison:
    """Compare a MAP fit with a posterior of the same model, or with several: variational, Laplace's, the sampler's.

    Parameters
    ----------
    fit : MapFit
    *posteriors : Posterior
        One from :meth:`bayesgmm.Mixture.sample`, :meth:`bayesgmm.MapFit.laplace` or
        :meth:`bayesgmm.Mixture.variational`, or one of each in any order. With several, the sampler's (without it
        Laplace's) is what the others are held against, and the columns ``laplace_mean``, ``laplace_sd``,
        ``laplace_eti95_lb`` and ``laplace_eti95_ub``, and the same of ``variational_``, are added.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        If they are of different models, priors or people.

    Notes
    -----
    Verdicts, the first that holds: *not converged* (R-hat above 1.01 or an effective sample size below 400);
    *more than one mode* (the density of the draws has a second peak of at least a fifth of the first, with a valley
    below three quarters of it); *prior-dominated* (an effect whose posterior sd is over 0.8 of its prior sd, and whose
    mean is within a prior sd of its prior mean); *skewed* (skewness beyond 0.5); *shifted* (the MAP over half a
    posterior sd from the mean, without skewness);
    else *agree*. The whole is *weakly separated* when memberships carry over 35% of the largest possible entropy, and
    Laplace's draws are *not to be trusted* when k-hat is above 0.7 or an interval of theirs differs from the sampler's
    by more than a quarter of its width. Variational intervals are *too narrow* where the sd of some parameter of an
    occupied component is below 0.8 of that of the posterior they are held against. Without one, its verdicts are of
    draws spread out to :attr:`VariationalPosterior.corrected_sds`. Draws of the Laplace and variational engines are
    independent, and never *not converged*.
    """
    if not isinstance(fit, MapFit) or not all(isinstance(p, Posterior) for p in posteriors):
        given = ", ".join(type(x).__name__ for x in (fit, *posteriors))
        raise InputError(f"compare: given {given}; give a MapFit, then one posterior or several")
    if not 1 <= len(posteriors) <= 3:
        raise InputError(f"compare: {len(posteriors)} posteriors; give one, or one of each engine")
    for other in posteriors:
        labels = {name for name, _, _ in parameter_index(other.posterior)}
        same_people = list(fit.problem.sample_ids) == list(other.problem.sample_ids)
        if not same_people or set(parameter_rows(fit.params)["parameter"]) != labels:
            raise InputError("compare: the fit and the posterior are of different models or people")
        _refuse_different(fit.problem, other.problem)
    by_laplace = [p for p in posteriors if isinstance(p, LaplacePosterior)]
    by_bound = [p for p in posteriors if isinstance(p, VariationalPosterior)]
    sampled = [p for p in posteriors if not isinstance(p, LaplacePosterior | VariationalPosterior)]
    if len(by_laplace) > 1 or len(by_bound) > 1 or len(sampled) > 1:
        raise InputError("compare: two posteriors of one kind; give one, or one of each engine")
    ranked: list[Posterior] = [*sampled, *by_laplace, *by_bound]
    posterior = ranked[0]
    at_map = parameter_rows(fit.params).set_index("parameter")["value"]
    draws = posterior.posterior
    corrected: dict[str, float] = {}
    if isinstance(posterior, VariationalPosterior):
        corrected, _ = posterior.correction()
    rows = []
    for name, variable, where in parameter_index(draws):
        values = draws[variable].isel(where).transpose(names.CHAIN, names.DRAW).values
        estimate = float(at_map[name])
        numbers = posterior.summarised(values)
        prior_sd, prior_mean = np.inf, 0.0
        if variable == names.EFFECTS:
            p, c = where[names.PREDICTOR], where[names.CONTRAST]
            prior_sd = posterior.problem.priors.pairwise_effect(p).sd
            prior_mean = float(posterior.problem.priors.effect_mean[p, c])
        of_chains = (np.nan, np.inf, np.inf)
        if not isinstance(posterior, LaplacePosterior | VariationalPosterior):
            of_chains = (numbers["r_hat"], numbers["ess_bulk"], numbers["ess_tail"])
        if isinstance(posterior, VariationalPosterior) and name in corrected:
            values = posterior.spread_out(variable, where, corrected[name])
        verdict = parameter_verdict(values, estimate, prior_sd, *of_chains, prior_mean)
        about = {"map_quantile": float((values < estimate).mean()), "verdict": verdict}
        rows.append({"parameter": name, "variable": variable, "map": estimate, **numbers, **about})
    table = pd.DataFrame(rows)
    if isinstance(posterior, VariationalPosterior) and corrected:
        place = list(table.columns).index("map_quantile")
        for offset, (column, numbers_of) in enumerate(posterior.corrected_intervals(corrected).items()):
            table.insert(place + offset, str(column), numbers_of.to_numpy())
    for other in ranked[1:]:
        quick = other.summary().set_index("parameter").loc[table["parameter"]]
        place = list(table.columns).index("map_quantile")
        for offset, column in enumerate(("mean", "sd", "eti95_lb", "eti95_ub")):
            table.insert(place + offset, f"{other.engine}_{column}", quick[column].to_numpy())
    classification = _classification(fit, posterior)
    findings, sentence = _whole(table, classification, fit, posterior)
    if by_laplace:
        trusted, told = _on_laplace(table, by_laplace[0])
        if not trusted:
            findings = [UNTRUSTED, *(f for f in findings if f != AGREE)]
        sentence = f"{sentence} {told}"
    if by_bound:
        narrow, told = _on_variational(table, by_bound[0])
        if narrow:
            findings = [*(f for f in findings if f != AGREE), TOO_NARROW]
        sentence = f"{sentence} {told}"
    return Comparison.build(table, sentence, findings, classification)


def _on_laplace(table: pd.DataFrame, laplace: LaplacePosterior) -> tuple[bool, str]:
    """Whether Laplace's draws can be trusted, by k-hat and by the sampler's intervals where there are some."""
    trusted, told = laplace.pareto_k <= USABLE_K, f"Laplace: {laplace.advice}."
    if "laplace_mean" not in table:
        return trusted, told
    width = (table["eti95_ub"] - table["eti95_lb"]).where(table["sd"] > 0.0, np.inf)
    gaps = [(table[f"laplace_{end}"] - table[end]).abs() / width for end in ("eti95_lb", "eti95_ub")]
    apart = pd.concat(gaps, axis=1).max(axis=1).to_numpy()
    worst = int(apart.argmax())
    share = float(apart[worst])
    told += (
        f" Its 95% intervals differ from the sampler's by at most {100 * share:.0f}% of their width "
        f"({table['parameter'].iloc[worst]})."
    )
    return trusted and share <= WIDTH_LIMIT, told


def _on_variational(table: pd.DataFrame, variational: VariationalPosterior) -> tuple[bool, str]:
    """Whether the variational posterior is seen to be too narrow, by another posterior where there is one."""
    if "variational_sd" not in table:
        return False, f"Variational: {variational.caution}; {_on_correction(table, variational)}."
    problem, empty = variational.problem, set(variational.pruned)
    others = [k for k in range(problem.n_components) if k != problem.reference]
    # an empty component is as wide as the prior and says nothing
    counts = []
    for _, _, where in parameter_index(variational.posterior):
        of = {where[names.COMPONENT]} if names.COMPONENT in where else set()
        if names.CONTRAST in where:
            of = {others[where[names.CONTRAST]], problem.reference}
        counts.append(not of & empty)
    ratio = (table["variational_sd"] / table["sd"].where(table["sd"] > 0.0)).where(np.array(counts))
    if ratio.isna().all():
        return False, f"Variational: {variational.caution}."
    worst = int(np.nanargmin(ratio.to_numpy()))
    low = float(ratio.iloc[worst])
    told = (
        f"Variational: its standard deviations are {low:.2f} ({table['parameter'].iloc[worst]}) to "
        f"{float(ratio.max()):.2f} of the others, {float(ratio.median()):.2f} in the median"
    )
    with suppress(InputError):
        corrected = parameter_rows(variational.corrected_sds).set_index("parameter")["value"]
        sds = table["sd"].where(ratio.notna())
        again = corrected.loc[table["parameter"]].to_numpy() / sds
        told += f"; corrected by linear response, {float(again.min()):.2f} to {float(again.max()):.2f}"
    return low < NARROW_LIMIT, f"{told}."


def _on_correction(table: pd.DataFrame, variational: VariationalPosterior) -> str:
    """What linear response makes of the standard deviations, where there is nothing else to hold them against."""
    if "corrected_sd" not in table:
        return f"{variational.correction()[1]}; only another engine's posterior can tell by how much"
    ratio = (table["corrected_sd"] / table["sd"].where(table["sd"] > 0.0)).replace(np.inf, np.nan)
    if ratio.isna().all():
        return "none of them can be corrected"
    worst = int(np.nanargmax(ratio.to_numpy()))
    low, high = float(ratio.min()), float(ratio.iloc[worst])
    return (
        f"corrected by linear response standard deviations are {low:.2f} to {high:.2f} "
        f"({table['parameter'].iloc[worst]}) times as large (corrected_sd), and verdicts are of those"
    )


def _told_of(posterior: Posterior) -> str:
    """What the draws are of, in a sentence."""
    if isinstance(posterior, VariationalPosterior):
        return "variational approximation"
    return "Laplace approximation" if isinstance(posterior, LaplacePosterior) else "posterior"


def _refuse_different(one: Problem, other: Problem) -> None:
    """Raise where a fit and a posterior differ in what their parameters' names do not show."""
    differ = {
        f"covariance family ({one.family.name} and {other.family.name})": one.family != other.family,
        "priors": not one.priors.table().equals(other.priors.table()),
        "sample weights": not same_weights(one, other),
    }
    found = [what for what, different in differ.items() if different]
    if found:
        raise InputError(f"compare: the fit and the posterior are of different {', '.join(found)}")


def same_weights(one: Problem, other: Problem) -> bool:
    """Whether the people of two problems count alike."""
    mine, theirs = (np.ones(p.n_samples) if p.sample_weight is None else p.sample_weight for p in (one, other))
    return np.array_equal(mine, theirs)


def parameter_verdict(
    values: Array,
    estimate: float,
    prior_sd: float,
    r_hat: float,
    ess_bulk: float,
    ess_tail: float,
    prior_mean: float = 0.0,
) -> str:
    """Verdict on one parameter from its draws (chain, draw) and its MAP; see :func:`compare`."""
    if (np.isfinite(r_hat) and r_hat > R_HAT_LIMIT) or min(ess_bulk, ess_tail) < min(ESS_LIMIT, 0.2 * values.size):
        return NOT_CONVERGED
    flat = values.ravel()
    sd = flat.std()
    if sd == 0.0:
        return AGREE
    if has_several_modes(flat):
        return SEVERAL_MODES
    if sd > PRIOR_SHARE_LIMIT * prior_sd and abs(float(flat.mean()) - prior_mean) < prior_sd:
        return PRIOR_DOMINATED
    skewness = float((((flat - flat.mean()) / sd) ** 3).mean())
    if abs(skewness) > SKEWNESS_LIMIT:
        return SKEWED
    return SHIFTED if abs(estimate - flat.mean()) > SHIFT_LIMIT * sd else AGREE


def has_several_modes(flat: Array) -> bool:
    """Whether the smoothed density of draws has a second peak with a valley before it."""
    low, high = np.percentile(flat, [0.5, 99.5])
    if high <= low:
        return False
    inside = flat[(flat >= low) & (flat <= high)]
    # Silverman's width is for one normal; a width from the interquartile range keeps two peaks apart
    spread = min(inside.std(), float(np.subtract(*np.percentile(inside, [75, 25]))) / 1.34)
    if spread <= 0.0:
        return False
    width = 1.2 * spread * len(inside) ** -0.2 / inside.std()
    height = gaussian_kde(inside, bw_method=width)(np.linspace(low, high, 256))
    peaks = [i for i in range(1, 255) if height[i] >= height[i - 1] and height[i] > height[i + 1]]
    peaks = [i for i in peaks if height[i] > PEAK_LIMIT * height.max()]
    for first, second in pairwise(peaks):
        valley = height[first:second].min()
        if valley < VALLEY_LIMIT * min(height[first], height[second]):
            return True
    return False


def _classification(fit: MapFit, posterior: Posterior) -> dict[str, float]:
    people, weight = fit.problem.people, fit.problem.sample_weight
    by_map = fit.responsibilities.values[people]
    by_posterior = posterior.responsibilities.values[people]
    share = np.ones(len(by_map)) if weight is None else weight[people]
    share = share / share.sum()
    k = fit.problem.n_components
    entropy = -float(share @ (by_posterior * np.log(np.maximum(by_posterior, 1e-300))).sum(axis=1))
    return {
        "agreement": float(share @ (by_map.argmax(axis=1) == by_posterior.argmax(axis=1))),
        "responsibility_gap": float(share @ np.abs(by_map - by_posterior).mean(axis=1)),
        "entropy": entropy / np.log(k) if k > 1 else 0.0,
    }


def _whole(
    table: pd.DataFrame, classification: dict[str, float], fit: MapFit, posterior: Posterior
) -> tuple[list[str], str]:
    n_draws, invariant_r_hat = 1, np.nan
    if not isinstance(posterior, LaplacePosterior | VariationalPosterior):
        heights = posterior.tree["sample_stats"].to_dataset()[names.LOG_POSTERIOR]
        n_draws = heights.size
        invariant_r_hat = summarise_array(heights.transpose(names.CHAIN, names.DRAW).values)["r_hat"]
    findings: list[str] = []
    sentences: list[str] = []
    unconverged = table[table["verdict"] == NOT_CONVERGED]
    # the log posterior does not depend on labels: relabelling cannot hide a chain that did not mix
    if len(unconverged) or invariant_r_hat > R_HAT_LIMIT or posterior.n_divergences > 0.01 * n_draws:
        findings.append(NOT_CONVERGED)
        sentences.append(
            f"Not converged: {len(unconverged)} parameters have R-hat above {R_HAT_LIMIT} or too few effective draws, "
            f"the log posterior has R-hat {invariant_r_hat:.3f}, {posterior.n_divergences} divergences; do not read "
            "the intervals, draw more, or with target_accept = 0.97."
        )
    if not fit.converged:
        findings.append(NOT_CONVERGED)
        sentences.append(f"The MAP is not converged: {fit.reason}.")
    whose = _told_of(posterior)
    for label, meaning in (
        (SEVERAL_MODES, f"the {whose} has more than one mode, so a single best fit misleads"),
        (PRIOR_DOMINATED, "the data say little beyond the prior"),
        (
            SKEWED,
            f"the {whose} is skewed, so its mean is not where its mode (the MAP) is: read its interval rather than "
            "estimate and standard error",
        ),
        (SHIFTED, f"the MAP lies over half an sd of the {whose} from its mean"),
    ):
        named = table.loc[table["verdict"] == label, "parameter"]
        if len(named):
            findings.append(label)
            shown = ", ".join(named[:4]) + (f" and {len(named) - 4} more" if len(named) > 4 else "")
            sentences.append(f"{label.capitalize()}: {shown}: {meaning}.")
    if classification["entropy"] > ENTROPY_LIMIT:
        findings.append(WEAKLY_SEPARATED)
        sentences.append(
            "Weakly separated: many people could belong to several components, so memberships and anything counted "
            "from hard assignments are uncertain."
        )
    if not findings:
        return [AGREE], (
            f"MAP and {whose} agree{'; both can be trusted' if whose == 'posterior' else ''}. "
            f"{100 * classification['agreement']:.1f}% of people are assigned alike."
        )
    sentences.append(f"{100 * classification['agreement']:.1f}% of people are assigned alike by MAP and {whose}.")
    return list(dict.fromkeys(findings)), " ".join(sentences)
