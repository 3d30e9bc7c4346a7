"""Priors from earlier studies: formats, matching, scales, discounts; elicitation and frequencies."""

from __future__ import annotations

import gzip
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import linregress, norm

import bayesgmm as bg
from bayesgmm.cards import load_card
from bayesgmm.cli import main
from bayesgmm.errors import DataWarning, InputError
from bayesgmm.io.alleles import align, contig_name

FACTS = pd.DataFrame(
    {
        "contig": ["1", "chr2", "X", "3"],
        "position": [100, 200, 300, 400],
        "effect_allele": ["A", "C", "A", "T"],
        "other_allele": ["G", "T", "T", "TA"],
    },
    index=["rs1", "rs2", "rs3", "rs4"],
)


def made_study(facts: pd.DataFrame | None = FACTS, frequencies=(0.3, 0.4, 0.2, 0.35)) -> bg.Study:
    rng = np.random.default_rng(3)
    n = 400
    index = [f"p{i}" for i in range(n)]
    variants = ["rs1", "rs2", "rs3", "rs4"]
    dosages = pd.DataFrame({v: rng.binomial(2, f, n) for v, f in zip(variants, frequencies, strict=True)}, index)
    age = pd.DataFrame({"age": rng.normal(50, 9, n)}, index)
    return bg.Study(pd.DataFrame({"y": rng.normal(size=n)}, index), dosages, age, variants=facts)


@pytest.fixture(scope="module")
def study() -> bg.Study:
    return made_study()


