"""A report on a run, or on the agreement of annotators, as one HTML file."""

from umanet.report.build import build_report, write_agreement

__all__ = ["build_report", "write_agreement"]
