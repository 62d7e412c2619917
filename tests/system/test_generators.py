"""The generators of the process: each draw is noticed, nothing else is, and all of their state is put back."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from optrun.experiments.system import generators
from optrun.experiments.system.generators import generators_kept

PYTHON = {
    "random": random.random,
    "bits": lambda: random.getrandbits(1),
    "no bits": lambda: random.getrandbits(0),
    "randrange": lambda: random.randrange(7),
    "gauss": lambda: random.gauss(0, 1),
    "normalvariate": lambda: random.normalvariate(0, 1),
    "shuffle": lambda: random.shuffle([1, 2, 3]),
    "choice": lambda: random.choice("abc"),
    "sample": lambda: random.sample(range(9), 4),
    "sample of none": lambda: random.sample(range(9), 0),
    "uniform": lambda: random.uniform(1, 1),
    "betavariate": lambda: random.betavariate(1, 2),
    "randbytes": lambda: random.randbytes(3),
    "seed": lambda: random.seed(random.randrange(3)),
    "seed again": lambda: random.seed(5),
    "state": lambda: random.setstate(random.getstate()),
    "one of its own": lambda: random.Random(3).random(),
    "nothing": lambda: None,
}
NUMPY = {
    "rand": np.random.rand,
    "randn": np.random.randn,
    "two normals": lambda: np.random.randn(2),
    "normal": lambda: np.random.normal(),
    "randint": lambda: np.random.randint(7),
    "randint of bytes": lambda: np.random.randint(0, 2, 3, dtype=np.uint8),
    "binomial": lambda: np.random.binomial(5, 0.3),
    "many binomials": lambda: np.random.binomial(500, 0.3, 2),
    "poisson": lambda: np.random.poisson(3),
    "choice": lambda: np.random.choice(9, 3, replace=False),
    "permutation": lambda: np.random.permutation(4),
    "permutation of none": lambda: np.random.permutation(0),
    "gamma": lambda: np.random.gamma(2),
    "beta": lambda: np.random.beta(2, 3),
    "dirichlet": lambda: np.random.dirichlet([1, 2]),
    "bytes": lambda: np.random.bytes(1),
    "none": lambda: np.random.rand(0),
    "seed": lambda: np.random.seed(np.random.randint(3)),
    "seed again": lambda: np.random.seed(5),
    "state": lambda: np.random.set_state(np.random.get_state()),
    "one of its own": lambda: np.random.default_rng(3).random(),
    "nothing": lambda: None,
}


def state_of_numpy() -> tuple:
    name, words, *rest = np.random.get_state()
    return name, words.tobytes(), *rest


@pytest.fixture(autouse=True)
def put_back():
    python, numpy, by_torch = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    random.setstate(python)
    np.random.set_state(numpy)
    torch.set_rng_state(by_torch)


@pytest.fixture(params=["images", "states"])
def way(request, monkeypatch):
    """Watch by images of the memory, and as where these show nothing."""
    if request.param == "states":
        monkeypatch.setattr(generators, "_images_show_python", lambda: False)
        monkeypatch.setattr(generators, "_images_show_numpy", lambda: False)


def test_images_show_the_state_in_this_python_and_numpy():
    assert generators._images_show_python()
    assert generators._images_show_numpy()


@pytest.mark.parametrize(("watched", "draws", "state"), [
    (generators.of_python, PYTHON, random.getstate),
    (generators.of_numpy, NUMPY, state_of_numpy),
], ids=["python", "numpy"])  # fmt: skip
def test_each_draw_is_noticed_and_nothing_else(way, watched, draws, state):
    generator, order = watched(), np.random.RandomState(1)
    found = []
    for _ in range(600):  # past several refills of the 624 words
        name = list(draws)[order.randint(len(draws))]
        before, snapshot = state(), generator.snapshot()
        draws[name]()
        assert generator.has_moved(snapshot) is (state() != before), name
        found.append(state() != before)
        moved_to = generator.snapshot()
        generator.put_back(snapshot)
        assert state() == before, name
        assert (
            not generator.has_moved(snapshot) or watched is generators.of_numpy
        )  # binomials keep what they worked out
        generator.put_back(moved_to)
    assert 100 < sum(found) < 550


def test_another_bit_generator_of_numpys_is_watched_too():
    mersenne = np.random.get_bit_generator()
    try:
        first = generators.of_numpy().snapshot()
        np.random.set_bit_generator(np.random.PCG64(3))
        assert generators.of_numpy().has_moved(first)
        second = generators.of_numpy().snapshot()
        drawn = np.random.rand(3)
        assert generators.of_numpy().has_moved(second)
        generators.of_numpy().put_back(second)
        assert not generators.of_numpy().has_moved(second)
        assert np.array_equal(np.random.rand(3), drawn)
    finally:
        np.random.set_bit_generator(mersenne)


def test_generators_are_put_back_with_the_normal_that_they_have_in_hand(way):
    random.gauss(0, 1)
    np.random.randn()
    states = random.getstate(), state_of_numpy(), torch.get_rng_state().numpy().tobytes()
    for _ in range(3):
        with generators_kept():
            with generators_kept():
                random.gauss(0, 1)
                np.random.randn()
                torch.rand(1)
            assert (random.getstate(), state_of_numpy(), torch.get_rng_state().numpy().tobytes()) == states
            random.random()
            np.random.rand()
        assert (random.getstate(), state_of_numpy(), torch.get_rng_state().numpy().tobytes()) == states
    with pytest.raises(ZeroDivisionError), generators_kept():
        1 / np.random.rand(0).size
    assert state_of_numpy() == states[1]


def test_an_image_that_lacks_the_state_is_not_trusted(monkeypatch):
    whole = generators._image
    for start, stop in ((0, 64), (1000, None), (0, 0)):
        monkeypatch.setattr(generators, "_image", lambda value, part=slice(start, stop): whole(value)[part])
        assert not generators._images_show_python.__wrapped__()
        assert not generators._images_show_numpy.__wrapped__()
