"""What holds for every model: one strategy draws family, sizes, priors and options together for every property."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, example, given, reject, settings
from hypothesis import strategies as st

import bayesgmm as bg
from bayesgmm import names
from bayesgmm.core.families import FAMILIES, Family
from bayesgmm.core.gaussian import covariances_from_roots
from bayesgmm.core.objective import Parameters
from bayesgmm.core.starts import start_from
from bayesgmm.inference.em import Climb, SingularComponentError, climb
from bayesgmm.problem import Problem
from bayesgmm.study import Study
from tests.test_families import NESTED
from tests.test_objective import of_family, random_parameters


@dataclass(frozen=True)
class Case:
    """A random study, and a model of it: the family and every option drawn independently.

    ``predicted``: a genotype and a covariate predict the weights. ``shifted``: a covariate shifts the means.
    ``holes``, ``uncalled``: traits and genotypes are missing; people may lack every trait. ``weighted``: by sample
    weights, a tenth of them zero. ``rounded``: people are alike in traits and covariates, and counted once.
    ``repeated``: the last trait nearly repeats the first, where neither rounding nor a flat prior makes that singular.
    ``guessed``: the start is random, not what people came from.
    """

    family: str
    n_components: int
    n_traits: int
    n_people: int
    seed: int
    flat: bool
    predicted: bool
    shifted: bool
    holes: bool
    uncalled: bool
    weighted: bool
    rounded: bool
    repeated: bool
    guessed: bool

    @cached_property
    def _drawn(self) -> tuple[np.ndarray, Study]:
        """Components that people came from, and the study."""
        rng = np.random.default_rng(self.seed)
        n, k, d = self.n_people, self.n_components, self.n_traits
        component = rng.integers(0, k, n)
        centres, widths = rng.normal(scale=3.0, size=(k, d)), rng.uniform(0.5, 1.5, k)
        noise = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 0.3 * rng.normal(size=(n, d))
        traits, age = centres[component] + widths[component, None] * noise, rng.normal(size=n)
        traits += age[:, None] * rng.normal(size=d)
        dosage = rng.binomial(2, 0.3 + 0.4 * component / k).astype(float)
        dosage[:3] = 0.0, 1.0, 2.0
        weight = np.where(rng.random(n) < 0.1, 0.0, rng.lognormal(size=n)) if self.weighted else np.ones(n)
        weight[:3] = 1.0
        if self.repeated and d > 1 and not (self.rounded or self.flat):
            traits[:, -1] = traits[:, 0] + 1e-3 * rng.normal(size=n)
        if self.rounded:
            traits, age = (3.0 * traits / traits.std(axis=0)).round(0), (age > 0.0).astype(float)
        if self.holes:
            traits[rng.random((n, d)) < 0.2] = np.nan
        if self.uncalled:
            dosage[3:][rng.random(n - 3) < 0.2] = np.nan
        people = pd.Index([f"P{i}" for i in range(n)])
        study = Study(
            pd.DataFrame(traits, people),
            pd.DataFrame({"rs1": dosage}, people),
            pd.DataFrame({"age": age}, people),
            sample_weight=pd.Series(weight, people) if self.weighted else None,
        )
        return component, study

    @property
    def study(self) -> Study:
        return self._drawn[1]

    @property
    def model(self) -> bg.Mixture:
        return bg.Mixture(
            self.n_components,
            covariance=self.family,
            weights="rs1 + age" if self.predicted else None,
            means="age" if self.shifted else None,
            priors=bg.Priors.flat() if self.flat else bg.Priors(),
            compress=self.rounded,
        )

    @cached_property
    def problem(self) -> Problem:
        return self.problem_of(self.model, self.study)

    def problem_of(self, model: bg.Mixture, study: Study, sample_weight=None) -> Problem:
        """A problem; the example is discarded where the default prior's scale cannot be formed."""
        try:
            return model.problem(study, sample_weight)
        except bg.InputError as error:
            if not (self.holes and "not positive definite" in str(error)):
                raise
        return reject()

    @cached_property
    def anywhere(self) -> Parameters:
        """Random parameters, far from every mode."""
        return random_parameters(self.problem, self.seed)

    def climb(self, problem: Problem | None = None, **options) -> Climb:
        """A climb from a partition; the example is discarded where the flat prior lets a component collapse."""
        problem = self.problem if problem is None else problem
        arrays, component = problem.arrays, self._drawn[0]
        component = np.random.default_rng(self.seed + 1).permutation(component) if self.guessed else component
        known = pd.Series(component, self.study.sample_ids)[problem.sample_ids].to_numpy()[problem.people]
        row_of = np.arange(len(known))[problem.row_of] if isinstance(problem.row_of, slice) else problem.row_of
        labels = np.zeros(arrays.n_rows, dtype=int)
        labels[row_of] = known
        start = start_from(arrays, problem.start_points(), np.eye(self.n_components)[labels])
        try:
            run = None if start is None else climb(arrays, start, **options)
        except SingularComponentError:
            run = None
        assert run is not None or self.flat
        assume(run is not None)
        roots = run.parameters.roots
        left = 1.0 / (
            np.diagonal(roots, axis1=1, axis2=2) ** 2 * np.diagonal(covariances_from_roots(roots), axis1=1, axis2=2)
        )
        # with a flat prior and few people a covariance may be on its way to a singular one, where rounding is large
        assume(not self.flat or left.min() > 1e-9)
        return run


