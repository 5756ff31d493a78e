"""The retention map in a notebook: Jupyter, VS Code, Colab, and whatever else shows HTML."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.errors import BadInput
from core.trace import Trace
from viz.maps.payload import check_together
from viz.maps.standalone import standalone_html
from viz.templates import fill
from viz.words.headlines import headline

HEIGHT = 640
"""Of the maps in pixels, where the notebook does not let them measure themselves."""


@dataclass(frozen=True)
class Maps:
    """Step control, text and maps of one to six runs; a notebook shows them when this is the last value of a cell.

    Attributes:
        html: a whole page, which needs neither a server nor a network. Written to a file, it opens in any browser.
    """

    html: str

    def __repr__(self) -> str:
        return "Maps: the last value of a notebook's cell shows them; .html is the page to write to a file."

    def _repr_html_(self) -> str:
        """The page in a frame, so that its looks and its ids and those of the notebook do not mix."""
        return str(fill("maps/frame.html", page=self.html, height=HEIGHT))


def show(traces: Trace | Sequence[Trace]) -> Maps:
    """The scrubbing maps of one run, or of up to six runs of one text or prompt, above each other.

    Example: ``viz.show([replay(lm, tokens, make_policy(key, budget=64)) for key in ("tova", "window")])``.

    Raises:
        BadInput: something that is no trace, more than six runs, or runs of models with different numbers of layers.
        ValueError: no runs.
    """
    runs = list(traces) if isinstance(traces, Iterable) else [traces]
    if strange := [type(run).__name__ for run in runs if not isinstance(run, Trace)]:
        raise BadInput("Give one trace or a list of traces, not {kind}. Trace.load opens a saved one.", kind=strange[0])
    check_together(runs)
    return Maps(str(standalone_html(runs, [headline(trace) for trace in runs])))
