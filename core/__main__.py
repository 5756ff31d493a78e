"""The command line: writes a run to a file, or a budget sweep or a benchmark to a CSV that can be continued later.

``python -m core trace --text FILE --policy tova --budget 64 --out run.npz``,
``python -m core sweep --text book.txt --budgets 32,64,128 --policies tova,h2o,window --out sweep.csv`` and
``python -m core evaluate qasper --file validation.jsonl --budgets 256,512 --policies tova,window --out qasper.csv``;
`--model` takes a name, directory or hub id, as `load_model` does.
"""

import argparse
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import get_args

import torch
from transformers.utils import logging

from core.engine.generate import iter_generate
from core.engine.reading import LONGEST_CHUNK
from core.engine.replay import replay
from core.errors import BadInput, UserError
from core.experiments.budget_sweep import SweepProgress, iter_sweep
from core.experiments.cluster import iter_cluster_sweep
from core.experiments.evaluate import EvaluateProgress, Evaluation, iter_evaluate, score_of, table
from core.experiments.growing_csv import GrowingCsv
from core.experiments.records import LABELS, Point, Record, budget_sentences, points
from core.experiments.zeroscrolls import TASKS, read_examples
from core.loading.load import load_model
from core.measures.costs import perplexity
from core.model.registry import DEFAULT_MODEL, MODELS
from core.policies import POLICIES, make_policy
from core.texts import read_text
from core.trace import Budgets, Positions, Prefill

STOPPED = 130  # what a shell reports for a command that Ctrl-C ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0, 2 after a `UserError` (one line on stderr), or `STOPPED`."""
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
    sharing = f"how a budget is shared out over layers and heads: one of {', '.join(get_args(Budgets))}"
    trace = commands.add_parser("trace", help="read a text, perhaps write on, and save the trace")
    trace.set_defaults(command=_trace)
    trace.add_argument("--text", required=True, help="a UTF-8 text file")
    trace.add_argument("--policy", default="tova", help=f"one of {', '.join(POLICIES)}")
    trace.add_argument("--budget", type=int, help="multi-state size; none for full")
    trace.add_argument("--new-tokens", type=int, default=0, help="how many tokens to write after the text")
    trace.add_argument("--positions", default="original", help=f"one of {', '.join(get_args(Positions))}")
    trace.add_argument("--budgets", default="uniform", dest="sharing", help=sharing)
    trace.add_argument("--beyond-context", action="store_true", help="read on at positions the model has never seen")
    trace.add_argument("--out", required=True, help="the .npz file to write")
    sweep = commands.add_parser("sweep", help="perplexity against budget, into a CSV that goes on where it was stopped")
    sweep.set_defaults(command=_sweep)
    sweep.add_argument("--text", required=True, nargs="+", help="UTF-8 text files of any length")
    sweep.add_argument("--budgets", required=True, help="such as 32,64,128")
    sweep.add_argument("--policies", default="tova,h2o,window", help=f"some of {', '.join(POLICIES)}")
    sweep.add_argument("--sharing", default="uniform", help=sharing)
    sweep.add_argument("--window", type=int, help="tokens that are read in one go; the model's context if not given")
    sweep.add_argument("--out", required=True, help="the .csv file to write or to go on with")
    sweep.add_argument("--ray", help="on a Ray cluster: auto or host:port, or local to start one on this machine")
    evaluate = commands.add_parser(
        "evaluate", help="answer the questions of ZeroSCROLLS, into a CSV that goes on where it was stopped"
    )
    evaluate.set_defaults(command=_evaluate)
    evaluate.add_argument("task", help=" or ".join(TASKS))
    evaluate.add_argument("--file", required=True, help="the task's validation.jsonl: a record of the benchmark a line")
    evaluate.add_argument("--budgets", required=True, help="such as 256,512,1024")
    evaluate.add_argument("--policies", default="tova,h2o,window", help=f"some of {', '.join(POLICIES)}")
    evaluate.add_argument("--new-tokens", type=int, help="the longest answer; the benchmark's own limit if not given")
    evaluate.add_argument(
        "--prefill",
        default="token-by-token",
        help=f"one of {', '.join(get_args(Prefill))}; the second as the paper's published code reads a prompt",
    )
    evaluate.add_argument("--out", required=True, help="the .csv file to write or to go on with")
    for command in (trace, sweep):
        command.add_argument("--beta", type=int, default=20, help="with pyramid: the budget by that of the last layer")
        command.add_argument("--every", type=int, default=1, help="so many rows go at once")
    for command in (trace, sweep, evaluate):
        names = ", ".join(MODELS)
        command.add_argument("--model", default=DEFAULT_MODEL, help=f"one of {names}, a directory or a hub id")
    return parser


