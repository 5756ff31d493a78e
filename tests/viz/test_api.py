"""The HTTP API on a real server, used as its users do, and its answers beside the core's own."""

import ast
import asyncio
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.request import Request, urlopen

import numpy as np
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client

import app
import core
from core import Trace, foresee, generate, make_policy, replay
from core.experiments.records import points
from core.measures.costs import costs
from core.store import TraceStore
from core.trace import NEVER
from tests.talkers import make_talker
from viz.page import models
from viz.page.asked import Asked, Chosen, request_of
from viz.page.models import ResidentModels

TEXT = "Maud lit the lamp, and the lamp lit the sea, and the sea kept what it was told."


@pytest.fixture(scope="module")
def talker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[core.LanguageModel]:
    before = models.resident
    name = make_talker(tmp_path_factory.mktemp("talker"), chats=False, context=8192)
    models.resident = ResidentModels((name,))
    yield models.resident.get(name)
    models.resident = before


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TraceStore:
    return TraceStore(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def address(talker: core.LanguageModel, store: TraceStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    page = app.build(store, talker.model_id, votes=tmp_path_factory.mktemp("votes") / "votes.db")
    yield page.launch(prevent_thread_lock=True, quiet=True, mcp_server=True)[1]
    page.close(verbose=False)


@pytest.fixture(scope="module")
def client(address: str) -> Client:
    return Client(address, verbose=False)


def test_three_endpoints_are_offered_and_say_what_they_take_and_give(client: Client) -> None:
    offered = client.view_api(return_format="dict")
    assert set(offered["named_endpoints"]) == {"/trace", "/compare", "/sweep"} and not offered["unnamed_endpoints"]
    for endpoint in offered["named_endpoints"].values():
        assert len(endpoint["description"]) > 50
        assert all(parameter["python_type"]["type"] != "Any" for parameter in endpoint["parameters"])
        assert all(returned["python_type"]["type"].startswith("dict(model: str") for returned in endpoint["returns"])


@pytest.mark.parametrize(
    ("key", "budget", "settings"), [("tova", 8, {}), ("h2o", 6, {}), ("window+i", 8, {"n_sink": 2}), ("full", None, {})]
)
def test_trace_is_what_replay_finds(client: Client, talker, key: str, budget: int | None, settings: dict) -> None:
    answer = client.predict(
        TEXT, policy=key, budget=budget, settings=settings, model=talker.model_id, file=key == "h2o", api_name="/trace"
    )
    trace = replay(talker, talker.encode(TEXT), make_policy(key, budget, **settings))
    np.testing.assert_array_equal(np.array(answer["evicted_at"]), trace.evicted_at)
    assert (answer["evicted_at"][0][0][-1] == NEVER) == (trace.evicted_at[0, 0, -1] == NEVER)
    assert answer["nll"][0] is None
    np.testing.assert_allclose(answer["nll"][1:], trace.nll[1:], rtol=1e-4)
    assert answer["perplexity"] == pytest.approx(core.measures.costs.perplexity(trace), rel=1e-4)
    assert (answer["pieces"], answer["prompt_length"]) == (list(trace.tokens.pieces), len(TEXT))
    assert (answer["policy"]["key"], answer["policy"]["budget"]) == (key, budget)
    assert answer["policy"]["settings"] == settings
    if key == "h2o":
        np.testing.assert_array_equal(Trace.load(answer["file"]).evicted_at, trace.evicted_at)
    else:
        assert answer["file"] is None


def test_budgets_are_shared_out_and_rows_go_at_a_time_as_asked_for(client: Client, talker) -> None:
    tokens, how = talker.encode(TEXT), {"budgets": "adaptive", "every": 3}
    answer = client.predict(TEXT, policy="knorm", budget=8, model=talker.model_id, **how, api_name="/trace")
    trace = replay(talker, tokens, make_policy("knorm", 8), **how)
    np.testing.assert_array_equal(np.array(answer["evicted_at"]), trace.evicted_at)
    shared = {"sharing": "adaptive", "every": 3, "model": talker.model_id}
    answer = client.predict(TEXT, ["knorm"], [8], **shared, api_name="/compare")
    np.testing.assert_allclose(answer["nll"][1][1:], trace.nll[1:], rtol=1e-4)
    answer = client.predict(TEXT, ["knorm"], [8], **shared, api_name="/sweep")
    assert answer["points"][-1]["perplexity"] == pytest.approx(core.measures.costs.perplexity(trace), rel=1e-4)


def test_trace_writes_on_as_generate_does(client: Client, talker) -> None:
    answer = client.predict(TEXT, budget=8, new_tokens=6, model=talker.model_id, api_name="/trace")
    trace = generate(talker, talker.encode(TEXT), make_policy("tova", 8), max_new_tokens=6)
    assert answer["pieces"] == list(trace.tokens.pieces) and answer["prompt_length"] == len(TEXT) < len(trace)
    np.testing.assert_array_equal(np.array(answer["evicted_at"]), trace.evicted_at)


def test_compare_is_what_compare_finds(client: Client, talker) -> None:
    answer = client.predict(TEXT, ["tova", "oracle"], [8, 6], model=talker.model_id, api_name="/compare")
    tokens = talker.encode(TEXT)
    found = core.compare(talker, tokens, [make_policy("tova", 8), foresee(talker, tokens, 6)])
    for told, cost in zip(answer["costs"], costs(found), strict=True):
        assert (told["policy"]["key"], told["policy"]["budget"]) == (cost.policy.key, cost.policy.budget)
        for name in ("perplexity", "mean_delta_nll", "mean_kl", "agreement", "memory", "memory_llama_2_7b"):
            assert told[name] == pytest.approx(getattr(cost, name), rel=1e-3, abs=1e-5)
    nll = [trace.nll[1:] for trace in (found.full, *found.traces)]
    np.testing.assert_allclose([own[1:] for own in answer["nll"]], nll, rtol=1e-4)
    np.testing.assert_allclose([own[1:] for own in answer["kl"]], found.kl[:, 1:], rtol=1e-3, atol=1e-5)


def test_sweep_is_what_sweep_finds(client: Client, talker) -> None:
    answer = client.predict(TEXT, ["window+i", "h2o"], [4, 16], model=talker.model_id, api_name="/sweep")
    expected = points(core.sweep(talker, talker.encode(TEXT), ["window+i", "h2o"], [4, 16]))
    found = {(point["policy"], point["budget"]): point["perplexity"] for point in answer["points"]}
    assert found == {(point.policy, point.budget): pytest.approx(point.perplexity, rel=1e-4) for point in expected}
    assert len(answer["sentences"]) == 3 and "Window+i is left out with budget 4" in answer["left_out"][0]


@pytest.mark.parametrize(
    ("endpoint", "inputs"),
    [
        ("/trace", {"policy": "h2o", "budget": 7}),
        ("/trace", {"budget": 9, "new_tokens": 4}),
        ("/compare", {"policies": ["tova", "oracle"], "budgets": [5]}),
    ],
)
def test_what_was_computed_once_is_told_again(
    client: Client, talker, endpoint: str, inputs: dict, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "multi_state")
    first, second = (client.predict(TEXT, model=talker.model_id, **inputs, api_name=endpoint) for _ in range(2))
    assert first == second  # the speeds in it, too: nothing was read again
    lines = [json.loads(record.message) for record in caplog.records if record.name == "multi_state"]
    assert [line["from_store"] for line in lines] == [False, True]
    assert [line["tokens"] for line in lines] == [len(first["pieces"])] * 2


def test_the_page_and_the_endpoints_share_what_was_computed(client: Client, talker, store: TraceStore) -> None:
    answer = client.predict(TEXT, ["tova", "window"], [11], model=talker.model_id, api_name="/compare")
    asked = Asked(talker.model_id, TEXT, (Chosen("tova", 11), Chosen("window", 11)))
    comparison = store.get(request_of(talker, asked).key).comparison
    assert [cost.perplexity for cost in costs(comparison)] == [cost["perplexity"] for cost in answer["costs"]]


@pytest.mark.parametrize(
    ("endpoint", "wrong", "told"),
    [
        ("/trace", {"text": " "}, "The text is empty"),
        ("/trace", {"text": 7}, "text: .*string"),
        ("/trace", {"policy": "tovar"}, "policy: .*'tova', 'window'"),
        ("/trace", {"budget": "8"}, "budget: .*integer"),
        ("/trace", {"budget": 0}, "budget must be a whole number from 1 to"),
        ("/trace", {"policy": "random", "settings": {"seed": 2**64}}, "seed must be a whole number from 0 to"),
        ("/trace", {"policy": "window+i", "settings": {"n_sink": -(2**70)}}, "n_sink must be a whole number from 0"),
        ("/trace", {"budget": 2**70}, "budget must be a whole number from 1 to"),
        ("/trace", {"new_tokens": 2**70}, "new tokens must be a whole number from 0 to"),
        ("/compare", {"policies": ["tova"], "budgets": [2**70]}, "at most 1,024"),
        ("/compare", {"policies": ["tova"], "budgets": [-1]}, "budget must be a whole number from 1 to"),
        ("/compare", {"policies": ["oracle"], "budgets": [0]}, "budget must be a whole number from 1 to"),
        ("/sweep", {"policies": ["tova"], "budgets": [2**70]}, "at most 1,024"),
        ("/trace", {"budget": 10**9}, "at most"),
        ("/trace", {"new_tokens": -1}, "new tokens must be a whole number from 0 to"),
        ("/trace", {"new_tokens": 10**9}, "at most"),
        ("/trace", {"settings": {"n_sink": 2}}, "no setting n_sink"),
        ("/trace", {"model": "/etc"}, "not among the models"),
        ("/trace", {"model": "http://127.0.0.1:9/"}, "not among the models"),
        ("/trace", {"text": "a" * 200_000}, "at most"),
        ("/compare", {"policies": [], "budgets": [8]}, "at least one policy"),
        ("/compare", {"policies": ["tova"], "budgets": [8, 9]}, "one budget for all"),
        ("/sweep", {"policies": ["tova"], "budgets": []}, "one budget"),
    ],
)
def test_mistakes_are_told_in_words(client: Client, talker, endpoint: str, wrong: dict, told: str) -> None:
    with pytest.raises(AppError, match=told) as refusal:
        client.predict(**{"text": TEXT, "model": talker.model_id} | wrong, api_name=endpoint)
    assert "Reference" not in str(refusal.value)


@pytest.mark.parametrize(
    ("budget", "seed", "told"),
    [("NaN", "0", "budget: .*integer"), ("4", "1e999", "seed: .*integer"), ("4", str(2**64), "seed must be")],
)
def test_numbers_that_only_a_hand_can_write_are_refused_in_words(
    address: str, talker, budget: str, seed: str, told: str
) -> None:
    url = f"{address}gradio_api/call/trace"
    settings = f'{{"seed": {seed}}}, "original", {json.dumps(talker.model_id)}, false'
    body = f'{{"data": [{json.dumps(TEXT)}, "random", {budget}, 0, {settings}]}}'
    with urlopen(Request(url, body.encode(), {"content-type": "application/json"})) as asked:
        event = json.load(asked)["event_id"]
    with urlopen(f"{url}/{event}") as answer:
        said = answer.read().decode()
    assert re.search(told, said) and "Reference" not in said and "Traceback" not in said, said


def test_a_run_reports_and_ends_when_nobody_waits_for_it(client: Client, talker) -> None:
    long = client.submit(TEXT * 60, ["tova", "h2o"], [16, 32, 64, 128], model=talker.model_id, api_name="/sweep")
    progress = next(iter(long))
    assert 0 < progress["done"] < progress["total"]
    long.cancel()
    began = time.monotonic()
    client.predict(TEXT, model=talker.model_id, budget=8, api_name="/trace")
    assert time.monotonic() - began < 5  # the whole of the other takes longer


def test_the_same_are_tools_for_language_models(address: str, talker) -> None:
    async def use() -> tuple:
        async with (
            streamablehttp_client(f"{address}gradio_api/mcp/") as (receive, send, _),
            ClientSession(receive, send) as session,
        ):
            await session.initialize()
            right = {"text": TEXT, "budget": 8, "model": talker.model_id}
            answers = [await session.call_tool("trace", right | more) for more in ({}, {"policy": "tovar"})]
            return (await session.list_tools()).tools, *answers

    with ThreadPoolExecutor() as apart:  # tests of the browser leave a loop running in this thread
        tools, answer, refusal = apart.submit(asyncio.run, use()).result()
    assert {tool.name for tool in tools} == {"trace", "compare", "sweep"}
    for tool in tools:
        assert "text" in tool.inputSchema["required"] and "Returns: " in tool.description
        assert all(parameter["description"] for parameter in tool.inputSchema["properties"].values())
    told = ast.literal_eval(answer.content[0].text)
    trace = replay(talker, talker.encode(TEXT), make_policy("tova", 8))
    np.testing.assert_array_equal(np.array(told["evicted_at"]), trace.evicted_at)
    assert refusal.isError and "'tova', 'window'" in refusal.content[0].text
