"""The report's section on tests of effects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayesgmm.report.parts import Section, html_table, picture

if TYPE_CHECKING:
    from bayesgmm.analysis.effect_tests_result import EffectTests


def effect_tests_section(found: EffectTests) -> Section:
    """Verdicts as points, how large each statistic is without an effect, the tests and what the advice rests on."""
    text = (
        "Tests that a predictor has no effect on any weight, under flat priors of the effects. The verdict is that of "
        "the most trustworthy test that is recommended; advice says why each is or is not. people are expected in the "
        "smallest component, carriers are those of the rarer genotypes there, known is the share of that component's "
        "memberships that the traits tell."
    )
    shown = found.readable.assign(recommended=found["recommended"].map({True: "yes", False: "no"}))
    caption = "How often each statistic is as large without an effect; the dashed line is the one observed"
    return Section(
        "Is there an effect",
        text,
        [picture(found.plot(), caption, wide=True)],
        [
            html_table(shown, "Every test, and whether to trust it", text=True),
            html_table(found.facts, "What the advice rests on"),
        ],
        [f"{name}: {words}" for name, words in found.verdicts.items()],
    )
