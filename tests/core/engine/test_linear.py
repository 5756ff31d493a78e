"""The linear layer of a token's reading gives torch's products, however many runs read and whatever the layout."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from core.engine.linear import MOST_RUNS, LockstepLinear, quicken


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """With several threads the weights are cut into parts."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (5, 1), (MOST_RUNS, 1), (MOST_RUNS + 1, 1), (1, 3), (2, 3)])
def test_it_gives_what_torch_gives(threads: int, shape: tuple[int, int], bias: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(24, 40, bias=bias, dtype=dtype)
    rows = torch.randn(*shape, 24, dtype=dtype)
    with torch.inference_mode():
        expected = plain(rows)
        quicken(plain)
        assert type(plain) is LockstepLinear
        found = plain(rows)
    assert found.is_contiguous()
    torch.testing.assert_close(found, expected)


def test_gradients_flow_through_it(threads: int) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(24, 40)
    rows = torch.randn(1, 1, 24)
    plain(rows).square().sum().backward()
    expected = plain.weight.grad
    plain.weight.grad = None
    quicken(plain)
    plain(rows).square().sum().backward()
    torch.testing.assert_close(plain.weight.grad, expected)
