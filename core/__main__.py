"""The command line: one run into a file, or a budget sweep into a CSV that goes on where it was stopped.

``python -m core trace --text FILE --policy tova --budget 64 --out run.npz`` and
``python -m core sweep --text book.txt --budgets 32,64,128 --policies tova,h2o,window --out sweep.csv``;
`--model` takes what `load_model` takes.
"""

import argparse
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from transformers.utils import logging

from core.engine import LONGEST_CHUNK, iter_generate, iter_replay
from core.errors import BadInput, UserError
from core.metrics import perplexity
from core.models import DEFAULT_MODEL, load_model
from core.policies import POLICIES, make_policy
from core.records import LABELS, RecordFile, budget_sentences, points
from core.sweep import iter_sweep

STOPPED = 130  # what a shell reports for a command that Ctrl-C ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit code: 2 after a `UserError`, whose message is a line on stderr."""
    options = _parser().parse_args(arguments)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        options.command(options)
    except UserError as e:
        print(" ".join(str(e).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return STOPPED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m core", description="Run a model with a finite multi-state.")
    commands = parser.add_subparsers(required=True)
    trace = commands.add_parser("trace", help="read a text, perhaps write on, and save the trace")
    trace.set_defaults(command=_trace)
    trace.add_argument("--text", required=True, help="a UTF-8 text file")
    trace.add_argument("--policy", default="tova", help=f"one of {', '.join(POLICIES)}")
    trace.add_argument("--budget", type=int, help="multi-state size; none for full")
    trace.add_argument("--new-tokens", type=int, default=0, help="how many tokens to write after the text")
    trace.add_argument("--out", required=True, help="the .npz file to write")
    sweep = commands.add_parser("sweep", help="perplexity against budget, into a CSV that goes on where it was stopped")
    sweep.set_defaults(command=_sweep)
    sweep.add_argument("--text", required=True, nargs="+", help="UTF-8 text files of any length")
    sweep.add_argument("--budgets", required=True, help="such as 32,64,128")
    sweep.add_argument("--policies", default="tova,h2o,window", help=f"some of {', '.join(POLICIES)}")
    sweep.add_argument("--window", type=int, help="tokens that are read in one go; the model's context if not given")
    sweep.add_argument("--out", required=True, help="the .csv file to write or to go on with")
    for command in (trace, sweep):
        command.add_argument("--model", default=DEFAULT_MODEL, help="a name in the menu, a directory or a hub id")
    return parser


def _trace(options: argparse.Namespace) -> None:
    policy = make_policy(options.policy, options.budget)
    text = _text_of(options.text)
    lm = load_model(options.model)
    tokens = lm.encode(text)
    try:
        with open(options.out, "ab"):  # what cannot be written is better known before the run
            pass
        if options.new_tokens:
            reports = iter_generate(lm, tokens, policy, max_new_tokens=options.new_tokens, chunk=LONGEST_CHUNK)
        else:
            reports = iter_replay(lm, tokens, policy, chunk=LONGEST_CHUNK)
        (last,) = deque(reports, maxlen=1)
        (trace,) = last.traces
        with open(options.out, "wb") as file:
            trace.save(file)
    except OSError as e:
        raise BadInput(f"{options.out} cannot be written: {e.strerror}.") from e
    written = len(trace) - trace.prompt_length
    outcome = f"{written:,} of them written" if written else f"perplexity {perplexity(trace):.2f}"
    print(f"{trace.policy}: {len(trace):,} tokens, {outcome}, saved as {options.out}")


def _sweep(options: argparse.Namespace) -> None:
    paths = [Path(name) for name in options.text]
    documents = {path.name: _text_of(path) for path in paths}
    if len(documents) < len(paths):
        raise BadInput("Two of the texts have the same file name, so their records could not be told apart.")
    policies, budgets = options.policies.split(","), [_number(budget) for budget in options.budgets.split(",")]
    lm = load_model(options.model)
    texts = {name: lm.encode(text) for name, text in documents.items()}
    with closing(RecordFile(options.out)) as file:
        started, done_before = time.monotonic(), None
        for report in iter_sweep(lm, texts, policies, budgets, window=options.window, records=file.records):
            if done_before is None:
                done_before = sum(record.tokens for record in file.records)
            for record in report.records[len(file.records) :]:
                file.append(record)
                left = (time.monotonic() - started) / (report.done - done_before) * (report.total - report.done)
                budget = "" if record.budget is None else f", budget {record.budget}"
                print(
                    f"{report.done / report.total:4.0%}, {left:.0f} s left: {record.document}, window {record.window}, "
                    f"{LABELS[record.policy]}{budget}: perplexity {record.perplexity:.2f}",
                    file=sys.stderr,
                )
        for point in points(file.records):
            budget = "" if point.budget is None else f", budget {point.budget}"
            print(f"{LABELS[point.policy]}{budget}: perplexity {point.perplexity:.2f}")
        for sentence in budget_sentences(file.records):
            print(sentence)


def _text_of(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "it is not UTF-8"
        raise BadInput(f"{path} cannot be read: {reason}.") from e


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadInput(f"The budgets must be whole numbers with commas between, such as 32,64, not {text!r}.") from None


if __name__ == "__main__":
    sys.exit(main())
