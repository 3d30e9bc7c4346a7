"""Pictures of fits and posteriors; each returns a matplotlib figure."""

from bayesgmm.plots.bootstrap import plot_bootstrap
from bayesgmm.plots.chains import plot_rank, plot_trace
from bayesgmm.plots.compare import plot_compare
from bayesgmm.plots.density import plot_density
from bayesgmm.plots.effect_tests import plot_effect_tests
from bayesgmm.plots.fit_checks import plot_fit_checks
from bayesgmm.plots.forest import plot_forest
from bayesgmm.plots.many import plot_many, plot_many_choices
from bayesgmm.plots.membership import plot_membership
from bayesgmm.plots.priors import plot_priors
from bayesgmm.plots.selection import plot_combination, plot_selection
from bayesgmm.plots.sensitivity import (
    plot_bayes_factor,
    plot_prior_posterior,
    plot_ridges,
    plot_sensitivity,
    plot_sensitivity_heatmap,
)
from bayesgmm.plots.weights import plot_penetrance

__all__ = [
    "plot_bayes_factor",
    "plot_bootstrap",
    "plot_combination",
    "plot_compare",
    "plot_density",
    "plot_effect_tests",
    "plot_fit_checks",
    "plot_forest",
    "plot_many",
    "plot_many_choices",
    "plot_membership",
    "plot_penetrance",
    "plot_prior_posterior",
    "plot_priors",
    "plot_rank",
    "plot_ridges",
    "plot_selection",
    "plot_sensitivity",
    "plot_sensitivity_heatmap",
    "plot_trace",
]
