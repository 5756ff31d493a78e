"""Events of people whose browsers prefer one language or another, without a server."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

from gradio.context import LocalContext


@contextmanager
def asked_from(locale: str) -> Iterator[None]:
    """While it lasts, the event in progress is that of a browser that prefers this language."""
    token = LocalContext.request.set(SimpleNamespace(headers={"accept-language": locale}))
    try:
        yield
    finally:
        LocalContext.request.reset(token)
