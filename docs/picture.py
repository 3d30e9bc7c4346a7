"""Draw the picture of the README: the bundled study's fit and its associations."""

from __future__ import annotations

from pathlib import Path

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
    figure.savefig(Path(__file__).parent / "images" / "demo.png", dpi=110)


if __name__ == "__main__":
    main()
