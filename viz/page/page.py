"""The page itself: its language, how it explains errors, and how many runs of one person may wait."""

from typing import Any

import gradio as gr
from gradio.context import LocalContext
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from core.errors import UserError
from viz.page import limits
from viz.page.models import ALONE
from viz.page.runs import referred
from viz.words.catalogue import _, preferred, speaking, told
from viz.words.labels import PageWords


class Page(gr.Blocks):
    """Speaks the language of whoever uses it, explains every error, and bounds the line.

    A `UserError` is explained by its own words and any other by a reference number.

    Gradio has no hook for either in all kinds of events, so this leans on two of its internals: every handler is called
    through `process_api`, and a `BlockFunction` has a `validator`, which decides before an event joins the line.
    """

    @property
    def config(self) -> Any:
        """What the browser makes the page from, with the words of whoever asks for it; Gradio reads it each time."""
        return self._config | {"i18n_translations": PageWords().translations_dict}

    @config.setter
    def config(self, config: Any) -> None:
        self._config = config

    def __exit__(self, *exception: Any) -> None:
        """Close the page as `gr.Blocks` does; all events are there now, so those that use the model get their limit."""
        super().__exit__(*exception)
        for event in self.fns.values():
            if event.concurrency_id == ALONE["concurrency_id"]:
                event.validator = few_waiting

    async def process_api(self, block_fn: Any, inputs: list[Any], *args: Any, **options: Any) -> dict[str, Any]:
        """As in `gr.Blocks`.

        Raises:
            gr.Error: whatever was raised, as it is to be told.
        """
        event = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        if event.is_validator_function:
            event.preprocess = False  # wrong inputs are for the run to refuse: what it says reaches every client
        request = options.get("request")
        with speaking(preferred(request.headers.get("accept-language", "") if request is not None else "")):
            try:
                return await super().process_api(event, inputs, *args, **options)
            except gr.Error:
                raise
            except Exception as e:
                message = e.message if isinstance(e, UserError) else referred(e)
                raise gr.Error(told(message), print_exception=False) from e


class SpeakingMiddleware:
    """Lets what Gradio does outside of events, such as giving out the page itself, speak the browser's language."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        header = Headers(scope=scope).get("accept-language", "") if scope["type"] == "http" else ""
        with speaking(preferred(header)):
            await self._app(scope, receive, send)


def few_waiting(request: gr.Request, *inputs: Any) -> Any:
    """Whether one more run of this person may wait: a verdict, as one for each input, which is what Gradio wants."""
    page = LocalContext.blocks.get()
    assert page is not None, "asked while an event is handled"
    line = page._queue.event_queue_per_concurrency_id[ALONE["concurrency_id"]]
    waiting = sum(event.session_hash == request.session_hash for event in line.queue)
    most = limits.current.max_waiting
    message = _(
        "{waiting} of your runs are waiting in line; at most {most} may. Wait until one begins, or stop it.",
        waiting=waiting,
        most=most,
    )
    verdict = gr.validate(waiting < most, message)
    return verdict if len(inputs) == 1 else [verdict] * len(inputs)
