"""Public data with known answers: log likelihoods of mclust from a stated partition, and of the literature.

The answers were made with mclust 6.0.0 in R 4.2.2: ``me(y, family, unmap(classes), control = emControl(tol = c(1e-14,
1e-14), itmax = c(1e5, 1e5)))`` without prior, ``mvn`` for one component, and ``nMclustParams`` for the parameters.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_wine

import bayesgmm as bg
from bayesgmm.core.families import FAMILIES
from bayesgmm.errors import InputError

# fmt: off
# acidity index of lakes in Wisconsin, log(ANC + 50): Crawford 1994, J. Amer. Statist. Assoc. 89:259; mclust's acidity
ACIDITY = (
    2.928524, 3.910021, 3.732896, 3.688879, 3.822098, 3.735286, 4.143135, 4.276666, 3.931826, 4.077537, 4.779123,
    4.234107, 4.276666, 4.543295, 6.467388, 4.127134, 3.977811, 4.264087, 4.007333, 3.921973, 5.384495, 4.912655,
    4.046554, 4.043051, 4.406719, 4.50535, 3.931826, 6.75227, 6.928538, 5.99446, 4.248495, 4.060443, 4.727388,
    6.047372, 4.082609, 4.2442, 4.890349, 4.416428, 5.743003, 4.127134, 5.489764, 4.778283, 5.249652, 4.855929,
    4.128746, 4.442651, 4.025352, 4.290459, 4.593098, 4.652054, 4.178992, 4.382027, 5.569489, 5.049856, 4.188138,
    6.629363, 4.647271, 4.784989, 4.348987, 5.361292, 4.574711, 4.442651, 6.120297, 4.060443, 4.143135, 4.51086,
    6.049733, 4.51086, 4.406719, 6.34388, 4.430817, 5.929589, 5.973301, 4.481872, 4.301359, 6.45268, 4.204693,
    4.143135, 6.603944, 4.644391, 5.863631, 4.025352, 5.717028, 5.308268, 6.267201, 4.060443, 5.01728, 4.51086,
    5.834811, 4.330733, 4.007333, 6.806829, 5.257495, 4.624973, 4.781641, 4.099332, 7.044382, 3.914021, 4.330733,
    4.016383, 5.572154, 4.043051, 4.843399, 4.110874, 4.454347, 4.356709, 6.154858, 6.284321, 6.978214, 4.301359,
    5.929855, 4.465908, 6.035481, 6.726473, 7.10513, 6.014937, 4.882802, 7.032095, 4.518522, 6.476665, 6.125558,
    4.189655, 5.323498, 4.938065, 6.313548, 5.853925, 6.278146, 7.020191, 5.023881, 4.26268, 6.725634, 6.489205,
    5.743003, 6.739337, 6.466145, 6.855409, 5.120983, 5.913773, 6.516932, 4.058717, 6.213608, 6.554218, 6.155707,
    4.314818, 6.662494, 6.749931, 6.100319, 4.112512, 6.946014, 4.131961, 6.234411, 6.595781, 6.683861, 6.957973,
    4.497585,
)
# velocities of galaxies (km/s): Roeder 1990, J. Amer. Statist. Assoc. 85:617; MASS's galaxies, where 26690 was long
# misprinted 26960
GALAXIES = (
    9172, 9350, 9483, 9558, 9775, 10227, 10406, 16084, 16170, 18419, 18552, 18600, 18927, 19052, 19070, 19330,
    19343, 19349, 19440, 19473, 19529, 19541, 19547, 19663, 19846, 19856, 19863, 19914, 19918, 19973, 19989, 20166,
    20175, 20179, 20196, 20215, 20221, 20415, 20629, 20795, 20821, 20846, 20875, 20986, 21137, 21492, 21701, 21814,
    21921, 21960, 22185, 22209, 22242, 22249, 22314, 22374, 22495, 22746, 22747, 22888, 22914, 23206, 23241, 23263,
    23484, 23538, 23542, 23666, 23706, 23711, 24129, 24285, 24289, 24366, 24717, 24990, 25633, 26690, 26995, 32065,
    32789, 34279,
)
# unemployment of 31 countries in 2014, total, of the young, of long term (%): mclust's EuroUnemployment
UNEMPLOYMENT = (
    (8.5, 23.2, 4.3), (11.4, 23.8, 6.9), (6.1, 15.9, 2.7), (6.6, 12.6, 1.7), (5, 7.7, 2.2), (7.4, 15, 3.3),
    (11.3, 23.9, 6.7), (26.5, 52.4, 19.5), (24.5, 53.2, 12.9), (10.3, 24.1, 4.4), (17.3, 45.5, 10.1),
    (12.7, 42.7, 7.8), (16.1, 35.9, 7.7), (10.8, 19.6, 4.7), (10.7, 19.3, 4.8), (5.9, 21.2, 1.6), (7.7, 20.4, 3.7),
    (5.9, 11.8, 2.7), (7.4, 12.7, 3), (5.6, 10.3, 1.5), (9, 23.9, 3.8), (14.1, 34.7, 8.4), (6.8, 24, 2.8),
    (9.7, 20.2, 5.3), (13.2, 29.7, 9.3), (8.7, 20.5, 1.9), (7.9, 22.9, 1.5), (6.1, 16.9, 2.2), (5, 10, 0.6),
    (3.5, 7.9, 0.8), (9.9, 18, 2),
)
# Pearson 1894, Phil. Trans. A 185:71: forehead to body length of 1000 crabs of Naples, in classes of width 0.004
CRABS = (1, 3, 5, 2, 7, 10, 13, 19, 20, 25, 40, 31, 60, 62, 54, 74, 84, 86, 96, 85, 75, 47, 43, 24, 19, 9, 5, 0, 1)
# mclust's hierarchical start of the wines: hclass(hc(y, modelName = "VVV", use = "SVD"), 3)
WINE_HIERARCHY = (
    "11111111111111111111111111111111111111111111111111111111111222222222223222222222222322222"
    "22222223222222222222222222222322222222222333333333333333333333333333233333333333333333333"
)

# family, log likelihood, parameters. Rows that mclust cannot fit are absent. So are three that go to another mode than
# mclust from the start although our first M step is the better one (its expected log likelihood is the higher): EVE and
# VVE of wdbc10, VVE of unemployment with 3. VVE is a lower bound everywhere: mclust's M step is not monotone.
# VEE of wdbc10 was run at tol = c(1e-13, 1e-8), itmax = c(1e4, 1e3): at the tighter ones mclust does not come back.
KNOWN = {
    ("galaxies", 1): """
        E -240.337891196 2, V -240.337891196 2
    """,
    ("galaxies", 2): """
        E -230.352387388 4, V -220.243277152 5
    """,
    ("galaxies", 3): """
        E -212.351855180 6, V -212.080404255 8
    """,
    ("galaxies", 4): """
        E -207.722330039 8, V -199.252693965 11
    """,
    ("galaxies", 5): """
        E -204.605409682 10, V -197.411606034 14
    """,
    ("galaxies", 6): """
        E -204.605409682 12, V -195.167211331 17
    """,
    ("acidity", 1): """
        E -225.785365442 2, V -225.785365442 2
    """,
    ("acidity", 2): """
        E -185.949264496 4, V -187.234513217 5
    """,
    ("acidity", 3): """
        E -183.178261156 6, V -178.754397146 8
    """,
    ("acidity", 4): """
        E -183.178261156 8, V -176.183198511 11
    """,
    ("acidity", 5): """
        E -175.117764685 10
    """,
    ("unemployment", 2): """
        EII -281.076582967 8, VII -276.569990586 9, EEI -266.807895086 10, VEI -256.236563652 11,
        EVI -265.900907023 12, VVI -255.762039761 13, EEE -228.870783831 13, VEE -223.647249170 14,
        VVE -224.748468663 16, EEV -222.694345652 16, VEV -224.221161225 17, EVV -219.201913453 18,
        VVV -222.689139108 19
    """,
    ("unemployment", 3): """
        EII -269.573333211 12, VII -246.921687215 14, EEI -263.450807915 14, VEI -238.849805855 16,
        EVI -236.869999640 18, VVI -234.784915445 20, EEE -226.267726814 17, VEE -215.926640074 19,
        EVE -224.749847074 21, EEV -219.905054871 23, VEV -210.432581748 25, VVV -206.295128001 29
    """,
    ("wdbc3", 2): """
        EII -11563.864726064 8, VII -11164.081408710 9, EEI -4580.397145129 10, VEI -4545.360169531 11,
        EVI -4498.701143355 12, VVI -4455.262876535 13, EEE -4568.789619867 13, VEE -4541.667648993 14,
        EVE -4490.501397527 15, VVE -4448.697559316 16, EEV -4563.787138621 16, VEV -4538.210334993 17,
        EVV -4486.925088160 18, VVV -4445.959352621 19
    """,
    ("wdbc3", 3): """
        EII -11145.617916709 12, VII -10728.595086874 14, EEI -4561.815180976 14, VEI -4487.580121009 16,
        EVI -4456.397759768 18, VVI -4425.872044254 20, EEE -4548.036722029 17, VEE -4483.042799046 19,
        EVE -4475.063226346 21, VVE -4417.815656394 23, EEV -4528.650312544 23, VEV -4476.424184130 25,
        EVV -4469.089455407 27, VVV -4411.806920591 29
    """,
    ("wine", 3): """
        EII -11496.283709783 42, VII -11183.517399090 44, EEI -3422.790093273 54, VEI -3387.248020855 56,
        EVI -3309.978745345 78, VVI -3294.261876207 80, EEE -3171.229277947 132, VEE -3134.052551235 134,
        EVE -3040.564668497 156, VVE -3014.814385037 158, EEV -2920.346313766 288, VEV -2865.226477740 290,
        EVV -2843.225294728 312, VVV -2781.244128168 314
    """,
    ("wdbc10", 2): """
        EII -31772.049339331 22, VII -30971.490196482 23, EEI -1222.929399861 31, VEI -911.646665776 32,
        EVI -1110.004582222 40, VVI -756.776578958 41, EEE 3254.581252113 76, EEV 3905.484308388 121,
        VEV 3961.851355627 122, EVV 4069.724289010 130, VVV 4164.621087780 131, VEE 3730.341496847 77
    """,
}
# fmt: on
ROWS = [
    (data, k, family, float(log_likelihood), int(df))
    for (data, k), table in KNOWN.items()
    for family, log_likelihood, df in (row.split() for row in table.split(","))
]
THREE = ["mean texture", "worst area", "worst smoothness"]


def equal_counts(y, k):
    """Classes of equal counts, ties in the order of the rows."""
    return np.argsort(np.argsort(y, kind="stable"), kind="stable") * k // len(y)


def public(data, k):
    """Traits and starting classes."""
    if data == "galaxies":
        y = np.array(GALAXIES) / 1000.0
        return y, equal_counts(y, k)
    if data == "acidity":
        return np.array(ACIDITY), equal_counts(np.array(ACIDITY), k)
    if data == "unemployment":
        y = np.array(UNEMPLOYMENT)
        return y, equal_counts(y[:, 0], k)
    if data == "wine":
        return load_wine(return_X_y=True)
    cancer = load_breast_cancer(as_frame=True)
    y = cancer.data[THREE if data == "wdbc3" else list(cancer.data.columns[:10])].to_numpy()
    # two classes are the diagnoses; three are of the area of the largest nuclei
    return y, 1 - cancer.target.to_numpy() if k == 2 else equal_counts(y[:, 1], k)


def fitted(data, k, family):
    y, classes = public(data, k)
    return bg.Mixture(k, covariance=family, priors=bg.Priors.flat()).fit(y, init=classes)


def log_likelihood_of(params, y):
    """Log likelihood by the formula, each trait in units of the component's standard deviation."""
    joint = []
    for weight, mean, covariance in zip(
        params["weights"].values, params["means"].values, params["covariances"].values, strict=True
    ):
        sd = np.sqrt(np.diag(covariance))
        root = np.linalg.cholesky(covariance / np.outer(sd, sd))
        z = np.linalg.solve(root, ((y.reshape(len(y), -1) - mean) / sd).T)
        log_volume = np.log(sd).sum() + np.log(np.diag(root)).sum()
        joint.append(np.log(weight) - 0.5 * (z**2).sum(axis=0) - log_volume - 0.5 * len(mean) * np.log(2.0 * np.pi))
    return np.logaddexp.reduce(joint).sum()