# one table in every format: rs1 counts the other allele, rs2 is on the other strand, rs3 is A/T, rs4 an indel
BETA = {"rs1": -0.5, "rs2": 0.2, "rs3": 0.1, "rs4": 0.3}
PRIOR = {"rs1": (0.5, 0.1), "rs2": (0.2, 0.05), "rs3": (0.0, 1.0), "rs4": (0.3, 0.2)}
SE = {"rs1": 0.1, "rs2": 0.05, "rs3": 0.02, "rs4": 0.2}
SSF = (
    "chromosome\tbase_pair_location\teffect_allele\tother_allele\tbeta\tstandard_error\teffect_allele_frequency\t"
    "p_value\tvariant_id\trsid\n"
    "1\t100\tG\tA\t-0.5\t0.1\t0.7\t1e-6\t1_100_A_G\trs1\n2\t200\tG\tA\t0.2\t0.05\t0.4\t0.1\t2_200_C_T\trs2\n"
    "23\t300\tA\tT\t0.1\t0.02\t0.2\t0.1\t23_300_A_T\trs3\n3\t400\tT\tTA\t0.3\t0.2\t0.35\t0.1\t3_400_T_TA\trs4\n"
    "9\t900\tA\tC\tnan\t0\t#NA\t0.1\t9_900_A_C\t#NA\n"
)
ORS = {v: float(np.exp(b)) for v, b in BETA.items()}
PLINK = (
    "#CHROM\tPOS\tID\tREF\tALT\tA1\tFIRTH?\tTEST\tOBS_CT\tOR\tLOG(OR)_SE\tZ_STAT\tP\tERRCODE\n"
    f"1\t100\trs1\tA\tG\tG\tN\tADD\t400\t{ORS['rs1']!r}\t0.1\t-5\t1e-6\t.\n1\t100\trs1\tA\tG\tG\tN\tage\t400\t9\t1\t1\t0.1\t.\n"
    f"2\t200\trs2\tG\tA\tG\tN\tADD\t400\t{ORS['rs2']!r}\t0.05\t4\t1e-4\t.\n"
    f"X\t300\trs3\tA\tT\tA\tN\tADD\t400\t{ORS['rs3']!r}\t0.02\t5\t1e-6\t.\n"
    f"3\t400\trs4\tTA\tT\tT\tY\tADD\t400\t{ORS['rs4']!r}\t0.2\t1.5\t0.1\t.\n"
)
MA = "SNP A1 A2 freq b se p N\nrs1 G A 0.7 -0.5 0.1 1e-6 99\nrs2 g a 0.4 0.2 0.05 1e-4 99\n"
MA += "rs3 A T 0.2 0.1 0.02 0.1 99\nrs4 T TA 0.35 0.3 0.2 0.1 99\n"
MLMA = (
    "Chr\tSNP\tbp\tA1\tA2\tFreq\tb\tse\tp\n1\trs1\t100\tG\tA\t.7\t-.5\t.1\t1e-6\n2\trs2\t200\tG\tA\t.4\t.2\t.05\t1e-4\n"
)
MLMA += "23\trs3\t300\tA\tT\t.2\t.1\t.02\t.1\n3\trs4\t400\tT\tTA\t.35\t.3\t.2\t.1\n"
GEMMA = "chr rs ps n_miss allele1 allele0 af beta se p_wald\n1 rs1 100 0 G A 0.7 -0.5 0.1 1e-6\n"
GEMMA += "2 rs2 200 0 G A 0.4 0.2 0.05 0.1\nX rs3 300 0 A T 0.2 0.1 0.02 .1\n3 rs4 400 0 T TA 0.3 0.3 0.2 .1\n"
REGENIE = "CHROM GENPOS ID ALLELE0 ALLELE1 A1FREQ N TEST BETA SE CHISQ LOG10P EXTRA\n"
REGENIE += "1 100 rs1 A G 0.7 9 ADD -0.5 0.1 25 6 NA\n"
REGENIE += "2 200 rs2 A G 0.4 9 ADD 0.2 0.05 16 4 NA\n23 300 rs3 T A .2 9 ADD 0.1 0.02 1 1 NA\n"
REGENIE += "3 400 rs4 TA T .3 9 ADD 0.3 0.2 2 1 NA\n"
CSV = "MarkerName,EA,NEA,Effect,StdErr\nrs1,G,A,-0.5,0.1\nrs2,G,A,0.2,0.05\nrs3,A,T,0.1,0.02\nrs4,T,TA,0.3,0.2\n"
NAMED = {"id": "MarkerName", "effect_allele": "EA", "other_allele": "NEA", "beta": "Effect", "standard_error": "StdErr"}
PLINK19 = " CHR  SNP   BP  A1  TEST  NMISS  OR   SE  L95  U95  STAT  P\n"
PLINK19 += f"   1  rs1  100   G   ADD  400  {ORS['rs1']!r}  0.1 0 0 -5 1e-6\n"
PLINK19 += f"   2  rs2  200   G  ADD  400  {ORS['rs2']!r} 0.05 0 0 4 1e-4\n"
PLINK19 += f"   X  rs3  300   A   ADD  400  {ORS['rs3']!r} 0.02 0 0  5 1e-6\n"
PLINK19 += f"   3  rs4  400   T  ADD  400  {ORS['rs4']!r} 0.2 0 0 1 .1\n"
FORMATS = {
    "GWAS-SSF": (SSF, "tsv", None),
    "PLINK 2 .glm": (PLINK, "glm.logistic.hybrid", None),
    "PLINK 1.9 .assoc": (PLINK19, "assoc.logistic", None),
    "GCTA": (MA, "ma", None),
    "GCTA ": (MLMA, "mlma", None),
    "GEMMA .assoc": (GEMMA, "assoc.txt", None),
    "REGENIE": (REGENIE, "regenie", None),
    "columns as given": (CSV, "csv", NAMED),
}


def quiet(*arguments, **options) -> bg.EarlierEffects:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return bg.read_earlier_effects(*arguments, **options)


def check_prior(earlier: bg.EarlierEffects, expected=PRIOR, rtol=1e-12) -> None:
    for predictor, (mean, sd) in expected.items():
        np.testing.assert_allclose((earlier.prior.mean[predictor], earlier.prior.sd[predictor]), (mean, sd), rtol=rtol)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_the_same(name, tmp_path, study):
    text, ending, columns = FORMATS[name]
    path = tmp_path / f"earlier.{ending}.gz"
    with gzip.open(path, "wt") as handle:
        handle.write(text)
    with pytest.warns(DataWarning, match=r"1 of 4 variants keep the default prior, dropped: 'rs3 \(A/T is strand"):
        earlier = bg.read_earlier_effects(path, study, columns=columns)
    assert earlier.format == name.strip()
    check_prior(earlier)
    table = earlier.table.set_index("predictor")
    assert table["status"].tolist() == ["used", "used", "dropped", "used"]
    assert table["flipped"].tolist() == [True, False, False, False]
    assert table["other_strand"].tolist() == [False, True, False, False]
    assert table["ambiguous"].tolist() == [False, False, True, False]