NOTHING_SPECIAL = Case("VVV", 2, 1, 60, 1, *(False,) * 9)


def cases(**fixed):
    """Cases of everything together; what is named keeps the value it is given."""
    drawn = {
        "family": st.sampled_from(FAMILIES),
        "n_components": st.integers(1, 4),
        "n_traits": st.integers(1, 4),
        "n_people": st.integers(20, 120),
        "seed": st.integers(0, 2**32 - 2),
    }
    switches = ("flat", "predicted", "shifted", "holes", "uncalled", "weighted", "rounded", "repeated", "guessed")
    drawn |= {name: st.booleans() for name in switches}
    return st.builds(Case, **(drawn | {name: st.just(value) for name, value in fixed.items()}))


def examples(most: int):
    """So many examples where `make test-slow` asks for them all, else a third: every run draws others."""
    return settings(
        max_examples=most if os.environ.get("BAYESGMM_THOROUGH") else most // 3,
        deadline=None,
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    )


def log_posterior(problem: Problem, parameters: Parameters) -> float:
    """In the traits' own units."""
    shift = problem.log_likelihood_shift + problem.log_prior_shift
    return problem.arrays.log_posterior_and_gradient(parameters)[0] + shift


def closeness(problem: Problem) -> float:
    """To how much two log posteriors agree: the default prior's scale is EM's where traits are missing."""
    return 1e-5 if np.isnan(problem.traits).any() and not problem.priors.components_flat else 1e-9


def assert_same(one: Problem, two: Problem, at: Parameters, people=slice(None)) -> None:
    """Two problems have one log posterior and gradient, and the people of ``two`` the memberships of ``one``'s."""
    (value, gradient), (other, slope) = (p.arrays.log_posterior_and_gradient(at) for p in (one, two))
    assert other == pytest.approx(value, rel=closeness(one))
    np.testing.assert_allclose(slope, gradient, rtol=1e-6, atol=10 * closeness(one) * np.abs(gradient).max())
    np.testing.assert_allclose(two.responsibilities(at), one.responsibilities(at)[people], atol=1e-9)


# -- the climb ------------------------------------------------------------------------------------


@given(cases(), st.booleans())
@examples(250)
def test_a_climb_never_descends_and_ends_in_the_family_where_it_is_flat(case, newton):
    run = case.climb(max_iterations=2000, newton=newton)
    history = np.array(run.history)
    assert (np.diff(history) >= -1e-11 * np.abs(history[1:])).all()
    value, gradient = case.problem.arrays.log_posterior_and_gradient(run.parameters)
    assert value == pytest.approx(history[-1], rel=1e-9, abs=1e-9)
    covariances = covariances_from_roots(run.parameters.roots)
    member = covariances_from_roots(of_family(case.problem, run.parameters).roots)
    scale = np.sqrt(np.einsum("kdd,kee->kde", covariances, covariances))
    np.testing.assert_allclose(member / scale, covariances / scale, atol=1e-6)
    if run.converged:
        # what a step along one coordinate could gain, in units of log posterior
        curvature = np.diag(case.problem.arrays.negative_hessian(run.parameters))
        # rounding is more where a trait nearly repeats another
        assert (0.5 * gradient**2 / np.maximum(curvature, 1.0)).max() < (1e-5 if case.repeated else 1e-6)


@given(cases())
@examples(120)
def test_gradient_equals_central_differences(case):
    arrays, at = case.problem.arrays, case.anywhere
    _, gradient = arrays.log_posterior_and_gradient(at)
    free = arrays.free(at)

    def value(step):
        return arrays.log_posterior_and_gradient(arrays.of_free(free + step, at))[0]

    differences = [(value(step) - value(-step)) / 2e-5 for step in 1e-5 * np.eye(len(free))]
    np.testing.assert_allclose(gradient, differences, rtol=1e-5, atol=1e-6 * np.abs(gradient).max())