def assert_of_family(covariances, family):
    """Volume, shape and orientation are equal where the letters say so."""
    if covariances.shape[1] == 1:
        family = {"E": "EII", "V": "VII"}[family]
    values = np.linalg.eigvalsh(covariances)
    volume = np.exp(np.log(values).mean(axis=1, keepdims=True))
    if family[0] == "E":
        np.testing.assert_allclose(volume, volume.mean(), rtol=1e-6)
    shape = values / volume
    if family[1] == "I":
        np.testing.assert_allclose(shape, 1.0, rtol=1e-6)
    elif family[1] == "E":
        np.testing.assert_allclose(shape, np.broadcast_to(shape.mean(axis=0), shape.shape), rtol=1e-3)
    if family[2] == "V":
        return
    axes = np.eye(len(values[0]))
    if family[2] == "E":
        axes = np.linalg.eigh((covariances / volume[:, :, None]).mean(axis=0))[1]
    turned = axes.T @ covariances @ axes
    sd = np.sqrt(np.diagonal(turned, axis1=1, axis2=2))
    correlations = turned / (sd[:, :, None] * sd[:, None, :]) - np.eye(len(axes))
    assert np.abs(correlations).max() < 1e-3


def test_every_family_has_a_row():
    for data, k in (("wine", 3), ("wdbc3", 2), ("wdbc3", 3)):
        assert sorted(row[2] for row in ROWS if row[:2] == (data, k)) == sorted(FAMILIES)
    assert len(ROWS) == 100


