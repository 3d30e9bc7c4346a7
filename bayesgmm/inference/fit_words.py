"""A fit in words: what is printed of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayesgmm import names

if TYPE_CHECKING:
    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.problem import Problem

_WORTH_TELLING = 1.1  # people per distinct row from which the fit says that it compressed
_LEAST_DIGITS, _MOST_DIGITS = 4, 16
NOT_WITHOUT_SPIKE = "not to be compared with fits without the spike: a point mass has no density"


def told_beside(value: float, width: float) -> str:
    """A number with at least four digits, and as many as show a tenth of a width: of a mean, its component's sd."""
    digits = _LEAST_DIGITS
    if value != 0.0 and width > 0.0:
        wanted = np.floor(np.log10(abs(value))) + 2.0 - np.log10(width)
        digits = min(max(int(np.ceil(wanted)), digits), _MOST_DIGITS)
    return f"{value:.{digits}g}"


def words_of(fit: MapFit) -> str:
    """A fit in words: what it is of, how good, and every parameter."""
    problem = fit.problem
    state = "converged" if fit.converged else "NOT converged"
    lines = [
        f"MapFit: {problem.components_told} of {', '.join(problem.trait_names)}, covariance {problem.family_name}; "
        f"{_people_told(problem)}; {state}",
        f"log posterior {fit.log_posterior:.4f}, log likelihood {fit.log_likelihood:.4f}, BIC {fit.bic:.2f} "
        f"(smaller is better{'' if problem.fixed.spike is None else '; ' + NOT_WITHOUT_SPIKE})",
    ]
    weights = fit.params[names.WEIGHTS].values
    shares = np.average(fit.responsibilities.values, axis=0, weights=problem.sample_weight)
    width = "scale" if len(fit.parameters.df) else "sd"
    for k, weight in enumerate(weights):
        means = ", ".join(
            f"{t} {told_beside(m, s)} ({width} {s:.3g})"
            for t, m, s in zip(
                problem.trait_names,
                fit.params[names.MEANS].values[k],
                np.sqrt(np.diag(fit.params[names.COVARIANCES].values[k])),
                strict=True,
            )
        )
        whose = f" for the average person ({100 * shares[k]:.0f}% of all)" if problem.predictor_names else ""
        if k >= problem.n_located:
            lines.append(f"  {problem.component_labels[k]}: weight {weight:.3f}{whose}, {_fixed_told(problem, k)}")
            continue
        tails = f", {fit.parameters.df[k]:.3g} degrees of freedom" if len(fit.parameters.df) else ""
        lines.append(f"  component {k}: weight {weight:.3f}{whose}, {means}{tails}")
    errors = fit.standard_errors[names.EFFECTS] if problem.predictor_names else fit.params[names.EFFECTS]
    for predictor in problem.predictor_names:
        for contrast in problem.contrasts:
            value = float(fit.params[names.EFFECTS].sel(predictor=predictor, contrast=contrast))
            error = float(errors.sel(predictor=predictor, contrast=contrast))
            of_error = f", se {error:.3g}" if np.isfinite(error) else ""
            lines.append(f"  {predictor}, {contrast}: odds ratio {np.exp(value):.3g} (log {value:.4f}{of_error})")
    for covariate in problem.covariate_names:
        slopes = fit.params[names.SHIFTS].sel(covariate=covariate)
        shown = ", ".join(f"{t} {float(v):.4g}" for t, v in zip(problem.trait_names, slopes.values, strict=True))
        lines.append(f"  {covariate}, shift of every mean: {shown}")
    if problem.compression >= _WORTH_TELLING:
        lines.append(f"  computed on {problem.arrays.n_rows} distinct rows, {problem.compression:.1f} people each")
    for row in problem.genotype_account.to_dict("records"):
        told = ((row["n_averaged"], "averaged over what it may be"), (row["n_mean"], "set to what is expected"))
        lines += [f"  {row['variant']}: {n} people without a certain genotype, {done}" for n, done in told if n]
    lines += [f"  note: {message}" for message in fit.flags["message"]]
    return "\n".join(lines)


def _fixed_told(problem: Problem, k: int) -> str:
    """Noise or spike in words."""
    fixed = problem.fixed
    if problem.component_labels[k] == names.NOISE and fixed.noise is not None:
        if len(problem.trait_names) == 1:
            half, centre = 0.5 * fixed.noise.volume, float(fixed.noise.mean[0])
            low, high = (told_beside(end, 2.0 * half) for end in (centre - half, centre + half))
            return f"evenly from {low} to {high}"
        return f"evenly over a box of volume {fixed.noise.volume:.4g}"
    where = fixed.means[k - problem.n_located]
    return "at " + ", ".join(f"{t} {v:.10g}" for t, v in zip(problem.trait_names, where, strict=True))


def _people_told(problem: Problem) -> str:
    """How many people there are, whom rows stand for, and how much of their traits is missing."""
    with_traits = int(problem.observed.sum())
    told = f"{with_traits} people"
    if with_traits < problem.n_samples:
        told = f"{with_traits} of {problem.n_samples} people (the others have no trait)"
    if problem.sample_weight is not None:
        told = f"{with_traits} rows, standing for {problem.n_effective:g} people"
    missing = np.isnan(problem.traits[problem.people]).mean()
    return told + (f", {100 * missing:.1f}% of their traits missing" if missing > 0.0 else "")