def test_by_position_chromosomes_have_many_names(tmp_path, study):
    for text in (SSF, SSF.replace("\n1\t", "\nchr1\t").replace("\n23\t", "\nchrX\t").replace("\n2\t", "\n02\t")):
        (tmp_path / "t.tsv").write_text(text)
        earlier = quiet(tmp_path / "t.tsv", study, match="position", ambiguous="keep")
        check_prior(earlier, PRIOR | {"rs3": (0.1, 0.02)})
    assert {contig_name(c) for c in ("chr1", "1", "01", 1, 1.0)} == {"1"}
    assert {contig_name(c) for c in ("CHRX", "x", "23", 23.0)} == {"X"}
    assert {contig_name(c) for c in ("chrM", "MT", 25, "26")} == {"MT"}
    with pytest.raises(InputError, match="none of its 5 rows is of a variant of the study; sought by position: 'rs1'"):
        quiet(tmp_path / "t.tsv", made_study(FACTS.assign(position=FACTS["position"] + 1)), match="position")


def frame(**changes) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "id": list(BETA),
            "effect_allele": ["G", "G", "A", "T"],
            "other_allele": ["A", "A", "T", "TA"],
            "effect_allele_frequency": [0.7, 0.4, 0.2, 0.35],
            "beta": list(BETA.values()),
            "standard_error": list(SE.values()),
            "p_value": [2 * norm.sf(abs(BETA[v] / SE[v])) for v in BETA],
        }
    )
    return table.assign(**changes)


def test_discount_heterogeneity_and_initial_prior(study):
    earlier = quiet(frame(), study, discount=0.25, heterogeneity=0.3)
    check_prior(earlier, {"rs1": (0.5, np.hypot(0.2, 0.3)), "rs2": (0.2, np.hypot(0.1, 0.3)), "rs3": (0.0, 1.0)})
    vague = quiet(frame(standard_error=5.0), study)
    assert vague.prior.sd["rs1"] == 5.0
    assert "vaguer than the default prior's 1" in vague.summary
    base = bg.LogOddsNormal(sd=0.5, mean={"rs1": 0.1})
    both = quiet(frame(), study, discount=0.25, initial="default", default=base)
    # normal times normal, by brute force on a grid
    grid = np.linspace(-3, 3, 200_001)
    density = norm.pdf(grid, 0.5, 0.2) * norm.pdf(grid, 0.1, 0.5)
    density /= density.sum()
    mean = density @ grid
    check_prior(both, {"rs1": (mean, np.sqrt(density @ (grid - mean) ** 2)), "rs3": (0.0, 0.5)}, rtol=1e-6)


def test_predictors_that_are_not_one_variant_keep_the_default(study):
    formula = "rs1 + age + rs2 * age + additive(rs4)"
    with pytest.warns(DataWarning, match="not in the table: 'additive"):
        earlier = bg.read_earlier_effects(frame()[:3], study, weights=formula, default=bg.LogOddsNormal(sd=0.7))
    table = earlier.table.set_index("predictor")
    assert table.loc["rs1", "status"] == "used"
    assert table.loc["age", "reason"] == "a covariate"
    assert table.loc["rs2", "reason"] == "rs2 is in 2 columns, rs2, rs2:age"
    assert table.loc["additive(rs4)", "status"] == "not in the table"
    assert (table["sd"].drop("rs1") == 0.7).all()
    # the prior has a place for every predictor of the model, and no other
    fit = bg.Mixture(2, weights=formula, priors=bg.Priors(effects=earlier.prior)).fit(study, restarts=2)
    np.testing.assert_allclose(fit.problem.priors.effect_sd, table["sd"])
    np.testing.assert_allclose(fit.problem.priors.effect_mean[:, 0], table["mean"])


def test_repr_says_it_in_words(study):
    earlier = quiet(frame(), study, discount=0.5, heterogeneity=0.1)
    said = repr(earlier)
    assert "3 of 4 predictors take their prior from it (1 flipped, 1 on the other strand)." in said
    assert "rs3: dropped (A/T is strand ambiguous), keeps the default prior." in said
    assert "each earlier standard error s becomes the sd sqrt(s^2 / 0.5 + 0.1^2)" in said
    assert "<table" in earlier._repr_html_()
    with pytest.raises(AttributeError):
        earlier.table = earlier.table


