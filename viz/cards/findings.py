"""Findings about a run, as HTML."""

from markupsafe import Markup

from viz.templates import fill
from viz.words.findings import Finding


def findings_html(found: list[Finding]) -> Markup:
    """A list of numbers, each with what it means."""
    return fill("cards/findings.html", findings=found)
