"""What should worry the reader of a fit: small components, spikes, separation, no convergence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayesgmm import names
from bayesgmm.core.labels import canonical_order

if TYPE_CHECKING:
    from bayesgmm.inference.map_fit import MapFit

_FEW_VALUES = 3.0  # a component with fewer values of traits than this, per parameter of its own, is flagged
_NARROW = 1e-3  # a component whose sd is below this share of the trait's is flagged as a spike
_WIDE_EFFECT = 10.0  # a log odds ratio beyond this separates the data


def find_flags(fit: MapFit) -> list[tuple[int | None, str, str]]:
    """Findings as (component or None, flag, message)."""
    problem = fit.problem
    found: list[tuple[int | None, str, str]] = []
    r = fit.responsibilities.values[problem.people]
    people = r.sum(axis=0) if problem.sample_weight is None else problem.sample_weight[problem.people] @ r
    size = len(problem.trait_names)
    own = size + problem.family.n_parameters(2, size) - problem.family.n_parameters(1, size)
    for k, count in enumerate(people):
        if count * size < _FEW_VALUES * own:
            found.append(
                (
                    k,
                    "few people",
                    f"component {k} holds {count:.1f} people for {own} parameters of its own, which lean on the prior; "
                    "compare fewer components or a family with fewer parameters",
                )
            )
        spread = np.sqrt(np.diag(fit.params[names.COVARIANCES].values[k])) / problem.spread
        inside = fit.responsibilities.values[:, k] > 0.5
        for d, trait in enumerate(problem.trait_names):
            values = problem.traits[inside & problem.observed & ~np.isnan(problem.traits[:, d]), d]
            equal = len(values) > 2 and np.ptp(values) == 0.0
            if equal or spread[d] < _NARROW:
                found.append(
                    (
                        k,
                        "spike",
                        f"component {k} is a spike of {trait}: {len(values)} people, most with equal values; its "
                        "width is set by the prior",
                    )
                )
    effects = fit.params[names.EFFECTS]
    for p, predictor in enumerate(problem.predictor_names):
        for c, contrast in enumerate(problem.contrasts):
            value = float(effects.values[p, c])
            if abs(value) * max(float(np.ptp(problem.predictors[:, p])), 1e-300) > 2 * _WIDE_EFFECT:
                found.append(
                    (
                        None,
                        "separation",
                        f"{predictor}, {contrast}: log odds ratio {value:.1f}; the predictor nearly separates the "
                        "components, so the size of the effect is decided by its prior",
                    )
                )
    if (canonical_order(fit.params[names.MEANS].values) != np.arange(problem.n_components)).any():
        found.append(
            (
                None,
                "out of order",
                "the prior tells the components apart, and under it they are not in the order of their means: what it "
                "says of them and the data disagree",
            )
        )
    if not fit.converged:
        found.append((None, "not converged", f"not converged: {fit.reason}"))
    if not fit.strict:
        found.append((None, "no curvature", "the log posterior is flat or rises in some direction at the estimate"))
    return found