def test_ambiguous_alleles_by_frequency(study):
    drop = ["rs1", "rs2", "rs4"]
    far = quiet(frame(), study, ambiguous="frequency")
    check_prior(far, {"rs3": (0.1, 0.02)})
    turned = quiet(frame(effect_allele_frequency=[0.7, 0.4, 0.8, 0.35]), study, ambiguous="frequency")
    check_prior(turned, {"rs3": (-0.1, 0.02)})
    assert turned.table.set_index("predictor").loc["rs3", "flipped"]
    near = quiet(frame(effect_allele_frequency=[0.7, 0.4, 0.45, 0.35]), study, ambiguous="frequency")
    assert "too near 0.5" in near.table.set_index("predictor").loc["rs3", "reason"]
    lacking = quiet(frame().drop(columns="effect_allele_frequency"), study, ambiguous="frequency")
    assert "(unknown, 0." in lacking.table.set_index("predictor").loc["rs3", "reason"]
    assert (near.table.set_index("predictor").loc[drop, "status"] == "used").all()


def test_standard_errors_from_the_p_value_and_the_interval(study):
    check_prior(quiet(frame().drop(columns="standard_error"), study), rtol=1e-9)
    from_log = frame().drop(columns="standard_error").assign(p_value=None)
    from_log["neg_log_10_p_value"] = [-(norm.logsf(abs(b / SE[v])) + np.log(2)) / np.log(10) for v, b in BETA.items()]
    check_prior(quiet(from_log.drop(columns="p_value"), study), rtol=1e-9)
    z = norm.ppf(0.975)
    interval = pd.DataFrame(
        {
            "id": list(BETA),
            "effect_allele": ["G", "G", "A", "T"],
            "other_allele": ["A", "A", "T", "TA"],
            "odds_ratio": [np.exp(b) for b in BETA.values()],
            "ci_lower": [np.exp(b - z * SE[v]) for v, b in BETA.items()],
            "ci_upper": [np.exp(b + z * SE[v]) for v, b in BETA.items()],
        }
    )
    check_prior(quiet(interval, study))
    rounded = quiet(frame(p_value=[0.0, 1.0, 0.1, 0.05]).drop(columns="standard_error"), study).table
    assert rounded["status"].tolist() == ["dropped", "dropped", "dropped", "used"]
    assert rounded["reason"][0].startswith("no standard error can be recovered from a p-value of 0 or 1")


@pytest.mark.parametrize("bad", [0.0, np.nan, -1.0, np.inf])
def test_a_row_without_a_standard_error_is_dropped_and_told(bad, study):
    with pytest.warns(DataWarning, match=r"rs1 \(the standard error is missing or not above 0\)"):
        earlier = bg.read_earlier_effects(frame(standard_error=[bad, 0.05, 0.02, 0.2]), study)
    assert (earlier.prior.mean["rs1"], earlier.prior.sd["rs1"]) == (0.0, 1.0)


def test_standard_errors_of_the_odds_ratio_itself_are_noticed(study):
    wrong = frame(odds_ratio=np.exp(frame()["beta"])).drop(columns="beta")
    wrong["standard_error"] *= wrong["odds_ratio"]
    with pytest.raises(InputError, match="'standard_error' is the standard error of the odds ratio"):
        quiet(wrong, study)
    check_prior(quiet(wrong, study, columns={"standard_error": None}), rtol=1e-9)
    named = frame(beta=np.exp(frame()["beta"]))
    check_prior(quiet(named, study, scale="odds_ratio"))