@pytest.mark.parametrize(("data", "k", "family", "known", "df"), ROWS, ids=["-".join(map(str, r[:3])) for r in ROWS])
def test_mclust_rows_of_public_data(data, k, family, known, df):
    fit = fitted(data, k, family)
    where = f"{data}, {k} {family}: {fit.log_likelihood} and mclust's {known}"
    assert fit.converged, where
    assert fit.log_likelihood >= known - 1e-6 * abs(known), where
    assert fit.n_parameters == df, where
    # what is claimed is what the returned parameters, of the family, have
    assert fit.log_likelihood == pytest.approx(log_likelihood_of(fit.params, public(data, k)[0]), rel=1e-8), where
    assert_of_family(fit.params["covariances"].values, family)


# -- what the fit says of itself ------------------------------------------------------------------


@pytest.mark.parametrize("family", ["EVE", "VVE", "EEV", "VEV"])
def test_a_trait_of_small_unit_is_no_spike(family):
    # smoothness has an sd of 0.02 and 411 distinct values, area one of 570
    fit = fitted("wdbc3", 2, family)
    assert "spike" not in set(fit.flags["flag"]), fit.flags["message"].tolist()


@pytest.mark.parametrize(
    ("data", "k", "family"),
    [("acidity", 4, "E"), *(("wine", 3, family) for family in ("EVE", "VVE", "EEV", "VEV", "EVV"))],
)
def test_the_gradient_vanishes_at_the_mode_in_the_coordinates_of_the_family(data, k, family):
    fit = fitted(data, k, family)
    _, gradient = fit.problem.arrays.log_posterior_and_gradient(fit.parameters)
    norm, reason = fit.gradient_norm, fit.reason
    assert np.abs(gradient).max() < 0.1
    assert norm < 0.1, reason


