"""Late rotation: rows get their positions only when it is known which of them a query attends to.

A rotary embedding turns queries and keys by their positions, and their product depends only on how far apart the two
are. So the model is run as if every token stood at position 0, the multi-state holds keys that are not turned, and
each key is turned by its *distance* to the query just before the query attends to it.

``"in-cache"`` (StreamingLLM, Xiao et al. 2023): the attended rows are numbered 0, 1, 2 … in the order of the text, the
query's own row last; the distance of a row is the number of newer rows. ``"log-gap"`` (Oren et al. 2024, section 7.2):
the distance is that in the text, except that a gap g > 10 between neighbouring attended rows counts as ln(ln g).
Example: rows 0, 2 and 40 are attended to by the query at 41. In-cache, their distances are 3, 2 and 1; under log-gap,
the gap of 38 counts as 1.29, so they are 4.29, 2.29 and 1.

Log-gap is odd: ln(ln g) is 0.87 at 11, below 1 up to 15 and below 2.5 up to 195,000. So rows 11 tokens apart come
closer together than neighbours in the text, while a gap of 10 keeps its length, and positions are not whole numbers,
which the model has never seen. The paper gives it one sentence and its code does not have it, so this is our reading:
neighbours are rows of one decider's multi-state at the current step, the query's own row included; a row's distance is
the sum of the gaps between it and the query; gaps are measured in original positions at every step.

The sliding window of a model that has one (Mistral) is counted in these distances, too. In-cache, it therefore hides
no row if the budget is smaller than the window.
"""

import sys
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.engine.layer_attention import LayerAttention
from core.engine.text_length import FIXED, kinds_of
from core.errors import UnsupportedModel
from core.messages import Message, tokens
from core.model.language_model import LanguageModel
from core.policies import Floats, Ints
from core.trace import LONGEST_GAP, Positions

Distances: TypeAlias = NDArray[Any]  # integers for "in-cache", floats for "log-gap"


