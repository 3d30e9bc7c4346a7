"""Studies, readers and formulas: alignment, and the answer to every kind of bad input."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesgmm as bg
from bayesgmm.design_matrix import quote_names
from bayesgmm.errors import DataWarning, InputError
from bayesgmm.io.plink import read_plink
from bayesgmm.io.tables import read_table
from bayesgmm.study import Study


def tables(n: int = 40, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    index = pd.Index([f"P{i}" for i in range(n)])
    traits = pd.DataFrame({"y": rng.normal(size=n), "z": rng.normal(size=n)}, index=index)
    genotypes = pd.DataFrame(
        rng.integers(0, 3, (n, 3)).astype(float), index=index, columns=["rs1", "rs1:2", "1_2345_A_G"]
    )
    covariates = pd.DataFrame({"sex": rng.choice(["f", "m"], n), "age": rng.normal(50, 9, n)}, index=index)
    return traits, genotypes, covariates


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_people_are_matched_by_id_never_by_position(seed):
    traits, genotypes, covariates = tables()
    rng = np.random.default_rng(seed)
    shuffled = [frame.iloc[rng.permutation(len(frame))] for frame in (genotypes, covariates)]
    study, again = Study(traits, genotypes, covariates), Study(traits, *shuffled)
    assert study.dataset.identical(again.dataset)


def test_people_missing_on_one_side_are_dropped_and_named():
    traits, genotypes, _ = tables()
    with pytest.warns(DataWarning, match=r"traits: 2 of 40 people .*'P0', 'P1'"):
        study = Study(traits, genotypes.iloc[2:])
    assert study.sample_ids[0] == "P2"
    with pytest.raises(InputError, match="no sample id is in every table"):
        Study(traits, genotypes.set_axis([f"Q{i}" for i in range(40)]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, g, c: (t.set_axis(["P0"] * 2 + list(t.index[2:])), g, c), "traits: duplicated sample ids 'P0'"),
        (lambda t, g, c: (t, g.set_axis(["rs1", "rs1", "x"], axis=1), c), "duplicated variants 'rs1'"),
        (lambda t, g, c: (t.assign(y=["a", *t["y"][1:]]), g, c), r"trait 'y' is not numeric: 'a' \(people 'P0'\)"),
        (lambda t, g, c: (t.assign(y=[np.inf, *t["y"][1:]]), g, c), "trait 'y' is infinite for people 'P0'"),
        (lambda t, g, c: (t, g.assign(rs1=[2.5, *g["rs1"][1:]]), c), r"'rs1': dosages must be .* \(P0: 2.5\)"),
        (lambda t, g, c: (t, g.assign(rs1=["A/G", *g["rs1"][1:]]), c), r"'rs1': dosages must be .* \(P0: A/G\)"),
        (lambda t, g, c: (t, g, c.assign(age=[np.inf, *c["age"][1:]])), "covariate 'age' is infinite"),
        (lambda t, g, c: (t.iloc[:0], g, c), "0 rows and 2 columns"),
    ],
)
def test_unusable_tables_are_refused_by_name(change, message):
    with pytest.raises(InputError, match=message):
        Study(*change(*tables()))


@pytest.mark.parametrize(
    ("value", "message"),
    [(3.0, r"trait 'y' is constant \(3 for all 40 people\)"), (np.nan, "trait 'y' is missing for everyone")],
)
def test_traits_that_cannot_be_fitted_are_refused_by_name(value, message):
    traits, _, _ = tables()
    study = Study(traits.assign(y=value))
    with pytest.raises(InputError, match=message):
        bg.Mixture(1).fit(study)


@pytest.mark.parametrize(
    ("formula", "columns"),
    [
        ("rs1 + age", ("rs1", "age")),
        ("rs1:2 + 1_2345_A_G", ("rs1:2", "1_2345_A_G")),
        ("`rs1:2`", ("rs1:2",)),
        ("rs1 + C(sex)", ("rs1", "C(sex)[m]")),
        ("rs1 * age", ("rs1", "age", "rs1:age")),
        ("rs1 + dominance(rs1)", ("rs1", "dominance(rs1)")),
        ("rs1:2 + dominance(rs1:2)", ("rs1:2", "dominance(rs1:2)")),
    ],
)
def test_formulas_name_their_columns(formula, columns):
    traits, genotypes, covariates = tables()
    design = Study(traits, genotypes, covariates).design(formula)
    assert set(design.columns) == set(columns)
    assert design.matrix.shape == (40, len(columns))


def test_dominance_is_one_for_heterozygotes():
    traits, genotypes, covariates = tables()
    design = Study(traits, genotypes, covariates).design("rs1 + dominance(rs1)")
    column = design.matrix[:, design.columns.index("dominance(rs1)")]
    np.testing.assert_array_equal(column, (genotypes["rs1"] == 1).astype(float))
    assert design.columns_of("rs1") == list(design.columns)
    profile = design.profiles[0, :, design.columns.index("dominance(rs1)")]
    np.testing.assert_array_equal(profile, [0.0, 1.0, 0.0])


def test_names_are_quoted_at_token_boundaries_only():
    assert quote_names("rs1:2 + rs1", ["rs1", "rs1:2"]) == "`rs1:2` + rs1"
    assert quote_names("`rs1:2` + rs1:25", ["rs1:2"]) == "`rs1:2` + rs1:25"
    assert quote_names("xrs1:2", ["rs1:2"]) == "xrs1:2"


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("rs2", "'rs2' is neither a variant nor a covariate; did you mean 'rs1"),
        ("rs1 + ", "not a formula|is neither"),
        ("y ~ rs1", "right-hand side only"),
        ("rs1 + additive(rs1)", "collinear predictors"),
        ("mono", "variant 'mono' is monomorphic"),
        ("gone", "covariate 'gone' is missing for 1 people: 'P3'"),
        ("allgone", "variant 'allgone' is missing for everyone"),
    ],
)
def test_unusable_formulas_are_refused_by_name(formula, message):
    traits, genotypes, covariates = tables()
    genotypes = genotypes.assign(mono=1.0, allgone=np.nan)
    covariates = covariates.assign(gone=[1.0, 2.0, 3.0, np.nan] * 1 + list(range(36)))
    with pytest.raises(InputError, match=message):
        Study(traits, genotypes, covariates).design(formula)


def test_more_predictors_than_people_is_refused():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(6, 8)), columns=[f"x{j}" for j in range(8)], index=list("abcdef"))
    with pytest.raises(InputError, match="8 predictors for 6 people"):
        Study(pd.DataFrame({"y": rng.normal(size=6)}, index=list("abcdef")), covariates=frame).design(" + ".join(frame))


def test_missing_genotypes_are_averaged_over_and_counted():
    traits, genotypes, _ = tables()
    genotypes.iloc[:5, 0] = np.nan
    study = Study(traits, genotypes)
    design = study.design("rs1 + dominance(rs1)")
    f = genotypes["rs1"].mean() / 2.0
    np.testing.assert_allclose(design.matrix[:5], [[2 * f, 2 * f * (1 - f)]] * 5)
    assert design.uncertain.person.tolist() == np.repeat(np.arange(5), 3).tolist()
    np.testing.assert_allclose(design.uncertain.probability[:3], [(1 - f) ** 2, 2 * f * (1 - f), f**2])
    np.testing.assert_allclose(design.uncertain.rows[:3], [[0, 0], [1, 1], [2, 0]])
    told = {"variant": "rs1", "n_missing": 5, "n_uncertain": 0, "n_averaged": 5, "n_mean": 0}
    assert design.genotype_account.to_dict("records") == [told]


def test_missing_genotypes_get_the_column_mean_when_asked_or_too_many():
    traits, genotypes, _ = tables()
    genotypes.iloc[:5, 0] = np.nan
    design = Study(traits, genotypes).design("rs1 + dominance(rs1)", average=False)
    for j in range(2):
        np.testing.assert_allclose(design.matrix[:5, j], design.matrix[5:, j].mean())
    assert design.genotype_account["n_mean"].tolist() == [5]
    assert len(design.uncertain.person) == 0
    three = genotypes.assign(rs8=genotypes["rs1"].to_numpy()[::-1], rs9=np.roll(genotypes["rs1"].to_numpy(), 7))
    three.iloc[0] = np.nan
    design = Study(traits, three).design("rs1 + rs8 + rs9")
    assert 0 not in design.uncertain.person
    assert design.genotype_account["n_mean"].tolist() == [1, 1, 1]


def test_other_people_get_the_same_coding():
    traits, genotypes, covariates = tables()
    design = Study(traits, genotypes, covariates).design("rs1 + C(sex)")
    few = Study(traits.iloc[:6], genotypes.iloc[:6], covariates.iloc[:6])
    np.testing.assert_allclose(design.evaluate(few)[0], design.matrix[:6])
    strange = Study(traits.iloc[:6], genotypes.iloc[:6], covariates.iloc[:6].assign(sex="x"))
    with pytest.raises(InputError, match="covariate 'sex' has levels 'x'"):
        design.evaluate(strange)


def test_tables_are_read_with_ids_as_text(tmp_path):
    (tmp_path / "t.tsv").write_text("#FID\tIID\ty\nf\t001\t1.5\nf\t002\tNA\nf\t003\t2\n")
    frame = read_table(tmp_path / "t.tsv")
    assert list(frame.index) == ["001", "002", "003"]
    assert list(frame.columns) == ["y"]
    with pytest.raises(InputError, match="no such file"):
        read_table(tmp_path / "none.tsv")
    (tmp_path / "empty.csv").write_text("id,y\n")
    with pytest.raises(InputError, match="holds no rows"):
        read_table(tmp_path / "empty.csv")


def test_transforms_name_what_they_cannot_take(tmp_path):
    (tmp_path / "t.csv").write_text("id,y\na,1\nb,0\nc,4\n")
    with pytest.raises(InputError, match="log2 needs values above 0; 1 are not: 'b'"):
        bg.read_study(tmp_path / "t.csv", trait_transform={"y": "log2"})
    with pytest.raises(InputError, match="must be log, log2"):
        bg.read_study(tmp_path / "t.csv", trait_transform={"y": "cube"})
    study = bg.read_study(tmp_path / "t.csv", trait_transform={"y": "standardize"})
    assert float(study.dataset["traits"].mean()) == pytest.approx(0.0)


# -- PLINK ----------------------------------------------------------------------------------------


def write_plink(folder, genotypes: np.ndarray) -> None:
    """Dosages of A1 (people, variants), -1 missing, as .bed, .bim and .fam, packed here by hand."""
    codes = {2: 0b00, -1: 0b01, 1: 0b10, 0: 0b11}
    n, m = genotypes.shape
    body = bytearray(b"\x6c\x1b\x01")
    for v in range(m):
        for first in range(0, n, 4):
            byte = 0
            for shift, person in enumerate(range(first, min(first + 4, n))):
                byte |= codes[int(genotypes[person, v])] << (2 * shift)
            body.append(byte)
    (folder / "p.bed").write_bytes(bytes(body))
    (folder / "p.bim").write_text("".join(f"1\trs{v}\t0\t{100 * v or -9}\tA\tG\n" for v in range(m)))
    (folder / "p.fam").write_text("".join(f"f P{i} 0 0 1 -9\n" for i in range(n)))


def test_plink_counts_the_fifth_column_of_the_bim(tmp_path, rng):
    truth = rng.integers(-1, 3, (9, 4))
    write_plink(tmp_path, truth)
    dosages, about = read_plink(tmp_path / "p.bed", ["rs2", "rs0"])
    np.testing.assert_array_equal(dosages.to_numpy(), np.where(truth < 0, np.nan, truth)[:, [2, 0]])
    assert about.loc["rs2", "effect_allele"] == "A"
    assert np.isnan(about.loc["rs0", "position"])


def test_broken_plink_files_are_told_by_file_and_place(tmp_path, rng):
    write_plink(tmp_path, rng.integers(0, 3, (9, 4)))
    bed = tmp_path / "p.bed"
    whole = bed.read_bytes()
    with pytest.raises(InputError, match=r"variant 'rs9' is not in .*did you mean 'rs"):
        read_plink(bed, ["rs9"])
    bed.write_bytes(whole[:-2])
    with pytest.raises(InputError, match=r"p.bed has 13 bytes; .* make 15; the file is truncated"):
        read_plink(bed)
    bed.write_bytes(b"\x00" + whole[1:])
    with pytest.raises(InputError, match="bytes 0 to 2 are 00 1b 01"):
        read_plink(bed)
    bed.write_bytes(whole)
    bim = tmp_path / "p.bim"
    bim.write_text(bim.read_text() + "1\textra\t0\t5\tA\tG\n")
    with pytest.raises(InputError, match="do not belong together"):
        read_plink(bed)
    bim.unlink()
    with pytest.raises(InputError, match=r"p.bim: there is no such file"):
        read_plink(bed)


def test_mouse_genotypes_agree_with_their_frequencies(data_dir):
    folder = data_dir / "mouse_hs1940"
    variants = ["mCV22965443", "rs3671932", "rs3683945"]
    study = bg.read_study(
        folder / "phenotypes.tsv", folder / "plink" / "mouse_hs1940.bed", trait_columns=["CD8"], variants=variants
    )
    assert study.n_samples == 1940
    assert study.variant_names == variants
    assert int((~np.isnan(study.dataset["traits"].values)).sum()) == 1410
    # decoded here, two bits a person, without bed-reader
    lines = (folder / "plink" / "mouse_hs1940.bim").read_text().splitlines()
    index = next(i for i, line in enumerate(lines) if line.split()[1] == "rs3671932")
    raw = np.fromfile(folder / "plink" / "mouse_hs1940.bed", dtype=np.uint8)[3 + index * 485 : 3 + (index + 1) * 485]
    codes = np.stack([(raw >> s) & 3 for s in (0, 2, 4, 6)], axis=1).ravel()[:1940]
    expected = np.array([2.0, np.nan, 1.0, 0.0])[codes]
    np.testing.assert_array_equal(study.dataset["dosages"].sel(variant="rs3671932").values, expected)


def test_listeria_keeps_the_mice_without_a_trait(listeria):
    assert listeria.n_samples == 120
    assert int(np.isnan(listeria.dataset["traits"].values).sum()) == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = bg.Mixture.from_card("listeria").fit(listeria)
    absent = ~fit.problem.observed
    assert absent.sum() == 4
    expected = np.exp(fit.problem.log_weights_at(fit.problem.predictors[absent], fit.parameters))
    np.testing.assert_allclose(fit.responsibilities.values[absent], expected)


def test_names_with_dots_are_predictors(rng):
    people = [f"P{i}" for i in range(60)]
    study = Study(
        pd.DataFrame({"y": rng.normal(size=60)}, index=people),
        pd.DataFrame({"rs1.A": rng.integers(0, 3, 60).astype(float)}, index=people),
        pd.DataFrame({"a.b": rng.normal(size=60), "a": rng.normal(size=60)}, index=people),
    )
    for formula, columns in (
        ("rs1.A + a.b", ["rs1.A", "a.b"]),
        ("`a.b` + a", ["a.b", "a"]),
        ("a + rs1.A", ["a", "rs1.A"]),
    ):
        fit = bg.Mixture(2, weights=formula).fit(study, seed=1)
        assert list(fit.problem.predictor_names) == columns
        assert fit.predict_proba(study).shape == (60, 2)
    assert fit.problem.variant_names == ("rs1.A",)
