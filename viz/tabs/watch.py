"""Watch: which tokens each policy keeps, step by step."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Generator, Iterator
from concurrent.futures import Future
from contextlib import closing
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from core.errors import UserError
from core.messages import Message, tokens
from core.policies import Oracle
from core.store import Stored, TraceStore
from core.trace import Floats
from viz.cards.markup import status
from viz.examples.example_texts import first_run
from viz.maps.payload import MOST, Payload, View, check_together, payload, window_at
from viz.maps.retention_map import RetentionMap
from viz.page.asked import Asked, Request, reports, request_of, shown
from viz.page.buttons import starting, stopping
from viz.page.export import write_files
from viz.page.lens import SharedRun
from viz.page.models import QUIETLY, one_by_one
from viz.page.runs import LoggedRun, a_run, referred
from viz.page.sidebar import REMEMBER, RESTORE, Sidebar, asked_by
from viz.page.stored import BEFORE, GOING_ON, Updates, in_turn, look_up
from viz.page.uploads import trace_of
from viz.tabs.links import COPY_LINK, LOST, asked_for, linked
from viz.tabs.panel import Panel
from viz.words.catalogue import _
from viz.words.headlines import headline

if TYPE_CHECKING:
    from core import LanguageModel

NOTHING_EVICTED = Message("The budget is not smaller than the text, so nothing had to be evicted.")


class Watch:
    """The maps of the shared run, and what was clicked in them; Run fills both."""

    def __init__(self, page: gr.Blocks, sidebar: Sidebar, run: SharedRun, store: TraceStore) -> None:
        self.sidebar, self.run, self.store = sidebar, run, store
        self.map = RetentionMap()
        self.panel = Panel(run, self.map)
        self._files()
        self.map.window(self.show_window, run.stored, self.map, **one_by_one("window"))
        opening = page.load(
            self.open_page,
            outputs=[self.map, run.stored, sidebar.halted, *self.panel.outputs, *sidebar.values],
            **QUIETLY,
        )
        shown = opening.then(None, sidebar.values, js=REMEMBER, **QUIETLY)
        shown.then(None, sidebar.values, sidebar.values, js=RESTORE, **QUIETLY)
        shows = [self.map, sidebar.status, run.stored, run.ended, *self.panel.outputs]
        running = starting(
            sidebar.run,
            a_run("watch", sidebar.status, self.read),
            sidebar.values,
            shows,
            sidebar.status,
            self.look,
        )
        stopping(sidebar.run, sidebar.stop, running, sidebar.halted, Message("The tokens read so far stay."))

    def _files(self) -> None:
        with gr.Row(elem_id="tools"):
            opens = gr.UploadButton(
                Message("Open"), file_types=[".npz"], file_count="multiple", size="sm", elem_id="open", min_width=60
            )
            exports = gr.Button(Message("Export"), size="sm", elem_id="export", min_width=60)
            links = gr.Button(Message("Copy link"), size="sm", elem_id="copy-link", min_width=60)
        link = gr.Textbox(elem_id="link", visible=False, interactive=False)
        files = gr.Files(
            label=Message("The traces (.npz), tables (.csv), and the maps as a page of their own (.html)"),
            elem_id="files",
            visible=False,
            height=170,
        )
        shows = [self.map, self.run.stored, self.run.ended, self.sidebar.status, *self.panel.outputs]
        opens.upload(self.open_files, opens, shows, **one_by_one("open"))
        exports.click(export, self.run.stored, files, **QUIETLY)
        links.click(None, None, link, js=COPY_LINK, **QUIETLY)

    # -- what is shown --

    def showing(self, stored: Stored, view: View) -> Updates:
        """The maps and the panel of a whole run."""
        return {
            self.map: picture(stored, view),
            self.run.stored: stored,
            self.run.ended: uuid.uuid4().hex,
            **self.panel.at_rest(),
        }

    def open_page(self, request: gr.Request) -> Updates:
        """The run that the address names, and the sidebar as it was; else the example: nobody sees an empty page."""
        wanted = linked(self.store, request.query_params)
        stored = wanted.stored or first_run()
        n = longest(stored)
        window = window_at(n, n - 1 if wanted.step is None else wanted.step)
        run_id = uuid.uuid4().hex if wanted.stored else "example"
        updates = self.showing(stored, View(run=run_id, window=window, key=wanted.key))
        del updates[self.run.ended]  # nobody looks at another lens yet
        if wanted.stored:
            updates |= self.sidebar.showing(asked_for(stored))
        if wanted.lost:
            updates[self.sidebar.halted] = status(LOST, "error")
        return updates

    def open_files(self, files: list[str]) -> Updates:
        """Saved traces in place of the run that is shown."""
        try:
            stored = Stored(tuple(trace_of(file) for file in files[: MOST + 1]))
            check_together(stored.traces)
        except UserError as e:
            return {self.sidebar.status: status(e.message, "error")}
        first = stored.traces[0]
        told = _(
            "Opened: {files}, {tokens}, read by {model}.",
            files=", ".join(PurePath(file).name for file in files),
            tokens=tokens(longest(stored)),
            model=PurePath(first.model_id).name,
        )
        n = longest(stored)
        view = View(run=uuid.uuid4().hex, window=window_at(n, n - 1))
        return self.showing(stored, view) | {self.sidebar.status: status(told, "done")}

    def show_window(self, stored: Stored | None, event: gr.EventData) -> Updates:
        """Another part of a text that is too long to be shown whole."""
        if stored is None:
            return {self.map: gr.skip()}
        return {self.map: picture(stored, View(run=event.run, window=window_at(longest(stored), int(event.position))))}

    # -- a run --

    async def look(self, *values: Any) -> AsyncIterator[Updates]:
        """Show the run if it is stored, without waiting for the model; else ask for it, see `look_up`."""
        yield {self.sidebar.status: status(_("Looking whether this was computed before …"))}
        try:
            asked = asked_by(values)
            asked.check()
        except UserError as e:
            yield {self.sidebar.status: status(e.message, "error")}
            return
        async for updates in look_up(self.store, asked, self.from_store, self.sidebar.status):
            yield updates

    def read(self, record: LoggedRun, *values: Any) -> Generator[Updates]:
        """Read the text, write on if asked to, and report while it goes on; or show what is stored of it."""
        asked = asked_by(values)
        record.policies = asked.pairs
        yield {self.sidebar.status: status(_("Loading the model …"))}
        with closing(record.using(asked.model, read, asked)) as reading:
            request = next(reading)
            compute = partial(self.computed, record, reading, request)
            stored = partial(self.from_store, key=request.key)
            waiting = {self.sidebar.status: status(GOING_ON)}
            yield from in_turn(record, self.store, request.key, stored, compute, waiting)

    def computed(self, record: LoggedRun, reading: Iterator[Any], request: Request) -> Iterator[Updates]:
        """Let the reading that has told its request go on, and store what it gives."""
        run_id, started = uuid.uuid4().hex, time.monotonic()
        if any(chosen.key == Oracle.key for chosen in request.asked.policies):
            yield {self.sidebar.status: status(_("The oracle looks ahead: it reads the whole text first …"))}
        for report in reading:
            record.tokens = report.done
            if report.done == report.total:
                break
            view = View(run=run_id, total=report.total, window=window_at(report.total, report.done - 1))
            yield {
                self.map: picture(report.stored, view),
                self.run.stored: report.stored,
                self.sidebar.status: status(doing(report.done, report.total, len(request.tokens))),
            }
        seconds = time.monotonic() - started
        stored = report.stored
        n = longest(stored)
        key = request.key if self.store.put(request.key, stored) else None
        done = _("Done: {tokens:,} tokens in {seconds:.1f} s.", tokens=n, seconds=seconds)
        view = View(run=run_id, window=window_at(n, n - 1), key=key)
        yield self.showing(stored, view) | {self.sidebar.status: finished(stored, done)}

    def from_store(self, stored: Stored, key: str) -> Updates:
        """A run that was computed before."""
        n = longest(stored)
        done = _("Done: {tokens:,} tokens.", tokens=n)
        view = View(run=uuid.uuid4().hex, window=window_at(n, n - 1), key=key)
        return self.showing(stored, view) | {self.sidebar.status: finished(stored, done, BEFORE)}

    def tell_loading(self, page: gr.Blocks, background: "Future[LanguageModel] | None") -> None:
        """Let the status line tell how the loading of the model goes; then its tokens can be counted."""

        async def tell() -> AsyncIterator[Updates]:
            async for updates in self.loading(background):
                yield updates

        page.load(tell, outputs=self.sidebar.status, concurrency_limit=None, **QUIETLY).then(**self.sidebar.counting())

    async def loading(self, background: "Future[LanguageModel] | None") -> AsyncIterator[Updates]:
        """How the loading of the model goes."""
        line, started = self.sidebar.status, time.monotonic()
        while background is not None and not background.done():
            seconds = time.monotonic() - started
            loading = _("Loading the model … {seconds:.0f} s. The example is real: look around.", seconds=seconds)
            yield {line: status(loading)}
            await asyncio.sleep(0.5)
        error = background.exception() if background is not None else None
        if error is not None:
            yield {line: status(error.message if isinstance(error, UserError) else referred(error), "error")}
        elif background is None:
            yield {line: status(_("A stored run. Press Run to read your own text."), "done")}
        else:
            yield {line: status(_("Model ready. A stored run is shown: press Run to read your own text."), "done")}


def read(lm: "LanguageModel", asked: Asked) -> Iterator[Any]:
    """The request, and then the reports of its run."""
    request = request_of(lm, asked)
    yield request
    yield from reports(lm, request)


def longest(stored: Stored) -> int:
    """How many tokens the longest of the traces has."""
    return max(len(trace) for trace in stored.traces)


def picture(stored: Stored, view: View) -> Payload:
    """What the maps show of a run."""
    traces = shown(stored)
    notes = [headline(trace) for trace in traces]
    return payload(traces, view, delta_nll=losses(stored), notes=notes)


def losses(stored: Stored) -> Floats | None:
    """(policies shown, n): how many nats each token cost more than under the full model; None without that."""
    comparison = stored.comparison
    return None if comparison is None else np.stack([trace.nll for trace in shown(stored)]) - comparison.full.nll


def doing(done: int, total: int, prompt: int) -> str:
    """What a run does, and how far it is."""
    if done < prompt or prompt == total:
        return _("Reading: {done:,} of {total:,} tokens", done=done, total=total)
    return _("Writing: {done:,} of {total:,} tokens", done=done, total=total)


def finished(stored: Stored, first: str, *more: str) -> str:
    """The status of a run that has come to its end; it also says if the policies had nothing to do."""
    budgets = [trace.policy.budget for trace in shown(stored)]
    idle = all(budget is not None and budget >= longest(stored) for budget in budgets)
    return status([first, *[NOTHING_EVICTED] * idle, *more], "done")


def export(stored: Stored | None) -> Any:
    """The run as files."""
    return gr.skip() if stored is None else gr.update(value=write_files(stored), visible=True)
