"""What check_fit says to do: codes for missing, counts, spikes of several traits, strays, transforms, numbers."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bayesgmm as bg
from bayesgmm.analysis import fit_checks
from bayesgmm.analysis.fit_remedies import COLUMNS, Remedies
from bayesgmm.inference.trait_values import far_values, few_values


def one_far(value: float, n: int = 199) -> np.ndarray:
    return np.r_[np.random.default_rng(1).normal(0.0, 1.0, n), value]


def checked(y: np.ndarray | pd.DataFrame, k: int = 1, **options: object) -> bg.FitChecks:
    return bg.check_fit(bg.Mixture(k, **options).fit(y, seed=1), draws=60, seed=1)


# -- values -----------------------------------------------------------------------------------------


def two_humps_of_iq(rng: np.random.Generator) -> np.ndarray:
    return np.r_[rng.normal(100.0, 15.0, 300), rng.normal(160.0, 15.0, 300)]


@pytest.mark.parametrize(
    ("make", "extra"),
    [
        (lambda r: r.normal(3.0, 1.0, 190), [-9.0] * 10),
        (lambda r: r.normal(3.0, 1.0, 190), [-9.0]),
        (two_humps_of_iq, [99999.0] * 3),
        (two_humps_of_iq, [999.0, 999.0]),
        (two_humps_of_iq, [-9.0]),
        (lambda r: r.poisson(4.0, 200).astype(float), [-1.0]),
        (lambda r: r.normal(0.0, 1.0, 200), [25.0] * 3),  # no code, and yet of three people
        (lambda r: np.round(r.normal(0.0, 1.0, 200), 1), [1000.0]),
        (lambda r: r.binomial(1, 0.4, 100).astype(float), [-9.0] * 4),
    ],
)
def test_codes_for_missing_are_asked_for(make, extra):
    y = np.r_[np.nan, make(np.random.default_rng(2)), extra]
    (found,) = far_values(y)
    assert (found.value, found.people) == (extra[0], len(extra))
    # people counted by weights are the same people
    each, counts = np.unique(y[1:], return_counts=True)
    assert far_values(each, counts.astype(float)) == [found]


@pytest.mark.parametrize(
    "make",
    [
        lambda r: r.normal(0.0, 1.0, 300),
        lambda r: np.round(r.normal(8.0, 2.0, 300)),  # 9 is a measurement here
        lambda r: r.poisson(3.0, 300).astype(float),
        lambda r: np.where(r.random(300) < 0.3, 0.0, r.normal(9.0, 1.0, 300)),  # zeros are what a spike is of
        lambda r: r.lognormal(1.0, 1.5, 300),
    ],
)
def test_measurements_are_not_asked_about(make):
    assert not any(far_values(make(np.random.default_rng(seed))) for seed in range(50))


def test_few_whole_numbers_and_two_values_are_no_measurement(rng):
    assert few_values(rng.binomial(1, 0.3, 100).astype(float)).is_two
    assert "whole numbers" in few_values(rng.poisson(3.0, 300).astype(float)).told
    assert few_values(np.round(rng.normal(70.0, 14.0, 300))) is None  # minutes
    assert few_values(np.round(rng.normal(0.0, 1.0, 300), 1)) is None
    assert few_values(np.arange(15.0)) is None  # everybody another


# -- verdicts ---------------------------------------------------------------------------------------


def test_one_far_value_is_asked_about_and_gets_no_component_of_its_own():
    for value, is_asked in ((15.0, False), (1000.0, True)):
        found = checked(one_far(value))
        words = found.verdict["trait0"]
        assert ("1 person has 1000" in words) == is_asked
        assert "component" not in set(found.remedies["remedy"])
        assert found.remedies["remedy"].iloc[0] == "noise"
        assert "one more component" not in words.lower()


def test_codes_are_asked_about_first_also_beside_noise():
    y = np.r_[two_humps_of_iq(np.random.default_rng(1)), [99999.0] * 3]
    for options in ({}, {"noise": True}):
        found = checked(y, 2, **options)
        words = found.verdict["trait0"]
        assert words.startswith("3 people have 99999, ")
        assert "is this a code for missing?" in words
        assert "would serve" not in words
        assert not len(found.remedies)
    y = np.r_[np.random.default_rng(1).normal(3.0, 1.0, 190), [-9.0] * 10]
    words = checked(y).verdict["trait0"]
    assert words.startswith("10 people have -9, ")
    assert words.endswith("If that was measured, a spike (point mass) component at -9.0 would serve")


def test_beside_noise_a_component_of_a_few_strays_is_not_advised():
    rng = np.random.default_rng(8)
    y = np.r_[rng.normal(0.0, 1.0, 300), 40.0 + 0.01 * rng.normal(size=3)]
    found = checked(y, 1, df=30.0)
    assert "component" not in set(found.remedies["remedy"])
    # and one of enough people is
    y = np.r_[rng.normal(0.0, 1.0, 300), rng.normal(9.0, 0.3, 12)]
    assert checked(y).remedies["remedy"].iloc[0] == "component"


def test_a_value_of_one_of_several_traits_is_no_spike_of_all_and_what_is_said_can_be_done():
    rng = np.random.default_rng(3)
    a = np.r_[np.zeros(40), rng.normal(5.0, 1.0, 160)]
    frame = pd.DataFrame({"a": a, "b": rng.normal(size=200)})
    for k in (1, 2):
        fit = bg.Mixture(k).fit(frame, seed=1)
        words = bg.check_fit(fit, draws=60, seed=1).verdict["a"]
        assert "Mixture(" not in words
        assert "fit a alone with spike=0.0, or make these values missing (NaN)" in words
        assert "these differ in b" in words
    assert any("fit a alone with spike=0.0" in message for message in fit.flags["message"])
    bg.Mixture(1, spike=0.0).fit(frame[["a"]], seed=1)
    # where they have the same in both, that is the spike, as it is given
    frame["b"] = np.r_[np.full(40, 1.5), rng.normal(5.0, 1.0, 160)]
    words = checked(frame, 2).verdict["a"]
    assert "Mixture(1, spike=[0.0, 1.5])" in words
    assert bg.Mixture(1, spike=[0.0, 1.5]).fit(frame, seed=1).params["weights"].values[1] == pytest.approx(
        0.2, abs=0.01
    )


def test_a_spike_is_told_once():
    said = set()
    for seed in range(4):
        rng = np.random.default_rng(seed)
        y = np.r_[np.zeros(40), rng.normal(5.0, 1.0, 160)]
        words = checked(y, 2).verdict["trait0"]
        assert len(re.findall("spike=", words)) == 1
        assert "Mixture(1, spike=0.0)" in words
        assert "would serve" not in words
        said.add(words.split()[0])
    assert said == {"values", "component"}  # by heaps, and by the component alone


def test_counts_and_two_values_are_told_as_such_and_get_no_components():
    y = np.random.default_rng(5).poisson(3.0, 300).astype(float)
    for k in (1, 2, 3):
        found = checked(y, k)
        assert "whole numbers, " in found.verdict["trait0"]
        assert "would serve" not in found.verdict["trait0"]
        assert not len(found.remedies)
    y = np.random.default_rng(5).binomial(1, 0.3, 300).astype(float)
    fit = bg.Mixture(2).fit(y, seed=1)
    words = bg.check_fit(fit, draws=60, seed=1).verdict["trait0"]
    assert words.startswith(f"the trait has only two values, 0 and 1 ({300 - y.sum():g} and {y.sum():g} people)")
    assert "spike" not in words
    assert not fit.flags["message"].str.contains("spike=").any()
    # of several traits it comes first
    g = np.random.default_rng(6).binomial(2, 0.3, 300).astype(float)
    found = checked(
        pd.DataFrame({"y": np.random.default_rng(7).normal(size=300) + 2.0 * g, "dose": g}), covariance="VVI"
    )
    assert found.verdict["joint"].endswith("See first to dose")


def test_a_transform_is_named_and_its_gain_is_that_of_the_density_of_the_trait():
    y = np.random.default_rng(2).lognormal(size=300)
    words = checked(y).verdict["trait0"]
    gain = int(re.search(r"The logarithm of the trait would serve: BIC falls by (\d+)", words)[1])
    # two parameters either way, so the gain is in likelihoods alone; the default prior moves them a little
    normal = stats.norm.logpdf(y, y.mean(), y.std()).sum()
    assert gain == pytest.approx(
        2.0 * (stats.lognorm.logpdf(y, np.log(y).std(), 0.0, np.exp(np.log(y).mean())).sum() - normal), abs=2.0
    )
    left = checked(-np.random.default_rng(4).gamma(3.0, size=400)).verdict["trait0"]
    assert "Yeo and Johnson's, 2: scipy.stats.yeojohnson" in left


def test_tails_that_are_lighter_get_no_heavier_ones_and_both_sides_have_numbers(monkeypatch):
    rows = [("heavy tails", "df='each'", "Student-t components", 1.0, 30.0), ("noise", "", "noise", 2.0, 29.0)]
    with monkeypatch.context() as patched:  # as if a peak made them gain
        patched.setattr(fit_checks, "remedies_of", lambda *_: Remedies(pd.DataFrame(rows, columns=COLUMNS)))
        found = checked(np.random.default_rng(1).uniform(size=400))
    words = found.verdict["trait0"]
    assert list(found.remedies["remedy"]) == ["noise"]
    assert re.search(r"both tails are lighter than the mixture's: [\d.]+% of people below where [\d.]+%.* above", words)
    assert "Student-t" not in words
    number = r"(% of people (below|above) where|a residual of -?[\d.]+ on the (left|right) where)"
    for seed in range(4):
        found = checked(np.random.default_rng(seed).standard_t(3, size=400))
        words = found.verdict["trait0"]
        sides = 2 if "both tails" in words else len(re.findall("the (left|right) tail", words))
        assert len(re.findall(number, words)) == sides > 0
        # what the p-value is of: the row of the table that has it
        observed, upper = re.search(
            r"sorted residuals ([\d.]+) half widths off where up to ([\d.]+) is", words
        ).groups()
        row = found.table.set_index("check").loc["residuals"]
        assert float(observed) == pytest.approx(row["observed"], rel=0.06)
        assert float(upper) == pytest.approx(row["upper"], rel=0.06)


def test_a_class_of_one_person_is_warned_of():
    rng = np.random.default_rng(1)
    x = np.r_[rng.normal(0.0, 1.0, (50, 2)), rng.normal(4.0, 1.0, (50, 2)), [[9.0, 9.0]]]
    y = np.repeat(["low", "high", "lone"], [50, 50, 1])
    with pytest.warns(bg.DataWarning, match="classes 'lone' have one person each"):
        bg.sklearn.MixtureClassifier(covariance="EEE").fit(x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bg.sklearn.MixtureClassifier(covariance="EEE").fit(x[:100], y[:100])
