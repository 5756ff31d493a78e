"""A linear layer that is fast when one or several runs read one token each.

Reading a token, a CPU spends most of its time on fetching the weights W from memory, so all its cores should fetch.
torch computes X Wᵀ for a single row X on one core; here W is cut into one part of its rows per thread, and a product
of all parts at once (bmm) gives each core one of them. For 2 to 16 rows torch uses all cores, but is about half as
fast as for (W Xᵀ)ᵀ, which is the same product. `make bench` shows what it is worth: generation beside transformers'
own, and five policies beside one.
"""

import math

import torch
from torch import Tensor, nn

MOST_RUNS = 16


class LockstepLinear(nn.Linear):
    """`torch.nn.Linear` with other products for inputs (runs, 1, features) of 1 to `MOST_RUNS` runs."""

    def forward(self, input: Tensor) -> Tensor:
        runs = input.shape[0] if input.ndim == 3 and input.shape[1] == 1 else 0
        if runs == 1 and input.dtype == torch.float32:
            return self._one_row(input)
        if not 1 < runs <= MOST_RUNS:
            return super().forward(input)
        columns = input[:, 0].T
        if self.bias is None:
            output = torch.mm(self.weight, columns)
        else:
            output = torch.addmm(self.bias[:, None], self.weight, columns)
        return output.T.contiguous()[:, None]

    def _one_row(self, row: Tensor) -> Tensor:
        parts = math.gcd(self.out_features, torch.get_num_threads())
        if parts == 1:
            return super().forward(row)
        columns = self.weight.view(parts, -1, self.in_features).transpose(1, 2)
        rows = row.expand(parts, 1, -1)
        if self.bias is None:
            output = torch.bmm(rows, columns)
        else:
            output = torch.baddbmm(self.bias.view(parts, 1, -1), rows, columns)
        return output.view(1, 1, -1)


def quicken(model: nn.Module) -> None:
    """Turn all plain linear layers that are on a CPU into `LockstepLinear`, in place."""
    for module in model.modules():
        if type(module) is nn.Linear and module.weight.device.type == "cpu":
            module.__class__ = LockstepLinear
