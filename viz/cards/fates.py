"""What became of one token under every policy, as HTML."""

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from viz.templates import fill


def fates_html(fates: Iterable[tuple[str, Sequence[str]]]) -> Markup:
    """The name of each policy with its sentences."""
    return fill("cards/fates.html", fates=list(fates))
