"""The hierarchy measured: where the fine detail lives, what is lost, and what to change."""

from fgjax.analysis.atlas import report
from fgjax.analysis.page.summary import console_summary

__all__ = ["console_summary", "report"]
