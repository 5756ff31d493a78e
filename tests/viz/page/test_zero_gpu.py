"""What uses a model where a Space lends the GPU: in another process, with everything pickled on its way."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from core import errors
from core.errors import GpuUnavailable, UserError
from viz.page import zero_gpu
from viz.page.zero_gpu import on_gpu
from viz.words.catalogue import speaking, told

STAND_IN = Path(__file__).parents[2] / "stand_in"


@pytest.fixture(autouse=True)
def lending(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As far as `on_gpu` knows, this process is such a Space's."""
    monkeypatch.syspath_prepend(str(STAND_IN))
    import spaces  # noqa: PLC0415 (it is there from here on)

    monkeypatch.setattr(zero_gpu, "ZERO_GPU", True)
    monkeypatch.setattr(zero_gpu, "_lent", spaces.GPU(zero_gpu._telling), raising=False)
    yield
    del sys.modules["spaces"]
    # each holds open what was open here when it was forked, also the pipes to a browser, which could then not end
    for process in multiprocessing.active_children():
        process.kill()
        process.join()


def pids(n: int) -> Iterator[int]:
    for _ in range(n):
        yield os.getpid()


def breaking(error: Exception) -> Iterator[int]:
    yield 1
    raise error


def failing_of_its_own() -> Iterator[int]:
    class Odd(Exception):
        """Of a class that cannot be pickled, with an argument that it needs."""

        def __init__(self, *, needed: Any) -> None:
            super().__init__(needed)

    yield 1
    raise Odd(needed=threading.Lock())


def slow(note: Path) -> Iterator[int]:
    try:
        for i in range(1000):
            yield i
            time.sleep(0.02)
    finally:
        note.write_text(str(os.getpid()))


def dying() -> Iterator[int]:
    yield 1
    os.kill(os.getpid(), signal.SIGKILL)
    yield 2


def giving(value: Any) -> Iterator[Any]:
    yield value


def locks() -> Iterator[Any]:
    yield threading.Lock()


def kinds(kind: type = UserError) -> list[type]:
    return [kind, *(each for sub in kind.__subclasses__() for each in kinds(sub))]


def test_it_works_in_another_process_which_is_kept() -> None:
    first, second = list(on_gpu(pids, 3)), list(on_gpu(pids, 2))
    assert len(first) == 3 and set(first) == set(second) and os.getpid() not in first


@pytest.mark.parametrize("kind", [kind for kind in kinds() if kind.__module__ == errors.__name__])
def test_what_a_user_is_told_comes_back_as_it_was(kind: type[UserError]) -> None:
    for back in (pickle.loads(pickle.dumps(kind("Shorten “it”."))), *raised(breaking, kind("Shorten “it”."))):
        assert type(back) is kind and str(back) == "Shorten “it”."
    assert list(on_gpu(pids, 1)) == list(on_gpu(pids, 1))  # one that has refused is lent again


def raised(work: Callable[..., Iterator[Any]], *values: Any) -> list[Exception]:
    steps = on_gpu(work, *values)
    assert next(steps) == 1
    with pytest.raises(Exception) as found:
        next(steps)
    return [found.value]


def test_an_error_of_ours_comes_back_with_its_traceback() -> None:
    (error,) = raised(failing_of_its_own)
    assert not isinstance(error, UserError)
    assert "in failing_of_its_own" in str(error) and "Odd" in str(error)


def test_closing_ends_the_work_there(tmp_path: Path) -> None:
    with closing(on_gpu(slow, tmp_path / "closed")) as steps:
        assert list(islice(steps, 3)) == [0, 1, 2]
    (pid,) = on_gpu(pids, 1)
    assert (tmp_path / "closed").read_text() == str(pid)  # and it is free for the next


@pytest.mark.parametrize("said", ["You have exceeded your quota. Try again in 0:10:00. ", "No GPU was available"])
def test_a_gpu_that_is_not_lent_is_told_in_both_languages(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no").write_text(said)
    monkeypatch.setenv("STAND_IN_REFUSAL", str(tmp_path / "no"))
    with pytest.raises(GpuUnavailable, match=r"The GPU of this Space .*try again later") as refused:
        next(on_gpu(pids, 1))
    with speaking("zh_CN"):
        chinese = told(refused.value.message)
    assert said.strip().rstrip(".") in str(refused.value) and chinese != str(refused.value) and "GPU" in chinese


def test_a_gpu_that_is_taken_back_is_told() -> None:
    (error,) = raised(dying)
    assert isinstance(error, GpuUnavailable) and "GPU task aborted" in str(error)
    assert len(list(on_gpu(pids, 2))) == 2


def test_the_stand_in_refuses_what_cannot_be_pickled() -> None:
    with pytest.raises(TypeError):
        next(on_gpu(giving, threading.Lock()))
    with pytest.raises(GpuUnavailable, match="TypeError"):
        next(on_gpu(locks))
