"""The page: see which tokens a Transformer keeps when its memory is finite.

python app.py                        # the embedded model, on this machine only
python app.py --model PATH_OR_ID     # any supported model, from a directory or the hub
"""

import argparse
import logging
import os
import sys
import tomllib
from concurrent.futures import Future
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
from gradio.route_utils import API_PREFIX
from huggingface_hub.constants import HF_HOME
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from core.errors import UserError
from core.messages import Message
from core.model.registry import DEFAULT_MODEL
from core.store import MEGABYTES, TraceStore
from viz.api import api
from viz.maps.colours import KEPT
from viz.page import limits, models
from viz.page.lens import SharedRun
from viz.page.limits import Limits, add_limits
from viz.page.models import ResidentModels
from viz.page.page import MIDDLEWARE, Page
from viz.page.sidebar import Sidebar, button_name
from viz.page.spoken import spoken
from viz.page.zero_gpu import ZERO_GPU
from viz.tabs.ask import ask_lens
from viz.tabs.budget import budget_lens
from viz.tabs.cost import cost_lens
from viz.tabs.lesson import lesson_tab
from viz.tabs.links import copied
from viz.tabs.tokens import tokens_lens
from viz.tabs.watch import Watch
from viz.tabs.write import write_lens
from viz.templates import static
from viz.words.labels import PageWords, translate

if TYPE_CHECKING:
    from core import LanguageModel

# On a Hugging Face Space, only /data survives a restart.
DATA = (Path("/data") if os.access("/data", os.W_OK) else Path(HF_HOME)) / "multi-state"
VOTES = DATA / "votes.db"
STORE = Path(os.environ.get("MULTI_STATE_STORE") or DATA / "runs")

HEALTH = ("/health", f"{API_PREFIX}/health")
"""Two paths, because the first does not work when Gradio renders pages in Node (GRADIO_SSR_MODE), as on a Space."""

TITLE = "What does a Transformer keep?"

FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Liberation Sans", "sans-serif")

THEME = gr.themes.Soft(primary_hue="sky", font=FONT, spacing_size="sm", text_size="md").set(
    block_title_background_fill="none",
    block_title_background_fill_dark="none",
    block_title_text_color="*body_text_color",
    block_title_text_color_dark="*body_text_color",
    block_title_padding="0",
    block_label_background_fill="none",
    block_label_background_fill_dark="none",
    block_label_text_color="*body_text_color",
    block_label_text_color_dark="*body_text_color",
    color_accent=KEPT.light,
    link_text_color=KEPT.light,
    link_text_color_dark=KEPT.dark,
    border_color_accent=KEPT.light,
    border_color_accent_dark=KEPT.dark,
    input_border_color_focus=KEPT.light,
    input_border_color_focus_dark=KEPT.dark,
    checkbox_background_color_selected=KEPT.light,
    checkbox_background_color_selected_dark=KEPT.light,
    checkbox_label_background_fill_selected=KEPT.light,
    checkbox_label_background_fill_selected_dark=KEPT.light,
    button_primary_background_fill=KEPT.light,
    button_primary_background_fill_hover="#00507a",
    button_primary_background_fill_dark=KEPT.light,
    button_primary_background_fill_hover_dark="#0076ad",
    body_text_color_subdued="*neutral_500",
    checkbox_border_color="*body_text_color_subdued",
    checkbox_border_color_dark="*body_text_color_subdued",
    input_border_width="1px",
    input_border_color="*border_color_primary",
    slider_color=KEPT.light,
    slider_color_dark="#6ec1ee",
)


def build(
    store: TraceStore,
    default: str = DEFAULT_MODEL,
    background: "Future[LanguageModel] | None" = None,
    votes: Path = VOTES,
) -> gr.Blocks:
    """The page.

    Args:
        store: the stored runs.
        default: the name of the model that is chosen at first.
        background: the loading of that model, whose progress the page shows; None if it waits for its first use.
        votes: the file of stories and votes.
    """
    page: gr.Blocks = Page(title=TITLE, analytics_enabled=False, fill_width=True)
    with page:
        api(store)  # first: events that are none of its endpoints must not take their names
        sidebar, run = Sidebar(page, default), SharedRun()
        gr.Button(Message("Projector"), size="sm", elem_id="projector")
        with gr.Tabs(elem_id="lenses"):
            with gr.Tab(Message("Watch"), elem_id="watch", elem_classes="shows-map"):
                watch = Watch(page, sidebar, run, store)
            with gr.Tab(Message("Cost")) as tab:
                cost_lens(tab, run)
            with gr.Tab(Message("Tokens")) as tab:
                tokens_lens(tab, run)
            with gr.Tab(Message("Budget")) as tab:
                budget_lens(tab, sidebar)
            with gr.Tab(Message("Ask"), elem_classes="shows-map") as tab:
                ask_lens(tab, sidebar)
            with gr.Tab(Message("Write")) as tab:
                write_lens(tab, sidebar, votes)
            with gr.Tab(Message("Learn"), elem_classes="shows-map"):
                lesson_tab(page)
        watch.tell_loading(page, background)
        spoken(link=copied, sidebar=button_name)
        page.load(None, js=static("projector.js"))
    translate(page)
    return page


async def health(request: Request) -> JSONResponse:
    """Whether the app answers, its version, and which models are in memory."""
    with (Path(__file__).parent / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    return JSONResponse({"status": "ok", "version": version, "models": models.resident.state()})


def main() -> None:
    """Start the server, then load the model while the page can already be opened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a name from the menu, a directory or a hub id")
    parser.add_argument("--host", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, help="port to listen on (default: the first free one from 7860)")
    parser.add_argument("--votes", type=Path, default=VOTES, help="the file of stories and votes")
    parser.add_argument("--store", type=Path, default=STORE, help="the directory of the runs that are done")
    parser.add_argument("--store-size", type=float, default=MEGABYTES, metavar="MB", help="what it may take there")
    parser.add_argument("--any-model", action="store_true", help="let people load any directory or hub id")
    add_limits(parser)
    arguments = parser.parse_args()
    try:
        store = TraceStore(arguments.store, arguments.store_size)
    except UserError as e:
        parser.error(str(e))
    logging.basicConfig(format="%(message)s", force=True)  # force: replace any format that a library has set
    logging.getLogger("multi_state").setLevel(logging.INFO)
    limits.current = Limits.chosen(arguments)
    models.resident = ResidentModels((arguments.model,), arguments.any_model)
    background: Future[LanguageModel] = Future()
    page = build(store, arguments.model, None if ZERO_GPU else background, arguments.votes)
    if ZERO_GPU:
        page.queue(max_size=sys.maxsize)  # there Gradio allows 1, too few for the events of an opening page
    page.launch(
        server_name=arguments.host,
        server_port=arguments.port,
        max_file_size=f"{limits.current.max_upload_mb}mb",
        app_kwargs={
            "routes": [Route(path, health) for path in HEALTH],
            "middleware": MIDDLEWARE,
        },
        theme=THEME,
        css=static("page.css"),
        i18n=PageWords(),
        footer_links=[],
        mcp_server=find_spec("mcp") is not None,
        prevent_thread_lock=True,
    )
    if not ZERO_GPU:  # after launch, which ends with a request to the server: loading would delay the answer
        load_into(background, arguments.model)
    page.block_thread()


def load_into(background: "Future[LanguageModel]", name: str) -> None:
    """Load the model into memory and set it, or the error, as the result of `background`, for the page to show."""
    try:
        background.set_result(models.language_model(name))
    except Exception as e:
        background.set_exception(e)


if __name__ == "__main__":
    main()