def _trace(options: argparse.Namespace) -> None:
    policy = make_policy(options.policy, options.budget)
    text = read_text(options.text)
    lm = load_model(options.model)
    tokens = lm.encode(text)
    try:
        with open(options.out, "ab"):  # fail before the run, not after it
            pass
        how = {"positions": options.positions, "beyond_context": options.beyond_context}
        how |= {"budgets": options.sharing, "beta": options.beta, "every": options.every}
        if options.new_tokens:
            reports = iter_generate(lm, tokens, policy, max_new_tokens=options.new_tokens, chunk=LONGEST_CHUNK, **how)
            (last,) = deque(reports, maxlen=1)
            (trace,) = last.traces
        else:
            trace = replay(lm, tokens, policy, **how)
        with open(options.out, "wb") as file:
            trace.save(file)
    except OSError as e:
        raise BadInput("{file} cannot be written: {why}.", file=options.out, why=e.strerror) from e
    written = len(trace) - trace.prompt_length
    outcome = f"{written:,} of them written" if written else f"perplexity {perplexity(trace):.2f}"
    print(f"{trace.policy}: {len(trace):,} tokens, {outcome}, saved as {options.out}")


def _sweep(options: argparse.Namespace) -> None:
    paths = [Path(name) for name in options.text]
    documents = {path.name: read_text(path) for path in paths}
    if len(documents) < len(paths):
        raise BadInput("Two of the texts have the same file name, so their records could not be told apart.")
    policies, budgets = options.policies.split(","), [_number(budget) for budget in options.budgets.split(",")]
    lm = load_model(options.model)
    texts = {name: lm.encode(text) for name, text in documents.items()}
    with closing(GrowingCsv(options.out, Record)) as file:
        settings = {"window": options.window, "records": file.records}
        settings |= {"sharing": options.sharing, "beta": options.beta, "every": options.every}
        if options.ray:
            # workers load the model themselves; here only its tokenizer and configuration are needed
            lm.model.to("meta")
            torch.cuda.empty_cache()
            reports = iter_cluster_sweep(lm, texts, policies, budgets, address=options.ray, **settings)
        else:
            reports = iter_sweep(lm, texts, policies, budgets, **settings)
        started, done_before = time.monotonic(), None
        for report in reports:
            if done_before is None:
                done_before = sum(record.tokens for record in file.records)
                for sentence in report.left_out:
                    print(sentence, file=sys.stderr)
            for record in report.records[len(file.records) :]:
                file.append(record)
                where = f"{record.document}, window {record.window}, {_name(record)}"
                _progress(report, started, done_before, f"{where}: perplexity {record.perplexity:.2f}")
        for point in points(file.records):
            print(f"{_name(point)}: perplexity {point.perplexity:.2f}")
        for sentence in budget_sentences(file.records):
            print(sentence)


def _evaluate(options: argparse.Namespace) -> None:
    examples = read_examples(options.file)
    policies, budgets = options.policies.split(","), [_number(budget) for budget in options.budgets.split(",")]
    lm = load_model(options.model)
    how = {"new_tokens": options.new_tokens, "prefill": options.prefill}
    with closing(GrowingCsv(options.out, Evaluation)) as file:
        started = time.monotonic()
        done_before = sum(record.prompt_tokens + record.new_tokens for record in file.records)
        for report in iter_evaluate(lm, options.task, examples, policies, budgets, records=file.records, **how):
            for record in report.records[len(file.records) :]:
                file.append(record)
                found = f"{record.example}, {_name(record)}: {100 * score_of([record]):.1f} %"
                _progress(report, started, done_before, found)
        for line in table(file.records):
            print(line)


def _name(one: Record | Point | Evaluation) -> str:
    return LABELS[one.policy] + ("" if one.budget is None else f", budget {one.budget}")


def _progress(report: SweepProgress | EvaluateProgress, started: float, done_before: int, found: str) -> None:
    left = (time.monotonic() - started) / (report.done - done_before) * (report.total - report.done)
    print(f"{report.done / report.total:4.0%}, {left:.0f} s left: {found}", file=sys.stderr)


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadInput(
            "The budgets must be whole numbers with commas between, such as 32,64, not {text!r}.", text=text
        ) from None


if __name__ == "__main__":
    sys.exit(main())
