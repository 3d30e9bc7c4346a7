"""Simulation, model cards and the command line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayesgmm as bg
from bayesgmm.cards import bundled_cards, load_card
from bayesgmm.cli import main
from bayesgmm.demo import demo_folder, make_demo_tables
from bayesgmm.errors import InputError
from bayesgmm.simulate import simulate_genotypes, simulate_study, standardize


def test_genotypes_are_in_hardy_weinberg_proportions():
    g = simulate_genotypes(200_000, [0.3], seed=1)["rs1"].value_counts(normalize=True)
    np.testing.assert_allclose([g[0], g[1], g[2]], [0.49, 0.42, 0.09], atol=0.005)
    inbred = simulate_genotypes(200_000, [0.3], inbreeding=0.5, seed=1)["rs1"]
    assert (inbred == 1).mean() == pytest.approx(0.21, abs=0.005)


def test_a_fit_recovers_a_simulated_truth():
    made = simulate_study(20_000, means=((0.0,), (4.0,)), seed=3)
    fit = bg.Mixture(2, weights="rs1 + rs2").fit(made.study)
    for name in ("weights", "means", "covariances", "effects"):
        gap = np.abs(fit.params[name].values - made.truth[name].values)
        assert (gap < 4.5 * fit.standard_errors[name].values).all(), name
    assigned = fit.assign()["component"]
    assert (assigned == made.membership).mean() > 0.95


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"allele_frequencies": (0.0, 0.4)}, "must be above 0 and below 1"),
        ({"weights": (0.5, 0.6)}, "add to 1"),
        ({"covariances": (((-1.0,),), ((1.0,),))}, "positive definite"),
        ({"effects": ((0.1,),)}, "effects have shape"),
        ({"n": 0}, "n = 0"),
    ],
)
def test_impossible_simulations_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        simulate_study(**options)


def test_standardize():
    z = standardize(pd.DataFrame({"y": [1.0, 2.0, np.nan, 6.0]}))
    assert z["y"].mean() == pytest.approx(0.0)
    assert z["y"].std() == pytest.approx(1.0)
    assert z["y"].isna().sum() == 1


def test_the_bundled_study_is_what_its_seed_gives():
    for name, table in make_demo_tables().items():
        stored = pd.read_csv(demo_folder() / f"{name}.tsv", sep="\t", index_col="sample")
        pd.testing.assert_frame_equal(stored, table, check_dtype=False)


def card(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "card.toml"
    path.write_text('[card]\nname = "x"\n' + text)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[model]\nn_component = 2",
            "unknown key 'model.n_component'; did you mean 'n_components'|'model.n_components' is missing",
        ),
        ("[model]\nn_components = 2\n[prior]\n", "unknown key 'prior'; did you mean 'priors'"),
        ("[model]\nn_components = 0", "model.n_components = 0: input should be greater than or equal to 1"),
        ("[model]\nn_components = 2\n[priors.effects]\nsigma = 1", "unknown key 'priors.effects.sigma'"),
        ("[model]\nn_components = 2\n[fit]\nseed = 'x'", "fit.seed = 'x'"),
        (
            "[model]\nn_components = 2\n[select]\nn_component = [1, 2]",
            "'select.n_component'; did you mean 'n_components'",
        ),
        ("[model\n", "not valid TOML"),
        ('[model]\nn_components = 2\nnoise = "yes"', "model.noise = 'yes'; it must be true, false or a number$"),
        ('[model]\nn_components = "2"', "model.n_components = '2'; it must be a whole number$"),
        ("[model]\nn_components = 2.5", "model.n_components = 2.5; it must be a whole number"),
        ("[model]\nn_components = true", "model.n_components = true; it must be a whole number"),
        ("[model]\nn_components = 2\ncompress = 1", "model.compress = 1; it must be true or false"),
        ("[model]\nn_components = 2\n[study]\nvariants = 'rs1'", "study.variants = 'rs1'; it must be a list"),
        ("[model]\nn_components = 2\n[bootstrap]\nkind = 'bayes'", "bootstrap.kind = 'bayes': input should be 'nonp"),
        ("[model]\nn_components = 2\n[bootstrap]\ndraw = 9", "unknown key 'bootstrap.draw'; did you mean 'draws'"),
        ("[model]\nn_components = 2\n[tests]\ntest = ['lr']", "unknown key 'tests.test'; did you mean 'tests'"),
        ("[model]\nn_components = 2\n[tests]\npredictors = [3]", "tests.predictors = 3; it must be text or a list"),
        ("", "the key 'model' is missing"),
        (
            '[model]\nn_components = 2\n[sensitivity]\nsettings = [{ "effects.sd" = 1 }]\n[sensitivity.grid]\n'
            '"effects.sd" = [1]',
            "sensitivity: grid and settings are both given",
        ),
    ],
)
def test_faulty_cards_are_told_by_key(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        load_card(card(tmp_path, text))


def test_cards_describe_the_model():
    assert bundled_cards() == ["expression-modes", "listeria", "two-humps"]
    model = bg.Mixture.from_card("listeria")
    assert model == bg.Mixture(2, weights="D5M357 + D13M147", priors=bg.Priors(effects=bg.LogOddsNormal(sd=100.0)))
    with pytest.raises(InputError, match="no model card 'listerya'"):
        bg.Mixture.from_card("listerya")


def test_files_that_a_card_names_lie_beside_it(tmp_path):
    (tmp_path / "sets.tsv").write_text("rs1\tlipids\nrs2\tlipids\n")
    text = '[model]\nn_components = 2\nweights = "rs1 + rs2"\n[priors.shifts]\nfamily = "flat"\n'
    named = load_card(card(tmp_path, text + '[priors.effects]\nfamily = "groups"\ngroups = "sets.tsv"'))
    made = bg.simulate_study(60, allele_frequencies=[0.3, 0.4], effects=[[0.5], [0.0]], seed=1).study
    problem = named.mixture().problem(made)
    assert problem.priors.scales.groups == ("lipids",)
    assert named.mixture().priors.shifts == bg.Flat()


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as leaving:
        main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return int(leaving.value.code or 0), captured.out, captured.err


def test_simulate_fit_and_read_from_the_command_line(tmp_path, capsys):
    code, out, _ = run(capsys, "simulate", "--out", tmp_path, "--n", 400, "--separation", 4, "--seed", 2)
    assert code == 0
    assert "card.toml" in out
    files = ("--traits", tmp_path / "traits.tsv", "--genotypes", tmp_path / "genotypes.tsv", "--out", tmp_path / "out")
    code, out, _ = run(capsys, "fit", tmp_path / "card.toml", *files)
    assert code == 0
    assert "converged" in out
    written = {p.name for p in (tmp_path / "out").iterdir()}
    assert written == {"fit.nc", "parameters.tsv", "responsibilities.tsv", "associations.tsv", "priors.txt"}
    table = pd.read_csv(tmp_path / "out" / "associations.tsv", sep="\t")
    assert list(table["predictor"]) == ["rs1", "rs2"]
    assert bg.read_fit(tmp_path / "out" / "fit.nc").converged


def test_the_card_and_the_folders_files_end_in_a_report(tmp_path, capsys, data_dir):
    folder = data_dir / "rqtl_listeria"
    files = ("--traits", folder / "phenotypes.csv", "--genotypes", folder / "genotypes.csv", "--out", tmp_path)
    code, out, _ = run(capsys, "report", "listeria", *files, "--draws", 1000, "--chains", 4)
    assert code == 0
    assert "report.html" in out
    page = (tmp_path / "report.html").read_text()
    assert "D5M357" in page
    assert "InverseWishart(3," in page
    table = pd.read_csv(tmp_path / "associations_posterior.tsv", sep="\t").set_index("predictor")
    assert table.loc["D5M357", "sd"] == pytest.approx(0.395, rel=0.2)
    assert table.loc["D13M147", "sd"] == pytest.approx(0.373, rel=0.2)
    code, out, _ = run(capsys, "compare", tmp_path)
    assert code == 0
    assert "effects[D5M357, 1 vs 0]" in out


def test_a_study_of_the_prior_from_the_command_line(tmp_path, capsys):
    run(capsys, "simulate", "--out", tmp_path, "--n", 150, "--separation", 5, "--seed", 2)
    files = ("--traits", tmp_path / "traits.tsv", "--genotypes", tmp_path / "genotypes.tsv", "--out", tmp_path / "out")
    study = ("sensitivity", tmp_path / "card.toml", *files)
    code, out, _ = run(capsys, *study, "--vary", "effects.sd=0.1,1", "--vary", "weights.concentration=2,5")
    assert code == 0
    assert "PriorStudy" in out
    written = {p.name for p in (tmp_path / "out").iterdir()}
    tables = ("sensitivity", "tipping", "bayes_factors", "power_scaling", "prior_checks")
    assert written >= {"sensitivity.nc", "report.html", *(f"{name}.tsv" for name in tables)}
    table = pd.read_csv(tmp_path / "out" / "sensitivity.tsv", sep="\t")
    assert len(table) == 4 * 2  # settings and predictors
    assert set(table["weights.concentration"]) == {2.0, 5.0}
    for wrong, message in (
        (("effects.sd",), "write a hyperparameter and its values"),
        (("effects.scale=1",), "which has sd, mean"),
        (("effects.sd=1", "--vary", "effects.sd=2"), "twice"),
    ):
        code, _, err = run(capsys, *study, "--vary", *wrong)
        assert code == 2
        assert message in err
        assert err.startswith("error: ")
        assert err.count("\n") == 1


_SECTIONS = """
[bootstrap]
kind = "weighted"
draws = 60
method = "bca"

