from __future__ import annotations

import itertools
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from optrun.experiments.errors import UsageError
from optrun.experiments.system import rng

STREAMS = ("init", "order", "step", "augment", "split")


class SplitMix64:
    """The generator of Steele, Lea and Flood, in numpy's wrapping arithmetic; `next` is its output function."""

    def __init__(self, state: int):
        self.state = np.uint64(state % 2**64)

    def next(self) -> int:
        with np.errstate(over="ignore"):
            self.state = self.state + np.uint64(0x9E3779B97F4A7C15)
            mixed = (self.state ^ (self.state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return int(mixed ^ (mixed >> np.uint64(31)))


def key_of(seed: int, stream: str, *counters: int) -> int:
    state = seed
    for part in (zlib.crc32(stream.encode()), *counters):
        state = SplitMix64(state + part).next()
    return state // 2


def test_the_second_implementation_gives_the_published_numbers():
    """The first outputs of the reference implementation in C, from state 1234567."""
    generator = SplitMix64(1234567)
    assert [generator.next() for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ((0, "init"), 8_106_803_162_215_511_022),
        ((0, "step", 0, 0, 0), 7_825_272_767_353_623_133),
        ((1, "order", 7), 3_090_502_716_956_276_904),
        ((-1, "step", 3), 6_413_687_392_140_170_565),
        ((2**63 - 1, "augment", 10**12), 383_045_156_076_069_363),
    ],
)
def test_keys_never_change(address, expected):
    assert rng.key(*address) == expected


@given(st.integers(-(2**63), 2**63 - 1), st.text(max_size=8), st.lists(st.integers(0, 2**63), max_size=4))
def test_keys_agree_with_a_second_implementation(seed, stream, counters):
    key = rng.key(seed, stream, *counters)
    assert key == key_of(seed, stream, *counters) == rng.Stream(seed, stream).key(*counters)
    assert 0 <= key < 2**63


@given(
    st.integers(-(2**63), 2**63 - 1),
    st.lists(st.integers(-5, 2**63), max_size=2),
    st.lists(st.integers(-(2**63), 2**63 - 1)),
)
def test_many_keys_are_those_that_are_had_one_by_one(seed, counters, last):
    stream = rng.Stream(seed, "example")
    assert stream.keys(*counters, last=last) == [stream.key(*counters, each) for each in last]


def test_a_stream_gives_the_same_key_twice():
    stream = rng.Stream(0, "step")
    assert stream.key(1) == stream.key(1)


def test_keys_differ_in_the_neighbourhood_of_everything():
    seeds = [*range(-8, 8), 2**31, 2**32, 2**62, 2**63 - 1, -(2**63)]
    counters = [address for length in range(4) for address in itertools.product(range(4), repeat=length)]
    addresses = [(seed, stream, *counter) for seed in seeds for stream in STREAMS for counter in counters]
    assert len(addresses) > 8000
    assert len({rng.key(*address) for address in addresses}) == len(addresses)


@pytest.mark.parametrize("seed", [2**63, 2**64, -(2**63) - 1, 10**400])
def test_a_seed_that_would_be_the_same_as_another_is_refused(seed):
    with pytest.raises(UsageError, match=rf"from -2\*\*63 to 2\*\*63 - 1, got one of {seed.bit_length()} bits"):
        rng.key(seed, "init")


def chi_square(values: list[int], num_bins: int) -> float:
    counts = np.bincount([value % num_bins for value in values], minlength=num_bins)
    expected = len(values) / num_bins
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("vary", ["seed", "first counter", "last counter", "stream"])
@pytest.mark.parametrize("shift", [0, 24, 55])
def test_each_byte_is_uniform_whatever_counts(vary, shift):
    """Torch's CPU generator takes the low 32 bits of a seed only, so these must be good by themselves."""
    make = {
        "seed": lambda i: rng.key(i, "step"),
        "first counter": lambda i: rng.key(0, "step", i, 0, 0),
        "last counter": lambda i: rng.key(0, "step", 0, 0, i),
        "stream": lambda i: rng.key(0, f"stream {i}"),
    }[vary]
    # 255 degrees of freedom: mean 255, deviation 22.6; 370 is passed by chance once in 300,000. Nothing here is random.
    assert 150 < chi_square([make(i) >> shift for i in range(25_600)], 256) < 370


def test_the_measure_of_uniformity_sees_a_counter():
    assert chi_square([3 * i for i in range(25_600)], 256) < 150
    assert chi_square([2 * i for i in range(25_600)], 256) > 370


def test_neighbours_differ_in_half_of_their_bits():
    flips = [(rng.key(0, "step", i) ^ rng.key(0, "step", i + 1)).bit_count() for i in range(4000)]
    assert np.mean(flips) == pytest.approx(63 / 2, abs=0.25)  # its deviation is 0.06


def mersenne_shuffle(key: int, num_examples: int) -> list[int]:
    """Shuffle as Fisher and Yates do, with numpy's Mersenne twister."""
    twister = np.random.MT19937()
    twister._legacy_seeding(key % 2**32)
    order = list(range(num_examples))
    for i in range(num_examples - 1):
        j = i + int(twister.random_raw()) % (num_examples - i)
        order[i], order[j] = order[j], order[i]
    return order


@pytest.mark.parametrize(("seed", "epoch", "num_examples"), [(0, 0, 10), (0, 1, 10), (3, 1, 1000), (-5, 0, 257)])
def test_permutations_are_those_of_a_second_implementation(seed, epoch, num_examples):
    order = rng.permutation(seed, epoch, num_examples)
    assert order.dtype == torch.int64
    assert order.tolist() == mersenne_shuffle(key_of(seed, "order", epoch), num_examples)


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 300))
def test_a_permutation_holds_each_example_once(seed, epoch, num_examples):
    assert sorted(rng.permutation(seed, epoch, num_examples).tolist()) == list(range(num_examples))