# -- the literature -------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "family", "deviance"), [(1, "V", 480.83), (3, "E", 425.36), (3, "V", 406.96)])
def test_galaxies_with_the_misprint_have_the_published_deviances(k, family, deviance):
    # Aitkin 2001, Statistical Modelling 1:287; mclust gives 480.8330, 425.3605 and 406.9640 from the same start
    y = np.array(GALAXIES) / 1000.0
    y[y == 26.690] = 26.960
    classes = (y > 15.0).astype(int) + (y > 30.0) if k == 3 else np.zeros(82, dtype=int)
    fit = bg.Mixture(k, covariance=family, priors=bg.Priors.flat()).fit(y, init=classes)
    assert -2.0 * fit.log_likelihood == pytest.approx(deviance, abs=0.006)


@pytest.mark.parametrize(
    ("data", "most", "chosen", "bic"), [("acidity", 5, ("E", 2), -392.0723), ("galaxies", 5, ("V", 4), -446.9829)]
)
def test_bic_chooses_what_mclust_does_in_one_trait(data, most, chosen, bic):
    # acidity: Scrucca, Fraley, Murphy and Raftery 2023, Model-Based Clustering with mclust in R; galaxies: mclust 6.0.0
    fits = {}
    for family in ("E", "V"):
        for k in range(1, most + 1):
            # V with 5 of acidity collapses, in mclust too
            with suppress(InputError):
                fits[family, k] = fitted(data, k, family)
    assert len(fits) >= 9
    best = min(fits, key=lambda name: fits[name].bic)
    assert best == chosen
    # Mclust stops a little early
    assert bic <= -fits[best].bic <= bic + 0.01


