"""Pictures and tables of ``docs/calibration.md`` from the ranks that :mod:`benchmarks.calibration` left in a folder.

Run as ``python -m benchmarks.calibration_page FOLDER``.
"""

from __future__ import annotations

import argparse
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayesgmm.inference.laplace import USABLE_K
from benchmarks.calibration import RANKED, p_values
from benchmarks.calibration_cases import CASES
from benchmarks.uniformity import band, counts_below

DOCS = Path(__file__).resolve().parents[1] / "docs"
_LABEL = {"nuts": "NUTS", "laplace": "Laplace"}
_BEGIN, _END = "<!-- tables -->", "<!-- end of tables -->"
_RESOLVED = 1e-12  # p-values below are rounding
_NAMED = 4  # quantities of a panel that are named, those with the smallest p-values


def tables_of(folder: Path) -> dict[tuple[str, str], pd.DataFrame]:
    """Ranks by case and engine, in the order of the cases."""
    found = {}
    for name, case in CASES.items():
        for engine in case.engines:
            file = folder / f"{name}.{engine}.csv"
            if file.exists():
                found[name, engine] = pd.read_csv(file)
    return found


def usable(table: pd.DataFrame) -> pd.DataFrame:
    """Simulations whose k-hat, where there is one, does not say to use NUTS."""
    return table[~(table["pareto_k"] > USABLE_K)]


def picture(name: str, tables: dict[str, pd.DataFrame], path: Path) -> None:
    """Difference of each quantity's rank distribution from uniform, by engine, with the 95% simultaneous band."""
    from matplotlib import pyplot as plt
    from PIL import Image

    figure, axes = plt.subplots(
        1, len(tables), figsize=(4.2 * len(tables), 2.9), layout="constrained", squeeze=False, sharey=True
    )
    share = np.arange(1, RANKED + 1) / (RANKED + 1)
    for ax, (engine, table) in zip(axes[0], tables.items(), strict=True):
        kept = usable(table)
        n = len(kept)
        lower, upper = band(n, RANKED)
        ax.fill_between(share, lower / n - share, upper / n - share, color="0.9", linewidth=0.0, step="mid")
        p = p_values(kept)
        worst = [q for q in p.nsmallest(_NAMED).index if p[q] < 0.05]
        for quantity in p.index:
            difference = counts_below(kept[quantity].to_numpy(), RANKED) / n - share
            if quantity in worst:
                ax.plot(share, difference, linewidth=1.2, label=f"{quantity}, p = {p[quantity]:.2g}", zorder=3)
            else:
                ax.plot(share, difference, linewidth=0.5, color="0.45", alpha=0.7)
        ax.axhline(0.0, color="0.3", linewidth=0.5)
        left = "" if n == len(table) else f", {len(table) - n} left out"
        ax.set_title(f"{_LABEL[engine]}: {n} simulations{left}", fontsize=9)
        ax.set_xlabel("rank of the truth, as a share", fontsize=8)
        ax.tick_params(labelsize=7)
        if worst:
            ax.legend(fontsize=6, loc="lower left", frameon=False)
    axes[0, 0].set_ylabel("ECDF - uniform", fontsize=8)
    figure.suptitle(CASES[name].about, fontsize=10)
    whole = BytesIO()
    figure.savefig(whole, dpi=85)
    plt.close(figure)
    # few colours, so that the file is a quarter of the size
    Image.open(whole).convert("RGB").quantize(64).save(path, optimize=True)


def summary_row(name: str, engine: str, table: pd.DataFrame, which: str) -> str:
    """One line of the table: simulations, the least p-value, and that times the number of quantities."""
    p = p_values(table)
    worst = str(p.idxmin())
    ess = f"{table['ess'].quantile(0.1):.0f}"
    cells: list[Any] = [
        CASES[name].about,
        f"{_LABEL[engine]}{which}",
        len(table),
        len(p),
        ess,
        worst,
        _told(p.min()),
        _told(min(1.0, len(p) * p.min())),
    ]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _told(p: float) -> str:
    return f"{p:.2g}" if p > _RESOLVED else f"below {_RESOLVED:g}"


def page(folder: Path) -> None:
    """Write pictures, the list of all p-values, and the page's tables."""
    found = tables_of(folder)
    rows = [
        "| model and prior | engine | simulations | quantities | ESS, lowest tenth | least uniform quantity | p | "
        "p x quantities |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    every = []
    pictures = []
    for name in dict.fromkeys(name for name, _ in found):
        own = {engine: table for (case, engine), table in found.items() if case == name}
        for engine, table in own.items():
            kept = usable(table)
            if engine == "laplace":
                rows.append(summary_row(name, engine, table, ", all"))
                rows.append(summary_row(name, engine, kept, f", k-hat up to {USABLE_K}"))
            else:
                rows.append(summary_row(name, engine, table, ""))
            told = p_values(table), p_values(kept)
            every.append(
                pd.DataFrame(
                    {
                        "case": name,
                        "engine": engine,
                        "quantity": told[0].index,
                        "simulations": len(table),
                        "p_value": told[0].to_numpy(),
                        "usable_simulations": len(kept),
                        "usable_p_value": told[1].to_numpy(),
                    }
                )
            )
        picture(name, own, DOCS / "images" / f"calibration-{name}.png")
        pictures.append(f"![{CASES[name].about}](images/calibration-{name}.png)")
    pd.concat(every).round(6).to_csv(DOCS / "calibration.csv", index=False)
    text = (DOCS / "calibration.md").read_text()
    head, rest = text.split(_BEGIN)
    tail = rest.split(_END)[1]
    body = "\n".join([_BEGIN, "", *rows, "", *pictures, "", _END])
    (DOCS / "calibration.md").write_text(head + body + tail)


def main() -> None:
    """Make the page of a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    page(parser.parse_args().folder)


if __name__ == "__main__":
    main()