def test_permutations_need_no_global_state_and_leave_none():
    torch.manual_seed(1)
    first, state = rng.permutation(0, 5, 100), torch.get_rng_state()
    torch.manual_seed(2)
    torch.rand(3)
    assert rng.permutation(0, 5, 100).equal(first)
    torch.manual_seed(1)
    assert torch.get_rng_state().equal(state)
    assert not rng.permutation(0, 6, 100).equal(first)
    assert not rng.permutation(1, 5, 100).equal(first)


def test_generators_are_seeded_by_their_address():
    first = rng.generator(4, "split", 2)
    assert first.initial_seed() == key_of(4, "split", 2)
    assert torch.rand(5, generator=first).equal(torch.rand(5, generator=rng.generator(4, "split", 2)))


def test_reseeding_makes_dropout_repeat():
    dropout, ones, cpu = torch.nn.Dropout(0.5), torch.ones(1000), torch.device("cpu")
    rng.default_seeder(cpu)(7)
    first, second = dropout(ones), dropout(ones)
    rng.default_seeder(cpu)(7)
    assert dropout(ones).equal(first)
    assert not second.equal(first)
    rng.default_seeder(cpu)(8)
    assert not dropout(ones).equal(first)


def test_reseeding_is_what_torch_does_and_touches_nothing_else():
    import random

    random.seed(3)
    np.random.seed(3)
    python, numpy = random.getstate(), np.random.get_state(legacy=False)
    other = torch.Generator().manual_seed(9)
    state = other.get_state()
    rng.default_seeder(torch.device("cpu"))(2**63 - 1)
    reseeded = torch.get_rng_state()
    assert other.get_state().equal(state)
    assert random.getstate() == python
    assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], numpy["state"]["key"])
    torch.manual_seed(2**63 - 1)
    assert torch.get_rng_state().equal(reseeded)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_reseeding_makes_dropout_repeat_on_cuda():
    device = torch.device("cuda", 0)
    ones = torch.ones(1000, device=device)
    before = torch.get_rng_state()
    rng.default_seeder(device)(7)
    first = torch.nn.functional.dropout(ones)
    rng.default_seeder(device)(7)
    assert torch.nn.functional.dropout(ones).equal(first)
    assert torch.get_rng_state().equal(before)
