"""What forgetting costs: policies compared with the full model on the same text. numpy only."""

from dataclasses import dataclass

import numpy as np

from core.trace import Bools, Floats, PolicySettings, Trace

ROW_BYTES_LLAMA_2_7B = 2 * 32 * 32 * 128 * 2  # key and value, layers, KV heads, head size, bytes of a 16-bit number


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several policies that have read the same n tokens in lockstep beside the full model.

    Attributes:
        full: the full model's trace.
        traces: one per policy.
        kl: (policies, n) float32, KL(full || policy) in nats between the two distributions predicted for the token at
            that position; NaN at 0, which has no prediction.
        agrees: (policies, n) bool, whether both predict the same most probable token for that position; False at 0.
        seconds: for the full model and then each policy, the time of its decisions plus an equal share of all the rest.
        row_bytes: bytes of one token's keys and values in all layers of the model.
    """

    full: Trace
    traces: tuple[Trace, ...]
    kl: Floats
    agrees: Bools
    seconds: tuple[float, ...]
    row_bytes: int

    def __len__(self) -> int:
        return len(self.full)


def perplexity(trace: Trace) -> float:
    """The exponential of the mean nats per token, without the first token, which has no prediction."""
    return float(np.exp(np.mean(trace.nll[1:], dtype=np.float64)))


def delta_nll(comparison: Comparison) -> Floats:
    """(policies, n) float32: the policy's nats minus the full model's for each token; NaN at 0."""
    return np.stack([trace.nll for trace in comparison.traces]) - comparison.full.nll


@dataclass(frozen=True)
class Cost:
    """What a policy costs on one text, compared with the full model, and what it saves.

    Attributes:
        policy: the policy and its settings.
        perplexity: the perplexity of the text under the policy.
        mean_delta_nll: the policy's nats per token minus the full model's.
        mean_kl: KL(full || policy), in nats, averaged over the tokens.
        agreement: the share of tokens for which both predict the same most probable token.
        memory: bytes of keys and values held after the text.
        memory_llama_2_7b: bytes that as many rows take in Llama 2 7B in 16 bits.
        tokens_per_second: how fast the text was read.
    """

    policy: PolicySettings
    perplexity: float
    mean_delta_nll: float
    mean_kl: float
    agreement: float
    memory: int
    memory_llama_2_7b: int
    tokens_per_second: float


def costs(comparison: Comparison) -> list[Cost]:
    """The costs of the full model, then of each policy; means are without the first token, which has no prediction."""
    full = np.zeros((1, len(comparison)))
    per_token = {
        "mean_delta_nll": np.concatenate([full, delta_nll(comparison)]),
        "mean_kl": np.concatenate([full, comparison.kl]),
        "agreement": np.concatenate([full == 0, comparison.agrees]),
    }
    rows = []
    for i, trace in enumerate((comparison.full, *comparison.traces)):
        n_kept = rows_held(trace)
        rows.append(
            Cost(
                policy=trace.policy,
                perplexity=perplexity(trace),
                **{name: float(np.mean(values[i, 1:], dtype=np.float64)) for name, values in per_token.items()},
                memory=round(n_kept * comparison.row_bytes),
                memory_llama_2_7b=round(n_kept * ROW_BYTES_LLAMA_2_7B),
                tokens_per_second=len(trace) / comparison.seconds[i],
            )
        )
    return rows


def rows_held(trace: Trace) -> float:
    """How many rows a layer and KV head holds after the last step, on average."""
    return float(trace.kept(len(trace) - 1).sum(axis=2).mean())


@dataclass(frozen=True)
class Loss:
    """What one token costs a policy: `nats` more than the full model; `policy` is its index in the comparison."""

    policy: int
    position: int
    nats: float


def greatest_losses(comparison: Comparison, n: int = 10) -> list[Loss]:
    """At most n losses, the greatest of all policies first; ties in the order of the policies and the text."""
    delta = np.nan_to_num(delta_nll(comparison))
    places = np.argsort(-delta, axis=None, kind="stable")[:n]
    policies, positions = np.unravel_index(places, delta.shape)
    losses = map(Loss, policies.tolist(), positions.tolist(), delta[policies, positions].tolist())
    return [loss for loss in losses if loss.nats > 0]


def tokens_of_half(delta: Floats) -> int:
    """On how few tokens half of the nats are lost; tokens that cost less than under the full model do not count.

    Args:
        delta: (n,), of one policy, as `delta_nll` gives it.
    """
    lost = np.sort(np.maximum(np.nan_to_num(delta), 0))[::-1].cumsum(dtype=np.float64)
    return int(np.searchsorted(lost, lost[-1] / 2)) + 1 if lost[-1] else 0


@dataclass(frozen=True, eq=False)
class ForgottenAttention:
    """The attention that the full model pays, at one step, to tokens that a policy has evicted before.

    Attributes:
        policy: the policy and its settings.
        step: the position of the query.
        per_token: (layers, step + 1) float32, the attention on each evicted token, averaged over the layer's query
            heads; 0 on a token that the policy's query attended to. If KV heads decide for themselves, a head whose
            group still attended to the token counts as 0.
    """

    policy: PolicySettings
    step: int
    per_token: Floats


def forgotten_share(forgotten: ForgottenAttention) -> Floats:
    """(layers,): the share of the full model's attention at this step that falls on evicted tokens."""
    share: Floats = forgotten.per_token.sum(axis=1)
    return share


def most_missed(forgotten: ForgottenAttention, n: int = 5) -> list[tuple[int, float]]:
    """Positions of at most n evicted tokens that have the most attention, and that attention, averaged over layers."""
    mean = forgotten.per_token.mean(axis=0)
    order = np.argsort(-mean, kind="stable")[:n]
    return [(int(position), float(mean[position])) for position in order if mean[position] > 0]
