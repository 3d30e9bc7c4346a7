"""Draw the pictures of the README and of docs/fit-checks.md (the latter from a table that has `waiting`, if given)."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt

import bayesgmm as bg
from bayesgmm.demo import demo_study


def main() -> None:
    """Fit, sample and draw."""
    study = demo_study()
    model = bg.Mixture.from_card("two-humps")
    fit = model.fit(study, seed=1)
    posterior = model.sample(study, init=fit, seed=1)
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained", width_ratios=(1.2, 1))
    bg.plots.plot_density(fit, posterior, ax=axes[0])
    bg.plots.plot_forest(fit, posterior, ax=axes[1])
    images = Path(__file__).parent / "images"
    figure.savefig(images / "demo.png", dpi=110)
    if len(sys.argv) > 1:
        waiting = pd.read_csv(sys.argv[1])[["waiting"]]
        found = bg.check_fit(bg.Mixture(1).fit(bg.Study(waiting, units={"waiting": "minutes"}), seed=1), seed=1)
        found.plot().savefig(images / "fit-checks.png", dpi=110)


if __name__ == "__main__":
    main()
