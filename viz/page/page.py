"""The page itself: its language, how it explains errors, how many runs of one person may wait, and how one is ended."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakValueDictionary

import gradio as gr
from gradio.blocks import BlocksConfig
from gradio.components.api_component import Api
from gradio.context import LocalContext
from gradio.route_utils import API_PREFIX
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import UserError
from viz.page import limits
from viz.page.models import ALONE
from viz.page.runs import referred
from viz.words.catalogue import _, preferred, speaking, told
from viz.words.labels import PageWords


class Page(gr.Blocks):
    """The page as `gr.Blocks`: in the user's language, with an explanation of every error, and a limit of waiting runs.

    A `UserError` is explained by its own message, any other error by a reference number.

    Gradio has no hooks for these in all kinds of events, so this relies on five of its internals: every handler is
    called through `process_api`, what it yields goes through `handle_streaming_diffs`, a `BlockFunction` has a
    `validator`, which decides before an event joins the line, a visitor's first event copies `default_config`, and
    `launch` takes `_frontend`.
    """

    _config: Any = None

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.default_config = _Components(self)

    @property
    def config(self) -> Any:
        """What a browser builds the page from, texts in its language included; Gradio reads this for each browser."""
        if self._config is None:
            self._config = super().get_config_file()
        return self._config | {"i18n_translations": PageWords().translations_dict}

    @config.setter
    def config(self, _: Any) -> None:
        self._config = None  # it has changed; it is made when it is read

    def get_config_file(self) -> Any:
        """Nothing: Gradio makes it four times before anybody reads it, which would take half a second."""
        return {}

    def __exit__(self, *exception: Any) -> None:
        """End as `gr.Blocks` does; all events exist now, so those that use the model get their limit."""
        super().__exit__(*exception)
        for event in self.fns.values():
            if event.concurrency_id == ALONE["concurrency_id"] and event.validator is None:
                event.validator = few_clicks_waiting if event.collects_event_data else few_waiting

    def launch(self, *arguments: Any, **settings: Any) -> Any:
        """Start the server as `gr.Blocks` does, but however long the first page takes.

        Gradio ends an app whose page is not there within three seconds, which a busy machine may need. That the server
        answers at all, it has asked before.
        """
        return super().launch(*arguments, _frontend=False, **settings)

    def handle_streaming_diffs(
        self,
        block_fn: Any,
        data: list[Any],
        session_hash: str | None,
        run: str | None,
        final: bool,
        simple_format: bool = False,
    ) -> list[Any]:
        """What a handler yields, each value whole.

        Gradio sends how a value has changed since the last `yield`, and its page changes it in place, although it may
        not have shown it yet. So a browser that is busy, as on a phone, would never show a figure if the next `yield`
        leaves that component as it is.
        """
        begins = run not in self.pending_diff_streams.get(session_hash, {})
        whole = super().handle_streaming_diffs(block_fn, data, session_hash, run, final, simple_format=True)
        if simple_format or run is None or begins or final:
            return whole
        return [[["replace", [], value]] for value in whole]  # one change, of all that is there

    async def process_api(self, block_fn: Any, inputs: list[Any], *args: Any, **options: Any) -> dict[str, Any]:
        """Call an event's handler as `gr.Blocks` does, with the browser's language as the current one.

        Raises:
            gr.Error: the handler raised an error; this one has the explanation for the user.
        """
        event = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        if event.is_validator_function:
            event.preprocess = False  # the run refuses wrong inputs itself: its message reaches every client
        # of an endpoint: a program may be older than its last values
        left_out = [value for value in event.inputs[len(inputs) :] if isinstance(value, Api)]
        inputs = [*inputs, *(value.value for value in left_out)]
        request = options.get("request")
        with speaking(preferred(request.headers.get("accept-language", "") if request is not None else "")):
            try:
                return await super().process_api(event, inputs, *args, **options)
            except gr.Error:
                raise
            except Exception as e:
                message = e.message if isinstance(e, UserError) else referred(e)
                raise gr.Error(told(message), print_exception=False) from e


class _Components(BlocksConfig):
    """The page's components and events; a visitor's copy of them describes no component."""

    def __copy__(self) -> "_OfOneVisitor":
        copied = _OfOneVisitor(self.root_block)
        copied.__dict__.update(super().__copy__().__dict__)  # type: ignore[no-untyped-call]
        return copied


class _OfOneVisitor(BlocksConfig):
    """Gradio describes every component anew for every visitor, in case of a deep link, of which this page has none.

    With hundreds of components this took 0.2 s, in which the server answered nobody else.
    """

    @staticmethod
    def config_for_block(*_block: Any, **_options: Any) -> dict[str, Any]:
        """Nothing: only deep links would read it."""
        return {}


class SpeakingMiddleware:
    """Makes the browser's language the current one for what Gradio does outside of events, such as sending the page."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        header = Headers(scope=scope).get("accept-language", "") if scope["type"] == "http" else ""
        with speaking(preferred(header)):
            await self._app(scope, receive, send)


class CancellingMiddleware:
    """Ends a run once, however often that is asked for.

    The page asks at every press of Stop and Run until the first request is answered, which takes as long as the chunk
    that the run is reading. In Gradio, the second would interrupt how the first puts the run away; and if it came after
    that, it would end the person's next run of the same kind. So it waits for the first and has the same answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._locks = WeakValueDictionary[bytes, asyncio.Lock]()  # by what is asked, as long as somebody asks it

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http" or not scope["path"].endswith(f"{API_PREFIX}/cancel"):
            await self._app(scope, receive, send)
            return
        heard = deque([await receive()])
        while heard[-1].get("more_body"):
            heard.append(await receive())
        asked = b"".join(message.get("body", b"") for message in heard)
        lock = self._locks.setdefault(asked, asyncio.Lock())

        async def again() -> Message:
            return heard.popleft() if heard else await receive()

        being_ended = lock.locked()
        async with lock:
            if being_ended:
                await JSONResponse({"success": True})(scope, again, send)
            else:
                await self._app(scope, again, send)


MIDDLEWARE = [Middleware(SpeakingMiddleware), Middleware(CancellingMiddleware)]
"""What the server of a page needs, see `app_kwargs` of `gr.Blocks.launch`."""


def few_waiting(request: gr.Request, *inputs: Any) -> Any:
    """Whether one more run of this person may wait in line; clicks that wait are not counted."""
    return _few_of(few_waiting, request, inputs)


def few_clicks_waiting(request: gr.Request, *inputs: Any) -> Any:
    """Whether one more click that needs the model may wait; runs of this person that wait are not counted."""
    return _few_of(few_clicks_waiting, request, inputs)


def _few_of(kind: Callable[..., Any], request: gr.Request, inputs: Sequence[Any]) -> Any:
    """The verdict on an event of this kind, one of the two above. Gradio wants it once for each of the inputs."""
    page = LocalContext.blocks.get()
    assert page is not None, "asked while an event is handled"
    line = page._queue.event_queue_per_concurrency_id[ALONE["concurrency_id"]].queue
    waiting = sum(event.session_hash == request.session_hash and event.fn.validator is kind for event in line)
    most = limits.current.max_waiting
    message = _(
        "{waiting} of your runs are waiting in line; at most {most} may. Wait until one begins, or stop it.",
        waiting=waiting,
        most=most,
    )
    verdict = gr.validate(waiting < most, message)
    return verdict if len(inputs) == 1 else [verdict] * len(inputs)
