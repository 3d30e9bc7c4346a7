"""scikit-learn's manners: its own common tests, its tools around our estimators, and classification against others."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_iris, load_wine
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedShuffleSplit, cross_val_predict, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import bayesgmm as bg
from bayesgmm.core.families import FAMILIES
from bayesgmm.errors import FitWarning, InputError, MissingExtraError
from bayesgmm.sklearn import MixtureClassifier, MixtureEstimator

# mclust 6.0.0 (R 4), EDDA on iris without a prior: sum of log(1/3 f_class(x)) at its parameters, training errors. Its
# EVE and VVE stop short of the optimum.
EDDA_IRIS = {
    "EII": (-444.66777829329, 11),
    "VII": (-417.965023763007, 12),
    "EEI": (-384.088300529138, 6),
    "VEI": (-355.458833262892, 5),
    "EVI": (-364.225669181198, 6),
    "VVI": (-326.050081189476, 6),
    "EEE": (-263.203743274166, 3),
    "VEE": (-245.68159640914, 3),
    "EVE": (-241.542707543351, 4),
    "VVE": (-221.455895623644, 3),
    "EEV": (-220.800457957641, 2),
    "VEV": (-194.04751244265, 3),
    "EVV": (-214.357528452975, 3),
    "VVV": (-188.375554900435, 3),
}
SHORT = {"EVE": 1e-4, "VVE": 0.5}
EXTRA_PARAMETERS = 2  # shares of three classes, which mclust does not count


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


def with_holes(X, share, seed=0):
    holed = X.copy()
    holed[np.random.default_rng(seed).random(X.shape) < share] = np.nan
    return holed[~np.isnan(holed).all(axis=1)], ~np.isnan(holed).all(axis=1)


# -- scikit-learn's own tests -----------------------------------------------------------------------


@parametrize_with_checks(
    [
        MixtureEstimator(),
        MixtureEstimator(3, covariance="VVI"),
        MixtureEstimator(2, covariance="VEV"),
        MixtureClassifier(),
        MixtureClassifier(covariance="VVV"),
        MixtureClassifier(method="mclustda", covariance=["VVI", "VVV"], n_components=[1, 2]),
    ]
)
@pytest.mark.filterwarnings("ignore::bayesgmm.errors.FitWarning")
def test_common_tests(estimator, check):
    check(estimator)


# -- the density ------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance", ["VVV", "EEE", "VEV", "diag"])
def test_estimator_is_the_librarys_fit(iris, covariance):
    X, _ = with_holes(iris[0], 0.1)
    found = MixtureEstimator(3, covariance=covariance, random_state=4).fit(X)
    fit = bg.Mixture(3, covariance).fit(X, seed=4)
    for mine, name in ((found.weights_, "weights"), (found.means_, "means"), (found.covariances_, "covariances")):
        np.testing.assert_allclose(mine, fit.params[name].values, rtol=1e-12, atol=1e-12)
    assert found.lower_bound_ == pytest.approx(fit.log_posterior, rel=1e-12)
    assert found.score(X) == pytest.approx(fit.log_likelihood / len(X), rel=1e-12)
    np.testing.assert_allclose(found.predict_proba(X), fit.responsibilities.values, atol=1e-12)
    for criterion in ("bic", "aic", "icl"):
        assert getattr(found, criterion)(X) == pytest.approx(getattr(fit, criterion), rel=1e-12)
    assert (found.predict(X) == found.fit_predict(X)).all()


@pytest.mark.parametrize("beyond", [{"noise": True}, {"spike": 0.2}, {"df": "each"}])
def test_components_that_are_not_gaussian(iris, beyond):
    X = iris[0][:, 3:] if "spike" in beyond else iris[0]
    found = MixtureEstimator(2, **beyond).fit(X)
    fit = bg.Mixture(2, **beyond).fit(X)
    np.testing.assert_allclose(found.weights_, fit.params["weights"].values, rtol=1e-10)
    assert found.score(X) == pytest.approx(fit.log_likelihood / 150, rel=1e-10)
    assert found.bic(X) == pytest.approx(fit.bic, rel=1e-10)
    drawn, component = found.sample(1000)
    assert drawn.shape == (1000, X.shape[1])
    assert set(component) == set(range(len(found.weights_)))


def test_hyperparameters_are_plain_values(iris):
    X = iris[0]
    stated = bg.Priors(weights=bg.Dirichlet(5.0), components=bg.NormalInverseWishart(strength=0.5, dof=9.0, scale=0.3))
    by_value = {
        "weights_concentration": 5.0,
        "components_strength": 0.5,
        "components_dof": 9.0,
        "components_scale": 0.3,
    }
    fit = MixtureEstimator(2, **by_value).fit(X).fit_
    assert fit.log_posterior == pytest.approx(bg.Mixture(2, priors=stated).fit(X).log_posterior, rel=1e-12)
    flat = MixtureEstimator(2, priors="flat").fit(X).fit_
    assert flat.log_likelihood == pytest.approx(bg.Mixture(2, priors=bg.Priors.flat()).fit(X).log_likelihood, rel=1e-12)


def test_weights_are_people(iris):
    X = iris[0]
    times = np.random.default_rng(1).integers(0, 4, len(X))
    weighed = MixtureEstimator(2, covariance="VEV").fit(X, sample_weight=times)
    repeated = MixtureEstimator(2, covariance="VEV").fit(X.repeat(times, axis=0))
    np.testing.assert_allclose(weighed.means_, repeated.means_, atol=1e-10)
    assert weighed.score(X, sample_weight=times) == pytest.approx(repeated.score(X.repeat(times, axis=0)), abs=1e-9)


def test_draws_are_of_the_mixture(iris):
    found = MixtureEstimator(2, random_state=3).fit(iris[0])
    X, component = found.sample(20_000)
    assert (found.sample(20_000)[0] == X).all()
    for k in range(2):
        assert (component == k).mean() == pytest.approx(found.weights_[k], abs=0.015)
        np.testing.assert_allclose(X[component == k].mean(axis=0), found.means_[k], atol=0.03)
        np.testing.assert_allclose(np.cov(X[component == k].T), found.covariances_[k], atol=0.03)


def test_a_pipeline_a_grid_and_a_clone(iris):
    X = iris[0]
    grid = {
        "mixtureestimator__n_components": [1, 2],
        "mixtureestimator__covariance": ["EII", "VVV"],
        "mixtureestimator__priors": [None, bg.Priors(weights=bg.Dirichlet(1.0))],
    }
    search = GridSearchCV(make_pipeline(StandardScaler(), MixtureEstimator(random_state=0)), grid, cv=3)
    order = np.random.default_rng(0).permutation(len(X))
    search.fit(X[order])
    assert search.best_params_["mixtureestimator__n_components"] == 2
    assert search.best_params_["mixtureestimator__covariance"] == "VVV"
    assert search.best_score_ == pytest.approx(search.cv_results_["mean_test_score"].max())
    best = search.best_estimator_
    again = clone(best).fit(X[order])
    np.testing.assert_allclose(again.score_samples(X), best.score_samples(X), atol=1e-12)


def test_memberships_are_features_with_names(iris):
    X = pd.DataFrame(iris[0], columns=list("abcd"), index=[f"P{i}" for i in range(150)])
    found = MixtureEstimator(3).set_output(transform="pandas")
    features = found.fit_transform(X)
    assert list(features.columns) == ["mixtureestimator0", "mixtureestimator1", "mixtureestimator2"]
    assert (features.index == X.index).all()
    assert found.fit_.params.trait.values.tolist() == list("abcd") == found.feature_names_in_.tolist()
    right = (
        make_pipeline(MixtureEstimator(3, covariance="VEV", priors="flat"), LogisticRegression())
        .fit(X, iris[1])
        .score(X, iris[1])
    )
    assert right > 0.95


def test_weights_are_routed(iris):
    X = iris[0]
    weights = (iris[1] != 0).astype(float)
    with config_context(enable_metadata_routing=True):
        asked = MixtureEstimator().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        search = GridSearchCV(asked, {"n_components": [1, 2]}, cv=[(np.arange(0, 150, 2), np.arange(1, 150, 2))])
        search.fit(X, sample_weight=weights)
    best = MixtureEstimator(search.best_params_["n_components"]).fit(X[weights > 0])
    np.testing.assert_allclose(search.best_estimator_.means_, best.means_, atol=1e-6)
    half = MixtureEstimator(1).fit(X[::2][weights[::2] > 0])
    assert search.cv_results_["mean_test_score"][0] == pytest.approx(half.score(X[1::2][weights[1::2] > 0]), abs=1e-9)


def test_a_pickle_goes_to_another_process(iris, tmp_path):
    # what is computed holds addresses of compiled code, which are of one process
    found = MixtureEstimator(2).fit(iris[0])
    found.fit_.standard_errors  # noqa: B018
    (tmp_path / "found.pickle").write_bytes(pickle.dumps((found, found.fit_)))
    np.save(tmp_path / "X.npy", iris[0])
    script = (
        "import sys, pickle, numpy as np, bayesgmm\n"
        "bayesgmm.Mixture, bayesgmm.MapFit\n"
        "assert 'sklearn' not in sys.modules\n"
        f"found, fit = pickle.load(open({str(tmp_path / 'found.pickle')!r}, 'rb'))\n"
        f"X = np.load({str(tmp_path / 'X.npy')!r})\n"
        "print(repr(float(found.score(X))), repr(float(fit.standard_errors['means'].sum())))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    score, error = map(float, done.stdout.split())
    assert score == pytest.approx(found.score(iris[0]), rel=1e-14)
    assert error == pytest.approx(float(found.fit_.standard_errors["means"].sum()), rel=1e-6)


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    for name in [n for n in sys.modules if n.startswith("bayesgmm.sklearn")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtraError, match=r"bayesgmm\[sklearn\]"):
        import_module("bayesgmm.sklearn")


# -- one Gaussian a class ---------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_edda_is_mclusts(iris, family):
    X, y = iris
    found = MixtureClassifier(covariance=family, priors="flat").fit(X, y)
    theirs, errors = EDDA_IRIS[family]
    assert theirs - 1e-7 < found.log_likelihood_ < theirs + SHORT.get(family, 1e-6)
    assert (found.predict(X) != y).sum() == errors
    joint = found.predict_joint_log_proba(X)[np.arange(150), y].sum()
    assert joint == pytest.approx(found.log_likelihood_, rel=1e-12)
    by_hand = [multivariate_normal(m, c).logpdf(X) for m, c in zip(found.means_, found.covariances_, strict=True)]
    np.testing.assert_allclose(found.predict_joint_log_proba(X), np.transpose(by_hand) - np.log(3.0), atol=1e-9)


def test_edda_under_a_prior_is_mclusts(iris):
    # mclust 6.0.0, prior = priorControl(): log density of the data, class unknown
    X, y = iris
    for family, theirs in (("VVV", -193.27113544056), ("EEE", -257.345153537517)):
        found = MixtureClassifier(covariance=family, priors=bg.Priors()).fit(X, y)
        assert found.score_samples(X).sum() == pytest.approx(theirs, abs=1e-8)


@pytest.mark.parametrize(
    ("family", "dof", "people"),
    [("VVV", None, 12), ("VVV", 10.0, 16), ("VVI", None, 9), ("VII", None, 3), ("EEE", None, 12)],
)
def test_covariances_are_shrunk_to_the_one_within_classes(iris, family, dof, people):
    X, y = iris
    X, y = X[10:], y[10:]  # classes of 40, 50, 50
    found = MixtureClassifier(covariance=family, components_dof=dof).fit(X, y)
    pull, centre = 0.01, X.mean(axis=0)
    scatter, n = np.zeros((3, 4, 4)), np.bincount(y)
    within = sum((X[y == c] - X[y == c].mean(axis=0)).T @ (X[y == c] - X[y == c].mean(axis=0)) for c in range(3)) / 137
    for c in range(3):
        mean = (X[y == c].sum(axis=0) + pull * centre) / (n[c] + pull)
        np.testing.assert_allclose(found.means_[c], mean, rtol=1e-10)
        scatter[c] = (X[y == c] - mean).T @ (X[y == c] - mean) + pull * np.outer(mean - centre, mean - centre)
    expected = (scatter + people * within) / (n + people)[:, None, None]
    if family == "EEE":  # one matrix, with the prior once, and with each mean's
        expected = np.tile((scatter.sum(axis=0) + people * within) / (140 + people + 2), (3, 1, 1))
    if family == "VVI":
        expected *= np.eye(4)
    if family == "VII":
        expected = np.eye(4) * np.trace(expected, axis1=1, axis2=2)[:, None, None] / 4
    np.testing.assert_allclose(found.covariances_, expected, rtol=1e-9, atol=1e-12)


def test_few_people_in_many_traits():
    X, y = load_wine(return_X_y=True)  # 35 people of three classes in 13 traits to learn from
    splits = StratifiedShuffleSplit(6, train_size=0.2, random_state=0)
    right = {
        name: cross_val_score(classifier, X, y, cv=splits).mean()
        for name, classifier in {
            "shrunk": MixtureClassifier(covariance="VVV"),
            "not": MixtureClassifier(covariance="VVV", priors=bg.Priors()),
            "any family": MixtureClassifier(),
            "mixtures": MixtureClassifier(method="mclustda", covariance=["VVI", "EEE"], n_components=[1, 2]),
        }.items()
    }
    assert right["shrunk"] > 0.92 > 0.8 > right["not"]
    assert min(right["any family"], right["mixtures"]) > 0.95


def test_discriminant_analyses_are_special_cases(iris):
    X, y = iris[0], np.array(["se", "ve", "vi"])[iris[1]]
    X, y = X[20:], y[20:]
    for family, theirs in (
        ("EEE", LinearDiscriminantAnalysis(solver="lsqr")),
        ("VVV", QuadraticDiscriminantAnalysis()),
        ("VVI", GaussianNB(var_smoothing=0.0)),
    ):
        mine = MixtureClassifier(covariance=family, priors="flat").fit(X, y)
        theirs.fit(X, y)
        np.testing.assert_allclose(mine.predict_proba(X), theirs.predict_proba(X), atol=1e-8)
        np.testing.assert_allclose(mine.predict_log_proba(X), theirs.predict_log_proba(X), rtol=1e-8, atol=1e-8)
        assert (mine.predict(X) == theirs.predict(X)).all()


def test_the_best_family_has_the_smallest_bic(iris):
    X, y = iris
    found = MixtureClassifier(covariance="all", priors="flat").fit(X, y)
    table = found.candidates_.set_index("covariance")
    assert table.index.tolist() == list(FAMILIES)
    assert table.index[table["chosen"]].tolist() == ["VEV"] == [table["bic"].idxmin()]
    alone = MixtureClassifier(covariance="VEV", priors="flat").fit(X, y)
    assert found.bic_ == pytest.approx(alone.bic_, rel=1e-12)
    assert alone.n_parameters_ == 36 + EXTRA_PARAMETERS
    assert found.bic_ == pytest.approx(-2 * alone.log_likelihood_ + 38 * np.log(150))
    one = MixtureClassifier(covariance="all").fit(X[:, :1], y)
    assert one.candidates_["covariance"].tolist() == ["E", "V"]


def test_classes_with_missing_traits(iris):
    X, kept = with_holes(iris[0], 0.25)
    y = iris[1][kept]
    own = MixtureClassifier(covariance="VVV", priors="flat").fit(X, y)
    for c in range(3):
        alone = bg.Mixture(1, priors=bg.Priors.flat()).fit(X[y == c]).params
        np.testing.assert_allclose(own.means_[c], alone["means"].values[0], atol=1e-5)
        np.testing.assert_allclose(own.covariances_[c], alone["covariances"].values[0], atol=1e-5)
    X = X[:, :2]
    X, y = X[~np.isnan(X).all(axis=1)], y[~np.isnan(X).all(axis=1)]
    shared = MixtureClassifier(covariance="EEE", priors="flat").fit(X, y)

    patterns = [
        (rows, np.flatnonzero(seen))
        for seen in ([1, 1], [1, 0], [0, 1])
        if (rows := np.flatnonzero((~np.isnan(X) == seen).all(axis=1))).size
    ]

    def densities(means, covariance):
        out = np.zeros((len(X), 3))
        for rows, o in patterns:
            for c in range(3):
                out[rows, c] = multivariate_normal(means[c][o], covariance[np.ix_(o, o)]).logpdf(X[np.ix_(rows, o)])
        return out

    at = densities(shared.means_, shared.covariances_[0]) + np.log(shared.class_prior_)
    np.testing.assert_allclose(shared.predict_joint_log_proba(X), at, atol=1e-9)

    def loss(flat):
        root = np.array([[np.exp(flat[6]), 0.0], [flat[7], np.exp(flat[8])]])
        return -densities(flat[:6].reshape(3, 2), root @ root.T)[np.arange(len(X)), y].sum()

    root = np.linalg.cholesky(shared.covariances_[0])
    mode = np.concatenate((shared.means_.ravel(), [np.log(root[0, 0]), root[1, 0], np.log(root[1, 1])]))
    slope = minimize(loss, mode, method="BFGS", options={"maxiter": 0}).jac
    assert np.abs(slope).max() < 1e-2
    assert minimize(loss, mode, method="Nelder-Mead", options={"maxiter": 150}).fun > loss(mode) - 1e-7
    nothing = np.full((1, 2), np.nan)
    np.testing.assert_allclose(shared.predict_proba(nothing)[0], shared.class_prior_)


def test_weighted_people_and_given_shares_of_classes(iris):
    X, y = iris
    times = np.random.default_rng(2).integers(0, 4, len(X))
    for options in ({"covariance": "VEE"}, {"method": "mclustda", "covariance": "EEE", "n_components": 1}):
        weighed = MixtureClassifier(**options).fit(X, y, sample_weight=times)
        repeated = MixtureClassifier(**options).fit(X.repeat(times, axis=0), y.repeat(times))
        np.testing.assert_allclose(weighed.predict_proba(X), repeated.predict_proba(X), atol=1e-8)
        assert weighed.bic_ == pytest.approx(repeated.bic_, rel=1e-10)
    known = MixtureClassifier(class_prior=[0.8, 0.1, 0.1]).fit(X, y)
    share = known.predict_joint_log_proba(X) - MixtureClassifier().fit(X, y).predict_joint_log_proba(X)
    np.testing.assert_allclose(share, np.tile(np.log([2.4, 0.3, 0.3]), (150, 1)), atol=1e-10)


def test_classes_with_heavy_tails():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.standard_t(3, size=(200, 2)), rng.standard_t(3, size=(200, 2)) + np.array([2.5, 0.0])])
    y = np.repeat([0, 1], 200)
    own = MixtureClassifier(covariance="VVV", df="each", priors="flat").fit(X, y)
    for c in range(2):
        alone = bg.Mixture(1, df="each", priors=bg.Priors.flat()).fit(X[y == c]).params
        np.testing.assert_allclose(own.means_[c], alone["means"].values[0], atol=1e-4)
        np.testing.assert_allclose(own.covariances_[c], alone["covariances"].values[0], atol=1e-3)
    strayed = X.copy()
    strayed[:3] = 60.0
    robust, gaussian = (MixtureClassifier(covariance="EEE", df=df).fit(strayed, y) for df in (4.0, None))
    assert robust.score(X, y) > 0.8 > gaussian.score(X, y)
    assert np.abs(robust.means_[0]).max() < 0.2 < 0.8 < np.abs(gaussian.means_[0]).min()


# -- a mixture a class ------------------------------------------------------------------------------


def test_mclustda_is_mclusts(iris):
    # mclust 6.0.0, MclustDA(iris): EEE,2 for setosa, one Gaussian for the others; log likelihood -172.813516794618 on
    # 47 parameters, 3 errors. Its tolerance leaves 1e-4 of the log likelihood.
    X, y = iris
    found = MixtureClassifier(method="mclustda", covariance="all", n_components=[1, 2], priors="flat").fit(X, y)
    chosen = found.candidates_[found.candidates_["chosen"]]
    assert chosen["n_components"].tolist() == [2, 1, 1]
    assert chosen["covariance"].tolist() == ["EEE", "EEE", "EEE"]
    assert -172.813516794618 - 1e-8 < found.score_samples(X).sum() < -172.8133
    assert found.n_parameters_ == 47 + EXTRA_PARAMETERS
    assert (found.predict(X) != y).sum() == 3
    assert found.candidates_.groupby("class")["bic"].min().tolist() == pytest.approx(chosen["bic"].tolist())


def test_mixtures_of_classes_are_the_librarys_fits(iris):
    X, y = iris[0], np.array(["setosa", "versicolor", "virginica"])[iris[1]]
    found = MixtureClassifier(method="mclustda", n_components=2, covariance="EEE", priors=bg.Priors()).fit(X, y)
    densities = []
    for name in found.classes_:
        fit = bg.Mixture(2, "EEE").fit(X[y == name])
        np.testing.assert_allclose(found.fits_[name].params["means"].values, fit.params["means"].values, rtol=1e-12)
        densities.append(fit.score_samples(X).values)
        draws = fit.simulate(40_000, seed=1).drop(columns="component").to_numpy()
        c = found.classes_.tolist().index(name)
        np.testing.assert_allclose(draws.mean(axis=0), found.means_[c], atol=0.02)
        np.testing.assert_allclose(np.cov(draws.T), found.covariances_[c], atol=0.02)
    joint = np.transpose(densities) - np.log(3.0)
    np.testing.assert_allclose(found.predict_joint_log_proba(X), joint, atol=1e-10)


def test_a_class_that_is_two_clouds():
    rng = np.random.default_rng(0)
    where = rng.integers(0, 3, 900)
    X = rng.normal(size=(900, 2)) + 5.0 * np.array([[-1, 0], [0, 0], [1, 0]])[where]
    y = (where == 1).astype(int)  # the class 0 lies on both sides of 1
    one = MixtureClassifier(covariance="EEE").fit(X, y).score(X, y)
    several = MixtureClassifier(method="mclustda", covariance="EII").fit(X, y)
    assert {c: fit.problem.n_components for c, fit in several.fits_.items()} == {0: 2, 1: 1}
    assert several.score(X, y) > 0.98 > 0.7 > one


def test_classes_of_few_people():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(43, 6)) + 3.0 * np.repeat([0, 1], [40, 3])[:, None]
    y = np.repeat(["many", "few"], [40, 3])
    few = MixtureClassifier(method="mclustda", covariance="VVV", n_components=1)
    stated = clone(few).set_params(priors=bg.Priors())
    with pytest.warns(FitWarning, match="class 'few': there are too few people for 6 traits"):
        found = stated.fit(X, y)
    apart = np.concatenate([X[y == c] - X[y == c].mean(axis=0) for c in ("few", "many")])
    np.testing.assert_allclose(found.fits_["few"].problem.priors.scale, apart.T @ apart / 41, rtol=1e-10)
    X[y == "few", 2] = 7.0  # constant in one class
    with pytest.warns(FitWarning, match="class 'few'"):
        assert np.isfinite(stated.fit(X, y).predict_log_proba(X)).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert few.fit(X, y).score(X, y) == 1.0
        assert MixtureClassifier().fit(X[36:], y[36:]).score(X[36:], y[36:]) == 1.0
    with pytest.warns(FitWarning, match="the variances alone"):
        wide = MixtureEstimator(2).fit(X[:5])
    assert np.isfinite(wide.score_samples(X)).all()


def test_genotypes_are_called_from_intensities(data_dir):
    # calls of new people by people whose calls are known; people have up to three scans, so whole people are left out
    folder = data_dir / "geno_illumina_hapmap"
    x, y, calls = (pd.read_csv(folder / f"{name}.csv.gz", index_col=0).T for name in ("x", "y", "genotype_calls"))
    people = pd.read_csv(folder / "samples.csv").set_index("scanID").loc[calls.index.astype(int), "subjectID"]
    counts = calls.apply(lambda snp: snp.value_counts().reindex([0, 1, 2]).fillna(0))
    chosen = counts.columns[(counts >= 8).all()][::40]
    wrong = called = 0
    for snp in chosen:
        known = calls[snp].notna().to_numpy()
        traits, genotype = np.column_stack((x[snp], y[snp]))[known], calls.loc[known, snp].to_numpy(dtype=int)
        groups = people.to_numpy()[known]
        predicted = cross_val_predict(
            MixtureClassifier(covariance="VVV"), traits, genotype, groups=groups, cv=GroupKFold(4)
        )
        wrong += int((predicted != genotype).sum())
        called += len(genotype)
    assert called > 2000
    assert wrong <= 2


# -- refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimator", "told"),
    [
        (MixtureEstimator(0), "n_components = 0"),
        (MixtureEstimator(covariance="XYZ"), "covariance = 'XYZ'"),
        (MixtureEstimator(priors="weak"), "priors = 'weak'; it must be 'flat', 'jeffreys'"),
        (MixtureEstimator(priors="flat", components_strength=1.0), "hyperparameter 'components.strength'"),
        (MixtureEstimator(restarts=0), "restarts = 0"),
        (MixtureClassifier(method="lda"), "method = 'lda'; it must be one of 'edda', 'mclustda'"),
        (MixtureClassifier(n_components=2), "a class is one Gaussian; use method = 'mclustda'"),
        (MixtureClassifier(method="mclustda", n_components=[]), "n_components = "),
        (MixtureClassifier(covariance=["VVV", "wide"]), "covariance = 'wide'"),
        (MixtureClassifier(covariance=[]), "covariance names no family"),
        (MixtureClassifier(class_prior=[0.5, 0.6, 0.1]), "class_prior = .*3 probabilities that sum to one"),
        (MixtureClassifier(method="mclustda", n_components=60), "class 0 cannot be fitted: n_components = 60"),
    ],
)
def test_refusals_name_the_argument(iris, estimator, told):
    with pytest.raises(InputError, match=told):
        estimator.fit(*iris)


def test_classes_that_cannot_be_fitted_are_refused(iris):
    X, y = iris[0][:, :2], np.minimum(np.arange(150), 2)
    with pytest.raises(InputError, match="the smallest class has 1 people for 2 trait"):
        MixtureClassifier(covariance="VVV", priors="flat").fit(X, y)
    for method in ("edda", "mclustda"):
        X, y = iris[0].copy(), iris[1]
        X[y == 1, 2] = np.nan
        with pytest.raises(InputError, match="class 1 has nobody with the trait 'trait2'"):
            MixtureClassifier(method=method).fit(X, y)
    with pytest.raises(ValueError, match=r"[Ss]ample.weight"):
        MixtureEstimator().fit(X, sample_weight=np.zeros(150))
