"""The report: one self-contained HTML file."""

from bayesgmm.report.page import write_report

__all__ = ["write_report"]
