"""Make the stored trace that the page opens with: `make examples`. A test checks that the engine still gives it."""

from core import Trace, load_model, make_policy, replay
from viz.example_texts import EXAMPLES, FOLDER


def first_trace() -> Trace:
    lm = load_model(dtype="float32", device="cpu")
    return replay(lm, lm.encode(EXAMPLES[0].text), make_policy("tova", budget=64))


if __name__ == "__main__":
    first_trace().save(FOLDER / "lighthouse-tova-64.npz")
