"""Every name that crosses a room: dims, variables, columns. Defined once, imported everywhere."""

from __future__ import annotations

from typing import Final

# dims
SAMPLE: Final = "sample"
TRAIT: Final = "trait"
TRAIT_BIS: Final = "trait_bis"
COMPONENT: Final = "component"
PREDICTOR: Final = "predictor"
VARIANT: Final = "variant"
COVARIATE: Final = "covariate"
CONTRAST: Final = "contrast"
GENOTYPE: Final = "genotype"
CHAIN: Final = "chain"
DRAW: Final = "draw"
ITERATION: Final = "iteration"
PROBLEM: Final = "problem"
N_COMPONENTS: Final = "n_components"
COVARIANCE: Final = "covariance"
SUMMARY: Final = "summary"

# parameters of the model, the same in every engine
WEIGHTS: Final = "weights"
MEANS: Final = "means"
COVARIANCES: Final = "covariances"
EFFECTS: Final = "effects"
SHIFTS: Final = "shifts"
DF: Final = "df"
PARAMETERS: Final = (WEIGHTS, MEANS, COVARIANCES, EFFECTS, SHIFTS, DF)

# components that have a mean and a covariance of their own, and what kind of density every component has
LOCATED: Final = "located"
KIND: Final = "kind"
NOISE: Final = "noise"
SPIKE: Final = "spike"
FIXED_KINDS: Final = (NOISE, SPIKE)

# scales of the effects, where they are learned
GROUP: Final = "group"
GROUP_SCALES: Final = "group_scales"
BETWEEN_SCALE: Final = "between_scale"
GLOBAL_SCALE: Final = "global_scale"
SLAB_SCALE: Final = "slab_scale"
LOCAL_SCALES: Final = "local_scales"
SHRINKAGE: Final = "shrinkage"
EFFECTIVE_EFFECTS: Final = "effective_effects"
SCALES: Final = (
    BETWEEN_SCALE,
    GROUP_SCALES,
    GLOBAL_SCALE,
    SLAB_SCALE,
    LOCAL_SCALES,
    SHRINKAGE,
    EFFECTIVE_EFFECTS,
)

# data
TRAITS: Final = "traits"
DOSAGES: Final = "dosages"
SAMPLE_WEIGHT: Final = "sample_weight"
PREDICTORS: Final = "predictors"

# further results
ODDS_RATIOS: Final = "odds_ratios"
BAYES_FACTOR: Final = "log10_bayes_factor"
RESPONSIBILITIES: Final = "responsibilities"
LOG_POSTERIOR: Final = "log_posterior"
LOG_LIKELIHOOD: Final = "log_likelihood"

# genotypes a diploid person can have, as counts of the effect allele
GENOTYPES: Final = (0, 1, 2)


def contrast_label(component: int | str, reference: int | str) -> str:
    """Name of the contrast of one component against another, e.g. ``"1 vs 0"`` or ``"noise vs 0"``."""
    return f"{component} vs {reference}"