# under flat priors a component that nobody is in has no curvature, and a step along it no end
@example(replace(NOTHING_SPECIAL, family="EII", n_components=3, n_people=20, seed=3, rounded=True), ("EII", "VII"))
@given(cases(), st.sampled_from(NESTED))
@examples(120)
def test_a_wider_family_started_at_the_narrower_optimum_is_not_worse(case, pair):
    narrow, wide = (replace(case, family=family, flat=True) for family in pair)
    run = narrow.climb()
    # a flat prior lets effects run until the average person's weight is no number
    assume(run.parameters.log_pi.min() > -700.0)
    reached = log_posterior(narrow.problem, run.parameters)
    start = of_family(wide.problem, wide.problem.parameters(narrow.problem.labelled(run.parameters)))
    assert log_posterior(wide.problem, start) == pytest.approx(reached, rel=1e-6, abs=1e-4)
    try:
        wider = climb(wide.problem.arrays, start)
    except SingularComponentError:
        return
    assert log_posterior(wide.problem, wider.parameters) >= reached - 1e-7 * abs(reached) - 1e-5


# -- coordinates ----------------------------------------------------------------------------------


@given(cases())
@examples(120)
def test_free_coordinates_come_back_and_stay_in_the_family(case):
    arrays = case.problem.arrays
    free = arrays.free(case.anywhere)
    assert len(free) == arrays.n_free
    step = 0.3 * np.random.default_rng(case.seed).standard_normal(len(free))
    for at in (arrays.of_free(free, case.anywhere), arrays.of_free(free + step, case.anywhere)):
        again = arrays.of_free(arrays.free(at), at)
        natural = case.problem.parameters(case.problem.labelled(at))
        covariances = covariances_from_roots(at.roots)
        for other in (again, natural, of_family(case.problem, at)):
            np.testing.assert_allclose(covariances_from_roots(other.roots), covariances, rtol=1e-6, atol=1e-8)
            np.testing.assert_allclose(other.full()[: arrays.head], at.full()[: arrays.head], rtol=1e-9, atol=1e-9)
    if Family(case.family).linear:
        np.testing.assert_allclose(arrays.free(arrays.of_free(free + step, case.anywhere)), free + step, atol=1e-9)


# -- invariances ----------------------------------------------------------------------------------


@given(cases())
@examples(120)
def test_order_of_people_components_and_traits_does_not_matter(case):
    rng = np.random.default_rng(case.seed)
    one, at = case.problem, case.anywhere
    people = rng.permutation(case.n_people)
    shuffled = case.problem_of(case.model, Study.of_dataset(case.study.dataset.isel({names.SAMPLE: people})))
    place = pd.Index(one.sample_ids).get_indexer(shuffled.sample_ids)
    assert_same(one, shuffled, at, place)
    components = at.permuted(rng.permutation(case.n_components))
    assert log_posterior(one, components) == pytest.approx(log_posterior(one, at), rel=1e-9)
    order = rng.permutation(case.n_traits)
    turned = case.problem_of(case.model, Study.of_dataset(case.study.dataset.isel({names.TRAIT: order})))
    natural = one.labelled(at).isel({names.TRAIT: order, names.TRAIT_BIS: order})
    reached = log_posterior(turned, turned.parameters(natural))
    assert reached == pytest.approx(log_posterior(one, at), rel=closeness(one))


@given(cases(), st.floats(-6, 6), st.floats(-1e3, 1e3))
@examples(120)
def test_origin_and_units_of_the_traits_do_not_matter(case, power, offset):
    one, at = case.problem, case.anywhere
    unit = np.full(case.n_traits, 10.0**power)
    if not one.family.one_unit:
        unit *= np.random.default_rng(case.seed).uniform(1e-3, 1e3, case.n_traits)
    data = case.study.dataset
    moved = Study.of_dataset(data.assign({names.TRAITS: unit * (data[names.TRAITS] + offset)}))
    two = case.problem_of(case.model, moved)
    natural = one.labelled(at)
    natural[names.MEANS] = unit * (natural[names.MEANS] + offset)
    natural[names.COVARIANCES] = natural[names.COVARIANCES] * np.outer(unit, unit)
    natural[names.SHIFTS] = natural[names.SHIFTS] * unit
    carried = two.parameters(natural)
    np.testing.assert_allclose(carried.full(), at.full(), rtol=1e-7, atol=1e-7)
    # standardised the two are one; in the traits' units a density falls as the unit grows
    value, gradient = one.arrays.log_posterior_and_gradient(at)
    other, slope = two.arrays.log_posterior_and_gradient(at)
    assert other == pytest.approx(value, rel=10 * closeness(one))
    np.testing.assert_allclose(slope, gradient, rtol=1e-5, atol=100 * closeness(one) * np.abs(gradient).max())
    weight = np.ones(one.n_samples) if one.sample_weight is None else one.sample_weight
    fall = float(weight @ ~np.isnan(one.traits) @ np.log(unit))
    assert two.log_likelihood_shift - one.log_likelihood_shift == pytest.approx(-fall, rel=1e-8, abs=1e-7)


