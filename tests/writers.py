"""For whatever needs stories: a tiny model that writes words, pairs made by hand, and a judge to be asked."""

import json
import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from core.experiments.votes import Pair
from tests.traces import HOSTILE
from tests.words import with_words

EOS = 11
ODD = {20 + i: text for i, text in enumerate((*HOSTILE[:4], "${document.title='owned'}", "{{value}}", "{{{value}}}"))}


def writer_model(source: Path, directory: Path) -> str:
    """A copy of a tiny model whose words are w0, w1, ... by their ids, some of them odd; w11 ends its texts."""
    with_words(source, directory, ODD)
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": EOS}))
    return str(directory)


def pair_of(id_: str, policy: str = "tova", budget: int = 64, **more) -> Pair:
    settings = {"model": "m", "prompt": "A prompt", "temperature": 0.8, "top_p": 0.95, "seed": 3, "max_new_tokens": 50}
    texts = {"full": "The full story.", "story": "Its story.", "full_tokens": 4, "story_tokens": 3}
    return Pair(**{"id": id_, "policy": policy, "budget": budget} | settings | texts | more)


class Endpoint:
    """A server that speaks OpenAI's protocol, answers as it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        endpoint = self
        self.requests: list[dict] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.answer: Callable[[dict], object] = lambda request: "TIE"

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                endpoint.requests.append(json.loads(body))
                endpoint.headers.append({name.lower(): value for name, value in self.headers.items()})
                endpoint.paths.append(self.path)
                answer = endpoint.answer(endpoint.requests[-1])
                if isinstance(answer, str):
                    message = {"role": "assistant", "content": answer}
                    answer = (200, {}, json.dumps({"choices": [{"index": 0, "message": message}]}).encode())
                status, headers, content = answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                for part in [content] if isinstance(content, bytes) else content:
                    self.wfile.write(part)
                    self.wfile.flush()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # a client that did not wait is no news
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def fail(self, *answers: object, then: str = "TIE") -> None:
        """Give these answers first."""
        left = list(answers)
        self.answer = lambda request: left.pop(0) if left else then

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def stories_in(request: dict) -> dict[str, str]:
    """What stands between the markers of a question, by name."""
    text = request["messages"][1]["content"]
    code = re.match(r"\[(\w+) BEGIN", text)[1]
    return dict(re.findall(rf"\[{code} BEGIN ([\w ]+)\]\n(.*?)\n\[{code} END \1\]", text, re.DOTALL))
