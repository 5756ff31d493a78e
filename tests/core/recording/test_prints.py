"""Rows are recognized by all their bits, and equal ones by their order."""

import numpy as np
import pytest
import torch

from core.recording.prints import matched, prints_of

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn]


def rows(n: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    """(1, 2, n, 8) at random, as bits: infinities and NaN among them."""
    generator = torch.Generator().manual_seed(seed)
    width = 8 * torch.empty((), dtype=dtype).element_size()
    bits = torch.randint(256, (1, 2, n, width), generator=generator, dtype=torch.uint8)
    return bits.view(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_bit_counts(dtype: torch.dtype) -> None:
    keys, values = rows(1, dtype), rows(1, dtype, seed=1)
    prints = {tuple(prints_of(keys, values)[0, 0].tolist())}
    changed = 0
    for tensor in (keys, values):
        bits = tensor.view(torch.uint8)
        for place in range(bits.shape[-1]):
            for bit in range(8):
                bits[0, 0, 0, place] ^= 1 << bit
                prints.add(tuple(prints_of(keys, values)[0, 0].tolist()))
                bits[0, 0, 0, place] ^= 1 << bit
                changed += 1
    for number in range(2):
        assert len({of[number] for of in prints}) == changed + 1
    assert len({of[2] for of in prints}) == changed // 2 + 1  # of the keys alone


def test_prints_do_not_depend_on_strides_or_on_the_other_rows() -> None:
    keys, values = rows(9), rows(9, seed=1)
    prints = prints_of(keys, values)
    assert (prints_of(keys[:, :, ::2], values[:, :, ::2]) == prints[:, ::2]).all()
    turned = keys.transpose(1, 2).contiguous().transpose(1, 2)
    assert not turned.is_contiguous() and (prints_of(turned, values) == prints).all()
    assert len(np.unique(prints.reshape(-1, 3), axis=0)) == 18


def test_zeros_have_the_print_of_an_empty_slot() -> None:
    assert not prints_of(torch.zeros(1, 2, 3, 8), torch.zeros(1, 2, 3, 4)).any()


def test_random_numbers_of_the_run_are_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    prints_of(rows(2)[..., :1], rows(2)[..., :2])  # widths whose weights were not asked for before
    assert torch.rand(1) == expected


def of(*numbers: int) -> np.ndarray:
    return np.array([[number, 10 * number, number] for number in numbers])


def test_rows_are_found_in_any_order() -> None:
    assert matched(of(7, -3, 5, 9), of(9, 7, 4, 5)).tolist() == [3, 0, -1, 2]


def test_a_row_with_one_number_of_another_is_none_of_them() -> None:
    rows = of(7, 5)
    rows[1, 1] += 1
    assert matched(of(5, 7), rows).tolist() == [1, -1]


@pytest.mark.parametrize(
    ("known", "there", "expected"),
    [
        ((1, 2, 1, 3), (2, 1, 3), [1, 2, 3]),  # the first 1 is gone: the other comes after 2
        ((1, 2, 1, 3), (1, 2, 3), [0, 1, 3]),
        ((1, 1, 1, 1), (1, 1, 1), [1, 2, 3]),  # as a window does
        ((1, 2, 1, 2, 1, 2), (2, 1, 1, 2), [1, 2, 4, 5]),
        ((1, 2, 1), (1, 1, 2), [2, 0, 1]),  # out of order: every row is one of its equals all the same
        ((1, 2, 1), (1, 1, 1), [-1, 0, 2]),  # one more than there were
    ],
)
def test_equal_rows_are_told_apart_by_order(known, there, expected) -> None:
    assert matched(of(*known), of(*there)).tolist() == expected
