"""Priors: what a person states of weights, components, effects and slopes, and the numbers that it resolves to."""

from bayesgmm.priors.effects import (
    EffectsPrior,
    LogOddsCauchy,
    LogOddsLaplace,
    LogOddsNormal,
    LogOddsSpikeSlab,
    LogOddsStudentT,
)
from bayesgmm.priors.properness import propriety
from bayesgmm.priors.reference import Jeffreys, JeffreysWeights
from bayesgmm.priors.resolved import ResolvedPriors
from bayesgmm.priors.scales import LogOddsGroups, LogOddsHorseshoe
from bayesgmm.priors.stated import DfGamma, Dirichlet, Flat, NormalInverseWishart, Priors, ShiftsNormal

__all__ = [
    "DfGamma",
    "Dirichlet",
    "EffectsPrior",
    "Flat",
    "Jeffreys",
    "JeffreysWeights",
    "LogOddsCauchy",
    "LogOddsGroups",
    "LogOddsHorseshoe",
    "LogOddsLaplace",
    "LogOddsNormal",
    "LogOddsSpikeSlab",
    "LogOddsStudentT",
    "NormalInverseWishart",
    "Priors",
    "ResolvedPriors",
    "ShiftsNormal",
    "propriety",
]
