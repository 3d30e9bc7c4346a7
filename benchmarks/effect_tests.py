"""Type-I error and power of the tests of a genotype's effect: share of null studies with a p-value up to a level.

Run as ``python -m benchmarks.effect_tests FOLDER [--studies 2000] [cases]``; a run that was stopped goes on where it
was. ``python -m benchmarks.effect_tests FOLDER --page`` writes the tables of ``docs/effect-tests.md`` from the folder.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binom

import bayesgmm as bg
from bayesgmm.analysis.effect_tests import TESTS
from bayesgmm.io.atomic import write_text

LEVELS = (0.05, 0.01)
_BLOCK = 50
_DRAWS = 99  # studies of a bootstrap: 0.05 and 0.01 are p-values it can have
_PERMUTATIONS = 999
_STOP_AFTER = 5  # statistics as large, after which the p-value is above 0.05 whatever comes
_DOCS = Path(__file__).resolve().parents[1] / "docs"
_MARK = "<!-- tables -->"


@dataclass(frozen=True)
class Case:
    """How studies of one case are made.

    ``small`` is the weight of the smaller component, ``apart`` how many standard deviations the means are apart,
    ``frequency`` that of the effect allele, ``covariate`` the log odds ratio per standard deviation of another
    predictor, with which the allele's log odds rise by a half; ``effect`` the log odds ratio per allele.
    """

    n: int
    small: float
    apart: float = 3.0
    frequency: float = 0.3
    covariate: float = 0.0
    effect: float = 0.0

    def study(self, rng: np.random.Generator) -> bg.Study:
        """One study, in which the variant varies."""
        x = rng.standard_normal(self.n)
        log_odds = np.log(self.frequency / (1.0 - self.frequency)) + 0.5 * (self.covariate != 0.0) * x
        genotype = np.zeros(self.n)
        while np.ptp(genotype) == 0.0:
            genotype = rng.binomial(2, 1.0 / (1.0 + np.exp(-log_odds))).astype(float)
        eta = np.log(self.small / (1.0 - self.small)) + self.covariate * x
        eta += self.effect * (genotype - 2.0 * self.frequency)
        high = rng.random(self.n) < 1.0 / (1.0 + np.exp(-eta))
        y = rng.standard_normal(self.n) + self.apart * high
        ids = [f"P{i}" for i in range(self.n)]
        covariates = pd.DataFrame({"x": x}, index=ids) if self.covariate else None
        return bg.Study(pd.DataFrame({"y": y}, index=ids), pd.DataFrame({"rs1": genotype}, index=ids), covariates)

    @property
    def told(self) -> str:
        """In words."""
        words = (
            f"{self.n:,} | {100 * (1 - self.small):.0f}/{100 * self.small:.0f} | {self.apart:g} | {self.frequency:g}"
        )
        return f"{words} | {'a covariate' if self.covariate else ''}"


CASES = {
    **{
        f"n{n}-w{100 * small:.0f}-f{100 * f:.0f}": Case(n, small, frequency=f)
        for n in (100, 1000)
        for small in (0.5, 0.05)
        for f in (0.3, 0.05)
    },
    "n1000-w5-close": Case(1000, 0.05, apart=2.0),
    "n1000-w50-close": Case(1000, 0.5, apart=1.5),
    "n100-w50-covariate": Case(100, 0.5, covariate=0.7),
    "n1000-w50-covariate": Case(1000, 0.5, covariate=0.7),
    "n1000-w5-covariate": Case(1000, 0.05, covariate=0.7),
    "power-n100-w50": Case(100, 0.5, effect=0.9),
    "power-n1000-w50": Case(1000, 0.5, effect=0.3),
    "power-n1000-w5": Case(1000, 0.05, effect=0.7),
}


def block(name: str, first: int, count: int) -> list[dict[str, float]]:
    """P-values of all tests in some of the studies of a case."""
    case = CASES[name]
    rows = []
    for j in range(first, first + count):
        rng = np.random.default_rng([zlib.crc32(name.encode()), j])
        model = bg.Mixture(2, weights="rs1 + x" if case.covariate else "rs1")
        found = bg.test_effect(
            model,
            case.study(rng),
            "rs1",
            draws=_DRAWS,
            permutations=_PERMUTATIONS,
            stop_after=_STOP_AFTER,
            seed=j,
            workers=1,
        )
        row: dict[str, float] = {"study": j, **{k: float(v) for k, v in found.attrs.items()}}
        table = found.set_index("test")
        for test in table.index:
            row[f"p_{test}"] = float(table["p_value"][test])
            row[f"recommended_{test}"] = float(table["recommended"][test])
            row[f"statistic_{test}"] = float(table["statistic"][test])
        rows.append(row)
    return rows


def run(folder: Path, names: list[str], studies: int) -> None:
    """Whatever blocks are not there yet, the first of every case before the second of any."""
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, studies, _BLOCK):
        for name in names:
            path = folder / f"{name}.{first}.json"
            if path.exists():
                continue
            began = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rows = block(name, first, min(_BLOCK, studies - first))
            write_text(path, json.dumps(rows))
            print(f"{name} {first} {time.perf_counter() - began:.0f} s", flush=True)


def found(folder: Path) -> dict[str, pd.DataFrame]:
    """Studies of each case, so far."""
    tables: dict[str, list[dict[str, float]]] = {}
    for path in sorted(folder.glob("*.json")):
        tables.setdefault(path.name.split(".")[0], []).extend(json.loads(path.read_text()))
    return {name: pd.DataFrame(tables[name]) for name in CASES if name in tables}


def tables(folder: Path) -> str:
    """Markdown: type-I errors at each level, in bold outside their Monte Carlo band, and power."""
    every = found(folder)
    lines: list[str] = []
    for level in LEVELS:
        lines += [
            f"\nShare of p-values up to {level:g} (per cent):\n",
            "| people | weights | sds apart | allele | other predictor | studies | band | LR | score | permutation | "
            "bootstrap | LR where recommended | score where recommended |",
            "| --- " * 13 + "|",
        ]
        for name, table in every.items():
            if name.startswith("power"):
                continue
            n = len(table)
            low, high = (binom.ppf(q, n, level) / n for q in (0.005, 0.995))
            cells = [CASES[name].told, str(n), f"{100 * low:.1f} to {100 * high:.1f}"]
            cells += [share(table[f"p_{test}"], level) for test in TESTS]
            for test in ("lr", "score"):
                kept = table.loc[table[f"recommended_{test}"] == 1.0, f"p_{test}"]
                cells.append(f"{share(kept, level)} ({len(kept)})" if len(kept) >= 100 else f"({len(kept)})")
            lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "\nPower: share of p-values up to 0.05 where there is an effect (per cent):\n",
        "| people | weights | sds apart | allele | other predictor | log odds ratio | studies | LR | score | "
        "permutation | bootstrap |",
        "| --- " * 11 + "|",
    ]
    for name, table in every.items():
        if name.startswith("power"):
            cells = [CASES[name].told, f"{CASES[name].effect:g}", str(len(table))]
            cells += [f"{100 * (table[f'p_{test}'] <= 0.05).mean():.1f}" for test in TESTS]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def share(p: pd.Series[float], level: float) -> str:
    """Per cent up to a level; in bold where chance would give it less than once in a hundred."""
    hits = int((p <= level * (1 + 1e-12)).sum())
    n = len(p)
    told = f"{100 * hits / n:.1f}"
    inside = binom.ppf(0.005, n, level) <= hits <= binom.ppf(0.995, n, level)
    return told if inside else f"**{told}**"


def main() -> None:
    """Test null studies and write the page."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("cases", nargs="*", default=[], metavar="case")
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--page", action="store_true")
    given = parser.parse_args()
    if given.page:
        page = _DOCS / "effect-tests.md"
        text = page.read_text()
        write_text(page, text[: text.index(_MARK) + len(_MARK)] + "\n" + tables(given.folder))
        return
    run(given.folder, given.cases or list(CASES), given.studies)


if __name__ == "__main__":
    main()
