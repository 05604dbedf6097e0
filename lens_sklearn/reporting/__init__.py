"""What a fitted reward model is worth, as one page that opens in any browser."""

from ._page import html_report

__all__ = ["html_report"]
