"""A plan as one HTML page that needs nothing else."""

from adapters.plans.report.page import report_html

__all__ = ["report_html"]