@given(cases(weighted=True))
@examples(120)
def test_weight_is_repetition_and_none_is_absence(case):
    times = np.random.default_rng(case.seed).integers(0, 4, case.n_people)
    times[:3] = 1
    weighted = case.problem_of(case.model, case.study, times.astype(float))
    rows = np.repeat(np.arange(case.n_people), times)
    bare = case.study.dataset.drop_vars(names.SAMPLE_WEIGHT)
    repeated = case.problem_of(case.model, Study.of_dataset(bare.isel({names.SAMPLE: rows})))
    assert weighted.n_effective == repeated.n_effective
    assert_same(weighted, repeated, case.anywhere, np.repeat(np.arange(weighted.n_samples), times[times > 0]))
    present = case.study.select([p for p, w in zip(case.study.sample_ids, case.study.sample_weight, strict=True) if w])
    assert_same(case.problem, case.problem_of(case.model, present), case.anywhere)


@given(cases(rounded=True))
@examples(120)
def test_compression_changes_nothing(case):
    whole = case.problem_of(replace(case.model, compress=False), case.study)
    assert whole.arrays.n_rows == whole.observed.sum() >= case.problem.arrays.n_rows
    assert_same(case.problem, whole, case.anywhere)


# -- memberships and weights ----------------------------------------------------------------------


@given(cases())
@examples(60)
def test_stored_memberships_are_those_of_the_same_people_as_new_ones(case):
    try:
        fit = case.model.fit(case.study, seed=0, restarts=2)
    except bg.InputError:
        if not (case.flat or case.holes):
            raise
        reject()
    stored = fit.responsibilities
    np.testing.assert_allclose(stored.sum(names.COMPONENT), 1.0, atol=1e-12)
    again = fit.predict_proba(case.study).sel({names.SAMPLE: stored[names.SAMPLE]})
    np.testing.assert_allclose(again, stored, atol=1e-9)
    density = fit.score_samples(case.study).sel({names.SAMPLE: stored[names.SAMPLE]}).values
    weight = np.ones(len(density)) if fit.problem.sample_weight is None else fit.problem.sample_weight
    seen = fit.problem.observed
    assert float(density[seen] @ weight[seen]) == pytest.approx(fit.log_likelihood, rel=1e-9)


@given(cases(predicted=True, shifted=True))
@examples(100)
def test_formulas_without_effects_are_no_formulas(case):
    at = replace(case.anywhere, beta=0.0 * case.anywhere.beta, shifts=0.0 * case.anywhere.shifts)
    none = replace(case, predicted=False, shifted=False)
    without = replace(at, beta=at.beta[:0], shifts=at.shifts[:0])
    one, two = case.problem.arrays.expectation(at), none.problem.arrays.expectation(without)
    assert one.log_likelihood == pytest.approx(two.log_likelihood, rel=1e-10)
    assert_same(none.problem, replace(none.model, weights="1", means="1").problem(case.study), without)


@given(cases(flat=True, predicted=True, uncalled=False))
@examples(100)
def test_a_saturated_genotype_gives_each_genotypes_mean_membership(case):
    problem = replace(case.model, weights="C(rs1)").problem(case.study)
    run = case.climb(problem, tolerance=1e-12)
    weights, members = np.exp(problem.log_weights(run.parameters)), problem.responsibilities(run.parameters)
    dosages = case.study.dataset[names.DOSAGES].sel({names.SAMPLE: problem.sample_ids}).values[:, 0]
    for genotype in np.unique(dosages):
        who = (dosages == genotype) & problem.observed
        share = None if problem.sample_weight is None else problem.sample_weight[who]
        if who.any() and run.converged:
            mean = np.average(members[who], axis=0, weights=share)
            np.testing.assert_allclose(weights[who][0], mean, atol=1e-4)
