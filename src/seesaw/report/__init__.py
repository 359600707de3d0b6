"""The report: one self-contained HTML page that a person opens first."""

from seesaw.report.facts import benchmark_table
from seesaw.report.page import item_name, read_captions, write_report

__all__ = ["benchmark_table", "item_name", "read_captions", "write_report"]