[tests]
predictors = ["rs2", ["rs1", "rs2"]]
draws = 19
permutations = 199
"""


def test_how_sure_and_whether_there_is_an_effect_from_the_command_line(tmp_path, capsys):
    run(capsys, "simulate", "--out", tmp_path, "--n", 200, "--separation", 5, "--seed", 2)
    with (tmp_path / "card.toml").open("a") as card:
        card.write(_SECTIONS)
    out = tmp_path / "out"
    files = ("--traits", tmp_path / "traits.tsv", "--genotypes", tmp_path / "genotypes.tsv", "--out", out)
    code, told, _ = run(capsys, "standard-errors", tmp_path / "card.toml", *files)
    assert code == 0
    assert "se, sandwich" in told
    fit = bg.read_fit(out / "fit.nc")
    written = pd.read_csv(out / "standard_errors.tsv", sep="\t", keep_default_na=False)
    for kind in ("observed", "sandwich"):
        expected = bg.standard_errors(fit, kind)["se"]
        np.testing.assert_allclose(written.loc[written["kind"] == kind, "se"], expected, rtol=1e-5)
    # what is given on the line takes the place of the card's
    code, told, _ = run(capsys, "bootstrap", tmp_path / "card.toml", *files, "--draws", 50, "--seed", 3, "--workers", 1)
    assert code == 0
    assert "Bootstrap (weighted): 50 replicates, 0 failed" in told
    boot = bg.read_bootstrap(out / "bootstrap.nc")
    assert (boot.kind, boot.method, boot.seed, boot.posterior.sizes["draw"]) == ("weighted", "bca", 3, 50)
    table = pd.read_csv(out / "bootstrap.tsv", sep="\t")
    np.testing.assert_allclose(table["lower"], boot.table()["lower"], rtol=1e-5)
    code, told, _ = run(capsys, "test-effect", tmp_path / "card.toml", *files, "--tests", "score,permutation")
    assert code == 0
    tests = bg.read_effect_tests(out / "effect_tests.nc")
    assert tests.effects == ["rs2", "rs1 + rs2"]
    assert tests["test"].tolist() == ["score", "permutation"] * 2
    assert f"rs2: {tests.verdicts['rs2']}" in told
    code, told, _ = run(capsys, "test-effect", tmp_path / "card.toml", *files, "--every-variant")
    assert "2 not tested: in the card's formula already" in told
    assert "bayesgmm.test_effect" not in told + (out / "score_tests.tsv").read_text()
    names = {"bootstrap.png", "alignment.tsv", "associations_bootstrap.tsv", "effect_tests.png", "effect_tests.tsv"}
    assert {p.name for p in out.iterdir()} >= names
    for wrong, message in (
        (("bootstrap", "--kind", "jackknife"), "kind = 'jackknife'"),
        (("test-effect", "--predictors", "rs1,rs22"), "'rs22' is neither .* did you mean 'rs2'"),
        (("test-effect", "--predictors", "rs1", "--every-variant"), "leave --predictors and --tests out"),
        (("standard-errors", "--kind", "huber"), "kind = 'huber'"),
    ):
        code, _, err = run(capsys, wrong[0], tmp_path / "card.toml", *files, *wrong[1:])
        assert code == 2
        assert re.search(message, err)


def test_a_card_that_asks_for_them_has_bootstrap_and_tests_in_its_report(tmp_path, capsys):
    run(capsys, "simulate", "--out", tmp_path, "--n", 200, "--separation", 5, "--seed", 2)
    with (tmp_path / "card.toml").open("a") as card:
        card.write(_SECTIONS + '\n[priors.components]\nkind = "flat"\n')  # of the MAP alone
    files = ("--traits", tmp_path / "traits.tsv", "--genotypes", tmp_path / "genotypes.tsv", "--out", tmp_path)
    code, _, _ = run(capsys, "report", tmp_path / "card.toml", *files)
    assert code == 0
    page = (tmp_path / "report.html").read_text()
    for told in (
        "Is there an effect",
        "rs1 + rs2: ",
        "How sure the estimates are",
        "95% bca intervals",
        "se, sandwich",
    ):
        assert told in page
    with pytest.raises(InputError, match="bootstrap is a DataFrame; give the Bootstrap"):
        bg.write_report(tmp_path / "r.html", bg.read_fit(tmp_path / "fit.nc"), bootstrap=pd.DataFrame())


def test_errors_are_one_line(tmp_path, capsys):
    code, out, err = run(capsys, "fit", "listeria", "--traits", tmp_path / "none.csv", "--out", tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith("error: cannot read")
    assert err.count("\n") == 1
    code, _, err = run(capsys, "compare", tmp_path)
    assert code == 2
    assert "fit.nc" in err


def test_a_fit_that_did_not_converge_leaves_with_its_own_code(tmp_path, capsys):
    run(capsys, "simulate", "--out", tmp_path, "--n", 200)
    text = (tmp_path / "card.toml").read_text() + "\n[fit]\nmax_iterations = 2\nrestarts = 1\n"
    (tmp_path / "card.toml").write_text(text)
    files = ("--traits", tmp_path / "traits.tsv", "--genotypes", tmp_path / "genotypes.tsv", "--out", tmp_path)
    code, _, err = run(capsys, "fit", tmp_path / "card.toml", *files)
    assert code == 3
    assert "warning: the fit did not converge" in err


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "fit",
        "sample",
        "compare",
        "sensitivity",
        "report",
        "bootstrap",
        "standard-errors",
        "test-effect",
        "simulate",
    ],
)
def test_help_teaches_by_example(command, capsys):
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    assert "Example" in out


def test_the_installed_command_answers():
    done = subprocess.run([sys.executable, "-m", "bayesgmm", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"bayesgmm {bg.__version__}"


def test_the_card_of_every_key_names_every_key(tmp_path):
    from bayesgmm.cards import Card

    text = (Path(__file__).parents[1] / "docs" / "cards.md").read_text()
    whole, *others = [block.split("```")[0] for block in text.split("```toml\n")[1:]]
    (tmp_path / "card.toml").write_text(whole)
    card = load_card(tmp_path / "card.toml")
    assert card.model.means == "sex"
    told_of = card.model_dump(exclude_unset=True)
    for block in others:
        # other families of the effects, and lists of settings, whose keys do not go together
        (tmp_path / "card.toml").write_text(f'[card]\nname = "x"\n[model]\nn_components = 2\n{block}')
        other = load_card(tmp_path / "card.toml")
        told_of["priors"]["effects"] |= other.priors.effects.model_dump(exclude_unset=True)
        listed = None if other.sensitivity is None else other.sensitivity.model_dump(exclude_unset=True)
        told_of["sensitivity"] |= listed or {}
        assert listed or not isinstance(other.mixture().priors.effects, bg.LogOddsNormal)

    def keys(section, told):
        for name in type(section).model_fields:
            assert name in told, f"{type(section).__name__}: {name}"
            inner = getattr(section, name)
            if hasattr(type(inner), "model_fields"):
                keys(inner, told[name])

    assert set(Card.model_fields) >= {"study", "priors"}
    keys(card, told_of)


def test_a_report_of_a_family_that_cannot_be_sampled_is_of_the_map(tmp_path, capsys):
    run(capsys, "simulate", "--out", tmp_path, "--n", 200)
    text = (tmp_path / "card.toml").read_text() + '\n[priors.components]\nkind = "flat"\n'
    (tmp_path / "card.toml").write_text(text)
    files = ("--traits", tmp_path / "traits.tsv", "--genotypes", tmp_path / "genotypes.tsv", "--out", tmp_path)
    code, out, _ = run(capsys, "report", tmp_path / "card.toml", *files)
    assert code == 0
    assert "the report is of the MAP alone" in out
    assert "standard errors from the observed information" in (tmp_path / "report.html").read_text()
