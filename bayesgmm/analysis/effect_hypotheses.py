"""The two hypotheses of a test of effects: one problem with what is tested and one without, and their fits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesgmm.core.effect_density import NORMAL
from bayesgmm.core.objective import MixtureArrays, Parameters
from bayesgmm.core.sample import Sample
from bayesgmm.errors import InputError, nearest
from bayesgmm.inference.map_fit import MapFit
from bayesgmm.inference.parallel import one_by_one
from bayesgmm.inference.replicates import Simulated, refit
from bayesgmm.inference.search import fit_map, with_a_mode
from bayesgmm.problem import Problem

if TYPE_CHECKING:
    from bayesgmm.model import Mixture, StudyLike

Array = NDArray[np.float64]

_SAME = 1e-6  # log units within which two modes are one


@dataclass(frozen=True, eq=False)
class Hypotheses:
    """The problem with and without the predictors that are tested, and the null fit.

    ``label`` names what is tested. ``kept`` and ``tested`` are positions of predictors of the full problem, and
    ``sample`` is that of the full problem; ``parameters`` are those of the null fit, which knows nothing of what is
    tested, so that permuting that is exact; ``highest`` those of the highest null fit that is found, also from modes
    that have the effect. ``higher`` is by how much the likelihood with the effect is higher at another mode than the
    one climbed to from there.
    """

    label: str
    full: Problem
    null: Problem
    kept: list[int]
    tested: list[int]
    parameters: Parameters
    highest: Parameters
    higher: float = 0.0

    @property
    def sample(self) -> Sample:
        """Of the full problem."""
        return self.full.arrays.sample

    def fitted(self, model: Mixture | MapFit, seed: int | None, restarts: int) -> Hypotheses:
        """With the null fits."""
        null = fit_map(self.null, seed=seed, restarts=restarts).parameters
        effect = fit_map(self.full, seed=seed, restarts=restarts).parameters
        starts = [self.without(effect)]
        if isinstance(model, MapFit) and model.problem.n_components == self.full.n_components:
            starts.append(self.without(model.parameters))
        other = refit(self.null.arrays, self.null.arrays.sample, starts)
        better = other.log_posterior > self.null.arrays.log_posterior(null) + _SAME
        highest = other.parameters if better and other.parameters is not None else null
        warm = refit(self.full.arrays, self.sample, [self.with_zeros(highest)])
        higher = self.full.arrays.log_posterior(effect) - warm.log_posterior
        return replace(self, parameters=null, highest=highest, higher=higher)

    def without(self, parameters: Parameters) -> Parameters:
        """Parameters of the null problem: those of the full one without the effects that are tested."""
        return replace(parameters, beta=np.ascontiguousarray(parameters.beta[self.kept]))

    def with_zeros(self, parameters: Parameters) -> Parameters:
        """Parameters of the full problem: those of the null one, and no effects of what is tested."""
        beta = np.zeros((len(self.full.predictor_names), parameters.beta.shape[1]))
        beta[self.kept] = parameters.beta
        return replace(parameters, beta=beta)

    @property
    def _arrays(self) -> tuple[MixtureArrays, MixtureArrays]:
        return self.null.arrays, self.full.arrays

    def ratio(self, sample: Sample) -> float:
        """Twice the gain of the log likelihood by the effects, both climbed on a sample of the full problem.

        NaN where a component collapsed.
        """
        null, full = self._arrays
        # rows that differ only in what is tested stay apart: only their number would be less
        fewer = sample._replace(predictors=np.ascontiguousarray(sample.predictors[:, self.kept]))
        without = refit(null, fewer, [self.highest], likelihood=False)
        if without.parameters is None:
            return float("nan")
        effect = refit(full, sample, [self.with_zeros(without.parameters)], likelihood=False)
        return max(2.0 * (effect.log_posterior - without.log_posterior), 0.0)

    def simulated(
        self,
        observed: float,
        draws: int,
        stop_after: int | None,
        seed: int | None,
        workers: int | None,
        progress: bool,
    ) -> tuple[int, Array]:
        """How many studies simulated under the null fit have a ratio as large, and the ratio of every one.

        Those without a fit (NaN) are counted as larger.
        """
        simulated = Simulated(self.full, self.with_zeros(self.highest))

        def one(rng: np.random.Generator) -> float:
            return self.ratio(simulated.sample(rng))

        above, ratios = 0, []
        for ratio in one_by_one(one, draws, seed=seed, workers=workers, progress=progress, label=self.label):
            ratios.append(ratio)
            above += not ratio < observed
            if above == stop_after:
                break
        return above, np.array(ratios)


def state_hypotheses(
    model: Mixture | MapFit, study: StudyLike | None, predictors: str | Sequence[str] | None
) -> Hypotheses:
    """What is asked as two problems, not yet fitted.

    Raises
    ------
    InputError
        If there is nothing to test, or the arguments are not what they should be.
    """
    _check_kinds(model, study)
    asked = _asked(predictors)
    problem = model.problem if isinstance(model, MapFit) else _with_these(model, study, asked)
    if problem.n_components < 2:
        raise InputError("n_components = 1; one component has no weights to act on")
    tested = sorted({position for name in asked for position in _columns_of(problem, name, study)})
    kept = [p for p in range(len(problem.predictor_names)) if p not in tested]
    full = under_flat_effects(problem)
    nothing = Parameters(np.zeros(0), np.zeros((0, 0)), np.zeros((0, 0)), np.zeros((0, 0, 0)), np.zeros((0, 0)))
    return Hypotheses(" + ".join(asked), full, full.keeping(kept), kept, tested, nothing, nothing)


def effects_of(problem: Problem) -> list[str]:
    """Everything that acts on the weights, each to be tested by itself: variants, and predictors of none."""
    of_variants = {column for columns in problem.variant_columns.values() for column in columns}
    return [*problem.variant_names, *(name for name in problem.predictor_names if name not in of_variants)]


def _asked(predictors: str | Sequence[str] | None) -> list[str]:
    if not isinstance(predictors, str | Iterable | None):
        raise InputError(f"predictors is a {type(predictors).__name__}; give names of predictors or variants")
    asked = [predictors] if isinstance(predictors, str) else list(predictors or ())
    if not asked:
        raise InputError("predictors: name at least one predictor or variant to test")
    strange = [name for name in asked if not isinstance(name, str)]
    if strange:
        raise InputError(f"predictors: {strange[0]!r} is a {type(strange[0]).__name__}; give names of predictors")
    twice = [name for i, name in enumerate(asked) if name in asked[:i]]
    if twice:
        raise InputError(f"predictors: {twice[0]!r} is named twice; name each once")
    return asked


def _check_kinds(model: Mixture | MapFit, study: StudyLike | None) -> None:
    """Refuse a model and a study that are something else, or in another order."""
    from bayesgmm.model import Mixture

    order = "give a Mixture, then its study, then names of predictors; or a MapFit, and predictors=names"
    if not isinstance(model, Mixture | MapFit):
        raise InputError(f"model is a {type(model).__name__}; {order}")
    if isinstance(study, str):
        raise InputError(f"study = {study!r}, which is a name; {order}")
    if isinstance(model, MapFit):
        if study is not None:
            raise InputError("study: a fit has its own; give the Mixture to test on another study")
        return
    if study is None:
        raise InputError("study: give the study on which the model is to be tested")
    if isinstance(study, Mixture | MapFit):
        raise InputError(f"study is a {type(study).__name__}; {order}")


def _columns_of(problem: Problem, name: str, study: StudyLike | None) -> list[int]:
    """Positions of a predictor, of every column that depends on a variant, or of every level of a category."""
    columns = problem.variant_columns.get(name) or _levels_of(problem, name) or [name]
    unknown = [c for c in columns if c not in problem.predictor_names]
    if unknown:
        known = dict.fromkeys((*problem.predictor_names, *_names_in(study)))
        raise InputError(
            f"predictors: {unknown[0]!r} is neither a predictor nor a variant of the model"
            f"{' or the study' if study is not None else ''}; {nearest(unknown[0], known)}"
        )
    return [problem.predictor_names.index(c) for c in columns]


def _levels_of(problem: Problem, name: str) -> list[str]:
    """Columns of a covariate that is text, one a level: ``sex[T.male]`` of ``sex``, and those of ``C(sex)``."""
    terms = {name, f"C({name})"}
    return [c for c in problem.predictor_names if c.endswith("]") and c.partition("[")[0] in terms and ":" not in c]


def _names_in(study: StudyLike | None) -> list[str]:
    """Variants and covariates of a study."""
    from bayesgmm.study import Study

    return [*study.variant_names, *study.covariate_names] if isinstance(study, Study) else []


def _with_these(model: Mixture, study: StudyLike | None, asked: Sequence[str]) -> Problem:
    """The problem of a model, with predictors added that its formula does not have."""
    from bayesgmm.model import as_study

    assert study is not None  # what was checked
    made = as_study(study)
    known = _names_in(made)
    problem = model.problem(made)
    there = {*problem.variant_names, *problem.predictor_names}
    absent = [n for n in asked if n in known and n not in there and not _levels_of(problem, n)]
    if not absent:
        return problem
    added = [*([] if model.weights is None else [model.weights]), *(f"`{name}`" for name in absent)]
    return replace(model, weights=" + ".join(added)).problem(made)


def under_flat_effects(problem: Problem) -> Problem:
    """The problem with flat priors of the effects and priors of the weights that have a mode."""
    prior = problem.priors
    size = len(prior.effect_sd)
    flat = replace(
        prior,
        effect_mean=np.zeros_like(prior.effect_mean),
        effect_sd=np.full(size, np.inf),
        effect_kind=np.full(size, NORMAL, dtype=np.int64),
        effect_shape=np.zeros_like(prior.effect_shape),
        scales=None,
        scales_at=None,
    )
    return with_a_mode(problem.with_resolved(flat))