class Rotary:
    """A model's own rotary embedding, for distances that may be real numbers.

    Of a head, the first channels are turned, or with latent attention (DeepSeek) the last.

    Attributes:
        speeds: (head size,) float32, radians by which each channel turns per position; 0 if it is never turned.
        dtype: the type of turned keys, at least float32.

    Raises:
        UnsupportedModel: the model has no rotary embedding, or one whose frequencies are not always the same.
    """

    def __init__(self, lm: LanguageModel) -> None:
        embedding = rotary_embedding(lm.model)
        if embedding is None:
            raise UnsupportedModel(_no_rotary(lm))
        kinds = kinds_of(embedding)
        if not isinstance(getattr(embedding, "rope_type", None), str) or not kinds <= FIXED:
            raise UnsupportedModel(
                "The rotary embedding of {model} is of the kind {kind}, whose frequencies are not the same for every "
                'row, layer and length of text, so its rows cannot be renumbered. Use positions="original".',
                model=lm.model_id,
                kind=", ".join(sorted(kinds)) or Message("unknown"),
            )
        self.dtype = torch.promote_types(lm.model.dtype, torch.float32)
        self._quarter = getattr(sys.modules[type(embedding).__module__], "rotate_half", _by_halves)
        like = torch.empty(0, device=lm.device)
        turns = embedding(like, torch.ones(1, 1, device=lm.device))
        if not isinstance(turns, tuple):
            raise UnsupportedModel(_no_rotary(lm))
        cos, sin = turns
        # some models scale cos and sin, and queries and keys have that factor already: atan2 cancels it
        angles, exact = torch.atan2(sin, cos).flatten(), embedding.inv_freq.float()
        angles = exact[(exact[:, None] - angles).abs().argmin(dim=0)]
        size, before = _head(lm)
        if self._quarter is _by_halves and 2 * len(angles) == size - before:  # said once for both halves
            angles = angles.repeat(2)
        self._turning = slice(before, before + len(angles))
        self._still = before, size - self._turning.stop
        self.speeds = nn.functional.pad(angles, self._still)

    def turns(self, distances: Distances) -> tuple[Tensor, Tensor]:
        """Cosines and sines, (..., head size), that turn a key away from a query at these distances (...)."""
        angles = torch.as_tensor(-distances, device=self.speeds.device, dtype=torch.float32)[..., None] * self.speeds
        return angles.cos(), angles.sin()

    def quarter(self, rows: Tensor) -> Tensor:
        """Queries or keys (..., head size) turned by 90 degrees; zero in channels that are never turned."""
        turned: Tensor = self._quarter(rows[..., self._turning])
        return nn.functional.pad(turned, self._still)

    def turned(self, rows: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Queries or keys (..., head size), turned by the angles with these cosines and sines."""
        return rows * cos.to(rows.device) + self.quarter(rows) * sin.to(rows.device)


def _head(lm: LanguageModel) -> tuple[int, int]:
    """The size of a key, and how many of its channels stand before those that are turned."""
    if of_rotary := getattr(lm.config, "qk_rope_head_dim", None):
        return lm.config.qk_nope_head_dim + of_rotary, lm.config.qk_nope_head_dim
    return getattr(lm.config, "head_dim", None) or lm.config.hidden_size // lm.n_query_heads, 0


def _by_halves(rows: Tensor) -> Tensor:
    """A quarter turn of channels of which the first half goes with the second."""
    first, second = rows.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)


class TurnedBack:
    """Undoes a rotary embedding, for policies that look at queries as they were before it."""

    def __init__(self, rotary: Rotary) -> None:
        self._speeds = rotary.speeds.double().cpu().numpy()
        # a quarter turn exchanges channels and changes the sign of some
        quarter = rotary.quarter(torch.eye(len(rotary.speeds), device=rotary.speeds.device)).cpu().numpy()
        self._from = np.abs(quarter).argmax(axis=0)
        self._sign = quarter[self._from, np.arange(len(quarter))]

    def back(self, rows: Floats, positions: range) -> Floats:
        """Keys or queries (..., head size), turned back from each of these positions, averaged over the positions.

        The cosines of m angles in equal steps of s, whose middle is b, have the mean cos(b) · sin(m s / 2) / (m sin(s /
        2)), and the sines likewise, so no turn has to be made for each position.
        """
        count, middle = len(positions), (positions[0] + positions[-1]) / 2
        half = self._speeds / 2
        still = np.sin(half) == 0
        share = np.where(still, 1.0, np.sin(count * half) / (count * np.where(still, 1.0, np.sin(half))))
        cos, sin = share * np.cos(middle * self._speeds), share * np.sin(middle * self._speeds) * self._sign
        turned: Floats = rows * cos - rows.take(self._from, axis=-1) * sin
        return turned


def rotary_embedding(model: Any) -> Any:
    """The module that gives a model's rotary embedding; None if it has none."""
    return next((module for name, module in model.named_modules() if name.split(".")[-1] == "rotary_emb"), None)


def _no_rotary(lm: LanguageModel) -> Message:
    embeddings = [module for module in lm.model.modules() if isinstance(module, nn.Embedding)]
    why = Message("has no rotary embedding that we know")
    if any(embedding is not lm.model.get_input_embeddings() for embedding in embeddings):
        why = Message("adds learned positions to the tokens at the input, where they are mixed in for good")
    n = lm.context_length
    limit = "" if n is None else Message(", for at most {tokens}", tokens=tokens(n))
    return Message(
        '{model} {why}, so its rows cannot be renumbered. Use positions="original"{limit}, or choose a model with '
        "rotary positions, such as SmolLM2.",
        model=lm.model_id,
        why=why,
        limit=limit,
    )


class LateRotation:
    """The distances of attended rows to their query, in-cache or log-gap, and how keys are turned by them."""

    def __init__(self, rotary: Rotary, positions: Positions) -> None:
        self.rotary = rotary
        self.positions = positions
        self._speeds = rotary.speeds.cpu().numpy()
        self._table: Floats = np.empty((0, 0))

    def distances(self, positions: Ints) -> Distances:
        """The distance of each row to the newest one, from the positions (..., rows) of the attended rows in any order.

        Free slots may be among them, with a position below all others; what they get has no meaning.
        """
        rank = positions.argsort(axis=-1).argsort(axis=-1)
        if self.positions == "in-cache":
            newer: Distances = positions.shape[-1] - 1 - rank
            return newer
        ordered = np.sort(positions, axis=-1)
        gaps = np.zeros(ordered.shape)  # to the next newer row
        np.subtract(ordered[..., 1:], ordered[..., :-1], out=gaps[..., :-1])
        long = gaps > LONGEST_GAP
        gaps[long] = np.log(np.log(gaps[long]))
        to_newest: Distances = gaps[..., ::-1].cumsum(axis=-1)[..., ::-1]
        return np.take_along_axis(to_newest, rank, axis=-1)

    def turns(self, distances: Distances) -> Floats:
        """(..., 2 · head size): the cosines of `Rotary.turns`, then its sines."""
        if self.positions != "in-cache":
            return self._turns(distances)
        if len(self._table) < distances.shape[-1]:
            self._table = self._turns(np.arange(2 * distances.shape[-1]))
        return self._table.take(distances, axis=0)

    def _turns(self, distances: Distances) -> Floats:
        angles = -distances[..., None].astype(np.float32) * self._speeds
        return np.concatenate([np.cos(angles), np.sin(angles)], axis=-1)

    def queries(self, query: Tensor, scaling: float) -> Floats:
        """Scaled queries (..., head size), twice in a row, (..., 2 · head size); see `LateLogits`."""
        query = query.to(self.rotary.dtype) * scaling
        return torch.cat([query, query], dim=-1).cpu().numpy()

    def keys(self, key: Tensor) -> Floats:
        """Keys (..., head size), then the same after a quarter turn, (..., 2 · head size); see `LateLogits`."""
        return torch.cat([key, self.rotary.quarter(key)], dim=-1).to(self.rotary.dtype).cpu().numpy()


class LateLogits:
    """The logits of one run's chunk in one layer, which are computed again after evictions in the chunk.

    A turned key is key · cos + quarter(key) · sin. So its product with a query is one product of [query, query] with
    [key, quarter(key)] · [cos, sin], where only the last factor depends on the distances.
    """

    def __init__(self, late: LateRotation, logits: Floats, queries: Floats, keys: Floats, of: LayerAttention) -> None:
        """Everything is of one run and layer.

        Args:
            late: gives the distances and turns.
            logits: (groups, query heads of the group, chunk, columns), which `renew` overwrites.
            queries: (KV heads, query heads of each, chunk, 2 · head size), as `LateRotation.queries` gives them.
            keys: (KV heads, columns, 2 · head size), as `LateRotation.keys` gives them.
            of: how the layer attends.
        """
        self._late, self._logits, self._of = late, logits, of
        groups = len(logits)
        self._queries = np.ascontiguousarray(queries.reshape(groups, -1, *queries.shape[1:]).transpose(3, 0, 1, 2, 4))
        self._keys = np.ascontiguousarray(keys.reshape(groups, -1, *keys.shape[1:]).swapaxes(1, 2))
        self._groups = np.arange(groups)[:, None]

    def renew(self, step: int, positions: Ints, columns: Ints, some: Ints | None = None) -> None:
        """Compute the logits of one step of the chunk again.

        Args:
            step: the step, counted from 0 in the chunk.
            positions: (groups, rows), the positions of the rows that the step attends to.
            columns: (groups, rows), the columns of these rows.
            some: the groups that the rows are of; None for all.
        """
        groups = self._groups if some is None else some[:, None]
        distances = self._late.distances(positions)
        rows = self._keys[groups, columns]  # (groups, rows, KV heads of the group, 2 · head size)
        rows *= self._late.turns(distances)[:, :, None]
        renewed = (self._queries[step][groups[:, 0]] @ rows.transpose(0, 2, 3, 1)).reshape(
            len(rows), -1, columns.shape[1]
        )
        if self._of.softcap is not None:
            renewed = np.tanh(renewed / self._of.softcap) * self._of.softcap
        if self._of.window is not None:
            renewed = np.where(distances[:, None] >= self._of.window, -np.inf, renewed)
        self._logits[groups, :, step, columns] = renewed.swapaxes(1, 2)
