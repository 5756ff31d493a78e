"""A linear layer that is fast when one or several runs read one token each.

Reading a token, a CPU spends most of its time on fetching the weights W from memory. For one row X, torch computes
X Wᵀ on one core, and for 2 to 16 rows it is about half as fast as for (W Xᵀ)ᵀ, which is the same product and uses all
cores. A single row is therefore doubled. `make bench` shows what it is worth: generation beside transformers' own, and
five policies beside one.
"""

import torch
from torch import Tensor, nn

MOST_RUNS = 16


class LockstepLinear(nn.Linear):
    """`torch.nn.Linear` that computes (W Xᵀ)ᵀ for inputs (runs, 1, features) of 1 to `MOST_RUNS` runs."""

    def forward(self, input: Tensor) -> Tensor:
        runs = input.shape[0] if input.ndim == 3 and input.shape[1] == 1 else 0
        if not 0 < runs <= MOST_RUNS or (runs == 1 and not self._gains_by_doubling):
            return super().forward(input)
        rows = input[:, 0] if runs > 1 else torch.cat([input[0], input[0]])
        if self.bias is None:
            output = torch.mm(self.weight, rows.T)
        else:
            output = torch.addmm(self.bias[:, None], self.weight, rows.T)
        return output.T[:runs].contiguous()[:, None]

    @property
    def _gains_by_doubling(self) -> bool:
        return self.weight.dtype == torch.float32 and torch.get_num_threads() > 1


def quicken(model: nn.Module) -> None:
    """Turn all plain linear layers that are on a CPU into `LockstepLinear`, in place."""
    for module in model.modules():
        if type(module) is nn.Linear and module.weight.device.type == "cpu":
            module.__class__ = LockstepLinear