def test_bic_chooses_one_orientation_for_the_wines():
    # Scrucca, Fop, Murphy and Raftery 2016, R Journal 8:289: VVE, 3, log likelihood -3015.335, 158 parameters
    y, cultivar = load_wine(return_X_y=True)
    start = np.array(list(WINE_HIERARCHY)).astype(int)
    fits = {f: bg.Mixture(3, covariance=f, priors=bg.Priors.flat()).fit(y, init=start) for f in FAMILIES}
    best = min(fits, key=lambda family: fits[family].bic)
    assert best == "VVE"
    assert fits[best].log_likelihood >= -3015.335
    assert fits[best].n_parameters == 158
    table = np.zeros((3, 3), dtype=int)
    np.add.at(table, (fits[best].predict(y), cultivar), 1)
    # the paper's three classes are the cultivars but for two wines
    assert table.max(axis=0).sum() >= 176


def crabs():
    """Ratios, the middles of the classes that have crabs, and counts."""
    y, counts = 0.5835 + 0.004 * np.arange(29), np.array(CRABS)
    return y[counts > 0], counts[counts > 0]


def test_pearsons_crabs():
    y, counts = crabs()
    fit = bg.Mixture(2, priors=bg.Priors.flat()).fit(y, init=(y > 0.645).astype(int), sample_weight=counts)
    # mclust's me of the 1000 repeated rows
    assert fit.log_likelihood == pytest.approx(2567.578898982, rel=1e-9)
    assert fit.bic == pytest.approx(-2.0 * 2567.578898982 + 5.0 * np.log(1000.0), rel=1e-9)
    found = [*fit.params["weights"].values, *fit.params["means"].values[:, 0]]
    found += list(np.sqrt(fit.params["covariances"].values.ravel()))
    mclust = [0.432729624, 0.567270376, 0.633740200, 0.656579045, 0.018311029, 0.012618973]
    np.testing.assert_allclose(found, mclust, rtol=1e-4)
    # Pearson's own answer by five moments is near the maximum, and below it
    pearson = [0.4145, 0.5855, 0.6326, 0.6566, 0.0179, 0.0125]
    np.testing.assert_allclose(found, pearson, rtol=0.05)
    equal = bg.Mixture(2, covariance="E", priors=bg.Priors.flat()).fit(y, sample_weight=counts)
    assert equal.log_likelihood == pytest.approx(2566.059437310, rel=1e-9)


def test_a_start_covers_the_rows_that_were_given_those_of_weight_zero_too():
    y, counts = crabs()
    mixture = bg.Mixture(2, priors=bg.Priors.flat())
    without = mixture.fit(y, init=(y > 0.645).astype(int), sample_weight=counts)
    y = np.append(y, 0.6915)
    with_nobody = mixture.fit(y, init=(y > 0.645).astype(int), sample_weight=np.append(counts, 0))
    assert with_nobody.log_likelihood == pytest.approx(without.log_likelihood, rel=1e-12)
