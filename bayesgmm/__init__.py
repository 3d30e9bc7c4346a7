"""Bayesian Gaussian mixtures of traits in which genotypes move people between components.

The public names are imported when first used, so that ``import bayesgmm`` costs milliseconds and a MAP fit never
pays for PyMC.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Study": "study",
    "read_study": "study",
    "DfGamma": "priors",
    "Dirichlet": "priors",
    "NormalInverseWishart": "priors",
    "ShiftsNormal": "priors",
    "LogOddsNormal": "priors",
    "LogOddsStudentT": "priors",
    "LogOddsCauchy": "priors",
    "LogOddsLaplace": "priors",
    "LogOddsSpikeSlab": "priors",
    "LogOddsGroups": "priors",
    "LogOddsHorseshoe": "priors",
    "read_groups": "io.groups",
    "Flat": "priors",
    "Jeffreys": "priors",
    "JeffreysWeights": "priors",
    "propriety": "priors",
    "Priors": "priors",
    "read_earlier_effects": "knowledge.earlier",
    "EarlierEffects": "knowledge.earlier",
    "log_odds_from_trait_shift": "knowledge.trait_scale",
    "sd_for_odds_ratio": "knowledge.elicit",
    "normal_for_odds_ratios": "knowledge.elicit",
    "sd_by_frequency": "knowledge.elicit",
    "Mixture": "model",
    "MapFit": "inference.map_fit",
    "read_fit": "inference.fit_storage",
    "fit_many": "inference.many",
    "ManyFits": "inference.many_fits",
    "read_many": "inference.many_storage",
    "Posterior": "inference.posterior",
    "LaplacePosterior": "inference.laplace",
    "VariationalPosterior": "inference.variational_posterior",
    "read_posterior": "inference.posterior",
    "compare": "analysis.compare",
    "associations": "analysis.association",
    "penetrance": "analysis.association",
    "enrichment": "analysis.enrichment",
    "inclusion": "analysis.inclusion",
    "group_scales": "analysis.scales",
    "effective_effects": "analysis.scales",
    "select_predictors": "analysis.predictor_selection",
    "PredictorSelection": "analysis.predictor_selection",
    "credible_sets": "analysis.credible_sets",
    "occupied": "analysis.occupied",
    "standard_errors": "analysis.standard_errors",
    "test_effect": "analysis.effect_tests",
    "score_variants": "analysis.effect_tests",
    "EffectTests": "analysis.effect_tests_result",
    "read_effect_tests": "analysis.effect_tests_storage",
    "bootstrap": "analysis.bootstrap",
    "Bootstrap": "analysis.bootstrap",
    "read_bootstrap": "analysis.bootstrap_storage",
    "select": "analysis.selection",
    "Selection": "analysis.selection",
    "read_selection": "analysis.selection_storage",
    "components_test": "analysis.components_test",
    "evidence": "analysis.evidence",
    "combine": "analysis.combine",
    "sensitivity": "analysis.sensitivity",
    "sensitivity_table": "analysis.sensitivity",
    "tipping_points": "analysis.tipping",
    "bayes_factor_curve": "analysis.tipping",
    "power_scaling": "analysis.power_scaling",
    "prior_predictive": "analysis.prior_checks",
    "prior_conflict": "analysis.prior_checks",
    "prior_study": "analysis.prior_study",
    "check_fit": "analysis.fit_checks",
    "FitChecks": "analysis.fit_checks",
    "simulate": "simulate",
    "simulate_study": "simulate",
    "write_report": "report",
    "plots": "plots",
    "pymc": "pymc",
    "sklearn": "sklearn",
    "InputError": "errors",
    "Interrupted": "errors",
    "PropernessError": "errors",
    "DataWarning": "errors",
    "FitWarning": "errors",
    "SlowWarning": "errors",
}
_MODULES = {"simulate", "plots", "pymc", "sklearn"}

__all__ = ["__version__", *_HOMES]

if TYPE_CHECKING:
    from bayesgmm import plots, pymc, simulate, sklearn
    from bayesgmm.analysis.association import associations, penetrance
    from bayesgmm.analysis.bootstrap import Bootstrap, bootstrap
    from bayesgmm.analysis.bootstrap_storage import read_bootstrap
    from bayesgmm.analysis.combine import combine
    from bayesgmm.analysis.compare import compare
    from bayesgmm.analysis.components_test import components_test
    from bayesgmm.analysis.credible_sets import credible_sets
    from bayesgmm.analysis.effect_tests import score_variants, test_effect
    from bayesgmm.analysis.effect_tests_result import EffectTests
    from bayesgmm.analysis.effect_tests_storage import read_effect_tests
    from bayesgmm.analysis.enrichment import enrichment
    from bayesgmm.analysis.evidence import evidence
    from bayesgmm.analysis.fit_checks import FitChecks, check_fit
    from bayesgmm.analysis.inclusion import inclusion
    from bayesgmm.analysis.occupied import occupied
    from bayesgmm.analysis.power_scaling import power_scaling
    from bayesgmm.analysis.predictor_selection import PredictorSelection, select_predictors
    from bayesgmm.analysis.prior_checks import prior_conflict, prior_predictive
    from bayesgmm.analysis.prior_study import prior_study
    from bayesgmm.analysis.scales import effective_effects, group_scales
    from bayesgmm.analysis.selection import Selection, select
    from bayesgmm.analysis.selection_storage import read_selection
    from bayesgmm.analysis.sensitivity import sensitivity, sensitivity_table
    from bayesgmm.analysis.standard_errors import standard_errors
    from bayesgmm.analysis.tipping import bayes_factor_curve, tipping_points
    from bayesgmm.errors import DataWarning, FitWarning, InputError, Interrupted, PropernessError, SlowWarning
    from bayesgmm.inference.fit_storage import read_fit
    from bayesgmm.inference.laplace import LaplacePosterior
    from bayesgmm.inference.many import fit_many
    from bayesgmm.inference.many_fits import ManyFits
    from bayesgmm.inference.many_storage import read_many
    from bayesgmm.inference.map_fit import MapFit
    from bayesgmm.inference.posterior import Posterior, read_posterior
    from bayesgmm.inference.variational_posterior import VariationalPosterior
    from bayesgmm.io.groups import read_groups
    from bayesgmm.knowledge.earlier import EarlierEffects, read_earlier_effects
    from bayesgmm.knowledge.elicit import normal_for_odds_ratios, sd_by_frequency, sd_for_odds_ratio
    from bayesgmm.knowledge.trait_scale import log_odds_from_trait_shift
    from bayesgmm.model import Mixture
    from bayesgmm.priors import (
        DfGamma,
        Dirichlet,
        Flat,
        Jeffreys,
        JeffreysWeights,
        LogOddsCauchy,
        LogOddsGroups,
        LogOddsHorseshoe,
        LogOddsLaplace,
        LogOddsNormal,
        LogOddsSpikeSlab,
        LogOddsStudentT,
        NormalInverseWishart,
        Priors,
        ShiftsNormal,
        propriety,
    )
    from bayesgmm.report import write_report
    from bayesgmm.simulate import simulate_study
    from bayesgmm.study import Study, read_study


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bayesgmm' has no attribute {name!r}")
    module = import_module(f"bayesgmm.{_HOMES[name]}")
    value = module if name in _MODULES else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
