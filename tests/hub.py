"""A small stand-in for the Hugging Face hub: what its clients ask for one model that lies in a directory."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def hub(repository: str, directory: Path, port: int) -> Iterator[None]:
    """Serve a directory as that repository at this port."""

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = self.path.split("?")[0].strip("/").split("/")
            if parts[:2] == ["api", "models"]:
                return self.describe("/".join(parts[2:4]), parts[4:])
            name, file = "/".join(parts[:2]), directory / "/".join(parts[4:])
            if name != repository or parts[2:3] != ["resolve"]:
                return self.answer(404, b"", **{"X-Error-Code": "RepoNotFound"})
            if not file.is_file():
                return self.answer(404, b"", **{"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            contents = file.read_bytes()
            etag = f'"{hashlib.sha256(contents).hexdigest()}"'
            return self.answer(200, contents, **{"ETag": etag, "X-Repo-Commit": COMMIT})

        do_HEAD = do_GET  # noqa: N815 (the library's name)

        def describe(self, name: str, more: list[str]) -> None:
            if name != repository:
                return self.answer(404, b"", **{"X-Error-Code": "RepoNotFound"})
            files = [file.name for file in sorted(directory.iterdir())]
            info: object = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in files], "tags": []}
            if more[:1] == ["tree"]:
                sizes = [(file, (directory / file).stat().st_size) for file in files]
                info = [{"type": "file", "path": file, "size": size, "oid": COMMIT} for file, size in sizes]
            return self.answer(200, json.dumps(info).encode(), **{"Content-Type": "application/json"})

        def answer(self, code: int, contents: bytes, **headers: str) -> None:
            self.send_response(code)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(contents)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(contents)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()