def test_duplicates_need_a_rule(study):
    twice = pd.concat([frame(), frame(beta=-0.7, standard_error=0.05)[:1]])
    with pytest.raises(InputError, match=r"2 usable rows are of variant 'rs1' \(effects -0.7, -0.5\)"):
        quiet(twice, study)
    best = quiet(twice, study, duplicates="most_precise")
    check_prior(best, {"rs1": (0.7, 0.05)})
    assert "2 rows of the earlier table are of it" in best.summary
    assert quiet(twice, study, duplicates="drop").table["status"][0] == "dropped"
    # another alternate allele of the same id is not a second row of it
    other = pd.concat([frame(), frame(other_allele="C", effect_allele="A")[:1]])
    check_prior(quiet(other, study))


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"discount": 0.0}, "discount = 0.0; it must be above 0 and at most 1"),
        ({}, {"discount": 1.5}, "discount = 1.5"),
        ({}, {"heterogeneity": -1.0}, "heterogeneity = -1.0; it must be at least 0"),
        ({}, {"match": "name"}, "match = 'name'; it must be 'id' or 'position'"),
        ({}, {"scale": "trait"}, "scale = 'trait' needs components"),
        ({}, {"trait_sd": 2.0}, "trait_sd is for effects on the trait"),
        ({}, {"reference": 2}, "reference = 2, n_components = 2"),
        ({}, {"reference": 1, "n_components": 3}, "a component in the middle"),
        ({}, {"match": "position"}, r"no column of contig: looked for chromosome, contig"),
        ({}, {"columns": {"beta": "Effect"}}, "no column 'Effect' for beta; its columns are 'id'"),
        ({}, {"columns": {"slope": "beta"}}, "'slope' is nothing that is read; known are id"),
        ({"beta": "x"}, {}, r"column 'beta' is not numeric: 'x', 'x', 'x', 'x' \(variants 'rs1'"),
        ({"id": "rs9"}, {}, "none of its 4 rows is of a variant of the study; sought by id: 'rs1', 'rs2', 'rs3' and 1"),
        ({"T_STAT": 1.0}, {}, "T_STAT: it is of linear regression"),
    ],
)
def test_what_cannot_be_used_is_told(changes, options, message, study):
    with pytest.raises(InputError, match=message):
        quiet(frame(**changes), study, **options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "the header is of no known format .*PLINK 2 .glm by id, a1, test.*its columns are 'a', 'b'"),
        (
            "rsid,effect_allele,beta\nrs1,G,1\n",
            "no column of standard_error or p_value .*looked for standard_e",
        ),
        ("rsid,z-score\nrs1,2\n", "hazard ratios or z-scores and neither beta nor odds_ratio"),
        ("rsid,beta,standard_error\nrs1,2,1\n", "has no column of the effect allele"),
        (
            "rsid,beta,standard_error,effect_allele,effect_allele\n1,2,3,4,5\n",
            "'effect_allele' is there 2 times",
        ),
        ("rsid,beta,standard_error\n", "has a header but no rows"),
        ("", "is empty"),
    ],
)
def test_bad_files_are_told(text, message, tmp_path, study):
    (tmp_path / "gwas.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        quiet(tmp_path / "gwas.csv", study)


def test_truncated_absent_and_unnamed(tmp_path, study):
    whole = gzip.compress(SSF.encode() * 50)
    (tmp_path / "cut.tsv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cannot read .*cut\.tsv\.gz as a table"):
        quiet(tmp_path / "cut.tsv.gz", study)
    with pytest.raises(InputError, match="there is no such file"):
        quiet(tmp_path / "none.tsv", study)
    bare = made_study(None)
    with pytest.raises(InputError, match="the study does not name the alleles of its variants"):
        quiet(frame(), bare)
    check_prior(quiet(frame(), bare, alleles=FACTS))
    FACTS.drop(columns=["contig", "position"]).rename_axis("id").to_csv(tmp_path / "alleles.tsv", sep="\t")
    check_prior(quiet(frame(), bare, alleles=tmp_path / "alleles.tsv"))
    unchecked = frame().drop(columns=["effect_allele", "other_allele"])
    check_prior(quiet(unchecked, bare, alleles="same"), {v: (BETA[v], SE[v]) for v in BETA})
    other = quiet(frame(other_allele=["C", "A", "T", "TA"]), study).table
    assert other["reason"][0] == "alleles G/C in the earlier table, A/G in the study"


def test_alleles():
    cases = {
        ("A", "G", "A", "G"): (True, False, False, False),
        ("G", "A", "A", "G"): (True, True, False, False),
        ("T", "C", "A", "G"): (True, False, True, False),
        ("C", "T", "A", "G"): (True, True, True, False),
        ("T", "A", "A", "T"): (True, True, False, True),
        ("A", "C", "A", "G"): (False, False, False, False),
        ("C", "", "A", "G"): (True, True, True, False),
        ("A", "", "A", ""): (False, False, False, False),
        ("AT", "A", "A", "AT"): (True, True, False, False),
        ("C", "B", "B", "C"): (True, True, False, False),
    }
    for pair, (fits, flipped, strand, ambiguous) in cases.items():
        found = align(*pair)
        assert (found.fits, found.flipped, found.other_strand, found.ambiguous) == (fits, flipped, strand, ambiguous)


COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A", "TA": "TA"}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.permutations(range(4)),
    flipped=st.lists(st.booleans(), min_size=4, max_size=4),
    strand=st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_order_orientation_and_strand_change_nothing(order, flipped, strand, study):
    start = frame()
    turn = np.array(flipped)
    other = start.copy()
    for allele in ("effect_allele", "other_allele"):
        other[allele] = [COMPLEMENT[a] if s else a for a, s in zip(other[allele], [*strand[:3], False], strict=True)]
    effect, rest = other["effect_allele"].copy(), other["other_allele"].copy()
    other["effect_allele"], other["other_allele"] = np.where(turn, rest, effect), np.where(turn, effect, rest)
    other["beta"] = np.where(turn, -other["beta"], other["beta"])
    frequency = start["effect_allele_frequency"]
    other["effect_allele_frequency"] = np.where(turn, 1 - frequency, frequency)
    other = other.iloc[list(order)].reset_index(drop=True)
    for rule in ("drop", "frequency"):
        expected, found = (quiet(t, study, ambiguous=rule).prior for t in (start, other))
        assert found.mean == pytest.approx(expected.mean, rel=1e-12)
        assert found.sd == pytest.approx(expected.sd, rel=1e-12)


def test_direction_follows_cases_and_reference(study):
    for options, sign in (
        ({}, 1),
        ({"cases": "low"}, -1),
        ({"reference": 1}, -1),
        ({"reference": 1, "cases": "low"}, 1),
        ({"n_components": 3, "reference": 2}, -1),
    ):
        check_prior(quiet(frame(), study, **options), {"rs1": (sign * 0.5, 0.1)})


@pytest.fixture(scope="module")
def big():
    return bg.simulate_study(20_000, effects=((np.log(1.5),), (-0.3,)), means=((0.0,), (3.0,)), seed=5).study


def test_the_bridge_from_the_trait_finds_the_log_odds(big):
    y = big.trait_values[:, 0]
    components = bg.Mixture(2).fit(big)
    lines = [linregress(big.dataset["dosages"].values[:, v], y) for v in range(2)]
    slopes, errors = [s.slope for s in lines], [s.stderr for s in lines]
    found, found_se = bg.log_odds_from_trait_shift(slopes, errors, components)
    assert (np.abs(found - [np.log(1.5), -0.3]) < 3.5 * found_se).all()
    # in sds of the trait, and by numbers in place of a fit
    numbers = {"weights": components.params["weights"].values, "means": components.params["means"].values[:, 0]}
    again, _ = bg.log_odds_from_trait_shift(slopes[0] / y.std(), errors[0] / y.std(), numbers, trait_sd=y.std())
    assert again == pytest.approx(found[0], rel=1e-12)
    table = pd.DataFrame({"id": ["rs1", "rs2"], "beta": slopes, "standard_error": errors})
    earlier = bg.read_earlier_effects(table, big, scale="trait", components=components, alleles="same", reference=1)
    assert earlier.prior.mean["rs2"] == pytest.approx(-found[1])
    assert earlier.prior.sd["rs2"] == pytest.approx(found_se[1])
    # the shift that the model itself reports is the same formula the other way
    fit = bg.Mixture(2, weights="rs1 + rs2").fit(big)
    row = bg.associations(fit).set_index("predictor").loc["rs1"]
    back, _ = bg.log_odds_from_trait_shift(row.filter(like="shift_").iloc[0], 1.0, fit)
    assert back == pytest.approx(row["log_odds_ratio"], rel=1e-9)


@pytest.mark.parametrize(
    ("components", "message"),
    [
        ({"weights": [0.2, 0.3, 0.5], "means": [0, 1, 2]}, "there are 3; an effect on the trait determines"),
        ({"weights": [0.2, 0.3], "means": [0, 1]}, "must be above 0 and add to 1"),
        ({"weights": [0.5, 0.5], "means": [1, 1]}, "must be finite and differ"),
        ({"weights": [0.5, 0.5]}, "must have 'weights' and 'means'"),
        (3, "components is a int; give a fit"),
    ],
)
def test_the_bridge_refuses(components, message):
    with pytest.raises(InputError, match=message):
        bg.log_odds_from_trait_shift(0.1, 0.1, components)


@pytest.mark.parametrize("discount", [1.0, 0.25])
def test_the_power_prior_is_the_earlier_people_weighted(discount, big):
    # exact up to the normal approximation: the earlier people in the same fit, each counted `discount` times
    people = big.sample_ids
    first, second = big.select(people[:10_000]), big.select(people[10_000:])
    flat = bg.Priors(effects=bg.Flat())
    before = bg.associations(bg.Mixture(2, weights="rs1 + rs2", priors=flat).fit(first))
    table = before.rename(columns={"predictor": "id", "log_odds_ratio": "beta", "sd": "standard_error"})
    earlier = bg.read_earlier_effects(
        table[["id", "beta", "standard_error"]], second, alleles="same", discount=discount
    )
    by_prior = bg.Mixture(2, weights="rs1 + rs2", priors=bg.Priors(effects=earlier.prior)).fit(second)
    counts = np.repeat([discount, 1.0], 10_000)
    together = bg.Mixture(2, weights="rs1 + rs2", priors=flat).fit(big, sample_weight=counts)
    se = together.standard_errors["effects"].values
    assert (np.abs(by_prior.params["effects"].values - together.params["effects"].values) < 0.2 * se).all()
    np.testing.assert_allclose(by_prior.standard_errors["effects"].values, se, rtol=0.02)


def test_beliefs_about_odds_ratios():
    sd = bg.sd_for_odds_ratio(1.5)
    assert norm.cdf(np.log(1.5), 0, sd) - norm.cdf(-np.log(1.5), 0, sd) == pytest.approx(0.95)
    assert bg.sd_for_odds_ratio(1 / 1.5) == pytest.approx(sd)
    belief = bg.normal_for_odds_ratios(0.8, 3.0, probability=0.5)
    np.testing.assert_allclose(norm.ppf([0.25, 0.75], belief.mean, belief.sd), np.log([0.8, 3.0]))
    for call, message in (
        (lambda: bg.sd_for_odds_ratio(1.0), "odds_ratio = 1.0"),
        (lambda: bg.sd_for_odds_ratio(2.0, probability=1.0), "probability = 1.0"),
        (lambda: bg.normal_for_odds_ratios(2.0, 1.0), "low = 2.0, high = 1.0"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_sd_by_frequency(study):
    f = np.array([0.5, 0.1, 0.9, 0.01])
    sd = bg.sd_by_frequency(f, sd=0.3)
    assert sd[0] == pytest.approx(0.3)
    np.testing.assert_allclose(sd**2 * 2 * f * (1 - f), 0.3**2 / 2)  # every variant matters as much
    np.testing.assert_allclose(bg.sd_by_frequency(f, power=0.0), 1.0)
    np.testing.assert_allclose(bg.sd_by_frequency(f, at=0.1)[1:3], 1.0)
    assert bg.sd_by_frequency(f, largest=1.2).max() == 1.2
    of_study = bg.sd_by_frequency(study, sd=0.3, power=-0.38)
    seen = study.columns()[["rs1", "rs2", "rs3", "rs4"]].mean() / 2
    assert of_study == pytest.approx(bg.sd_by_frequency(seen, sd=0.3, power=-0.38))
    assert bg.LogOddsNormal(sd=of_study).resolve(study.variant_names)[1][0] == of_study["rs1"]
    with pytest.raises(InputError, match="frequencies must be above 0 and below 1; they are not for 'b'"):
        bg.sd_by_frequency({"a": 0.1, "b": 0.0})


def test_the_card_and_the_command_line(tmp_path, capsys, study):
    columns = study.columns()
    columns[["rs1", "rs2", "rs3", "rs4"]].rename_axis("sample").to_csv(tmp_path / "g.tsv", sep="\t")
    traits = pd.DataFrame(study.trait_values, index=pd.Index(study.sample_ids, name="sample"), columns=["y"])
    traits.to_csv(tmp_path / "y.tsv", sep="\t")
    FACTS.iloc[:, 2:].rename_axis("id").to_csv(tmp_path / "alleles.tsv", sep="\t")
    (tmp_path / "gwas.ma").write_text(MA)
    card = tmp_path / "card.toml"
    head = '[card]\nname = "x"\n[model]\nn_components = 2\nweights = "rs1 + rs2 + rs3"\n[priors.effects]\nsd = 0.5\n'
    card.write_text(head + 'earlier = "gwas.ma"\nalleles = "alleles.tsv"\ndiscount = 0.25\nfrequency_power = -1.0\n')
    files = ("--traits", tmp_path / "y.tsv", "--genotypes", tmp_path / "g.tsv", "--out", tmp_path)
    with pytest.raises(SystemExit) as leaving:
        main([str(a) for a in ("fit", card, *files)])
    assert leaving.value.code in (0, 3)
    assert "rs3 (A/T is strand ambiguous)" in capsys.readouterr().err
    table = pd.read_csv(tmp_path / "earlier.tsv", sep="\t").set_index("predictor")
    assert table["status"].tolist() == ["used", "used", "dropped"]
    fit = bg.read_fit(tmp_path / "fit.nc")
    rare = 0.5 * bg.sd_by_frequency(study)["rs3"]
    np.testing.assert_allclose(fit.problem.priors.effect_sd, [0.2, 0.1, rare], rtol=1e-6)
    np.testing.assert_allclose(fit.problem.priors.effect_mean[:, 0], [0.5, 0.2, 0.0])
    with pytest.raises(InputError, match="an earlier study is matched to the variants of a study"):
        bg.Mixture.from_card(card)
    card.write_text(head + "discount = 0.5\n")
    with pytest.raises(InputError, match="discount is of an earlier study, and the key earlier, its file, is missing"):
        load_card(card)
    card.write_text(head + 'kind = "flat"\nfrequency_power = -1.0\n')
    with pytest.raises(InputError, match=r"priors.effects: a flat prior of the effects"):
        load_card(card)


def test_a_card_bridges_effects_on_the_trait(tmp_path, big):
    y, g = big.trait_values[:, 0], big.dataset["dosages"].values
    lines = [linregress(g[:, v], y / y.std()) for v in range(2)]
    rows = "".join(f"rs{v + 1} {line.slope} {line.stderr}\n" for v, line in enumerate(lines))
    (tmp_path / "gwas.txt").write_text("rsid beta standard_error\n" + rows)
    (tmp_path / "card.toml").write_text(
        '[card]\nname = "x"\n[model]\nn_components = 2\nweights = "rs1 + rs2"\n[priors.effects]\nearlier = "gwas.txt"\n'
        f'alleles = "same"\nscale = "trait"\ntrait_sd = {y.std()}\n'
    )
    model = bg.Mixture.from_card(tmp_path / "card.toml", big)
    assert model.priors.effects.mean["rs1"] == pytest.approx(np.log(1.5), abs=0.08)
    assert model.priors.effects.mean["rs2"] == pytest.approx(-0.3, abs=0.08)


@pytest.mark.parametrize("name", ["mouse_hs1940_lm_pheno1.assoc.txt.gz", "mouse_hs1940_plink2_CD8.glm.linear.gz"])
@pytest.mark.parametrize("match", ["id", "position"])
def test_real_tables_of_gemma_and_plink(name, match, data_dir, genetics_dir):
    folder = data_dir / "mouse_hs1940"
    variants = ["rs3683945", "rs6249614", "mCV22965443"]
    mice = bg.read_study(
        folder / "phenotypes.tsv", folder / "plink" / "mouse_hs1940.bed", variants=variants, trait_columns=["CD8"]
    )
    numbers = {"weights": [0.5, 0.5], "means": [0.0, 4.0]}
    earlier = quiet(genetics_dir / "gemma" / name, mice, scale="trait", components=numbers, match=match)
    table = earlier.table.set_index("predictor")
    assert table["status"].tolist()[:2] == ["used", "used"]
    assert table.loc["mCV22965443", "status"] in ("dropped", "not in the table")  # T/A, and without a place
    # the mice themselves: least squares of the trait on the dosage
    y, x = mice.trait_values[:, 0], mice.columns()["rs3683945"].to_numpy()
    both = ~np.isnan(y) & ~np.isnan(x)
    line = linregress(x[both], y[both])
    assert table.loc["rs3683945", "mean"] == pytest.approx(line.slope, rel=2e-3)
    assert table.loc["rs3683945", "sd"] == pytest.approx(line.stderr, rel=2e-3)
