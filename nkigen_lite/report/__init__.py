"""What a compilation tells people: the report as data and as text."""

from nkigen_lite.report.data import CompileReport, make_report

__all__ = ["CompileReport", "make_report"]
