import json
import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from optrun.experiments.errors import CheckpointError, UsageError
from optrun.experiments.run_directory.checkpoints import load, save
from optrun.experiments.run_directory.state_tree import flatten_state, unflatten_state


def through_json(section, state):
    tensors, skeleton = flatten_state(section, state)
    return unflatten_state(tensors, json.loads(json.dumps(skeleton, allow_nan=False)))


keys = st.text(max_size=4) | st.integers() | st.booleans() | st.none()
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=15,
)


def kinds(value):
    """Return the value with its types spelled out: 1, 1.0 and True are different states."""
    if isinstance(value, dict):
        return [(kinds(key), kinds(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return (type(value), [kinds(item) for item in value])
    return (type(value), repr(value))


@given(trees)
def test_any_nesting_comes_back_exactly(tree):
    assert kinds(through_json("hooks", tree)) == kinds(tree)


def test_infinities_and_nan_come_back():
    state = through_json("hooks", {"best": -math.inf, "worst": math.inf, "loss": math.nan, "zero": -0.0})
    assert state["best"] == -math.inf
    assert state["worst"] == math.inf
    assert math.isnan(state["loss"])
    assert math.copysign(1, state["zero"]) == -1


def test_tensors_get_readable_names_that_never_collide():
    one, two, three = torch.ones(1), torch.ones(2), torch.ones(3)
    state = {"a": {"b": one}, "a/b": two, "a_b": three, "list": [one, {"$x": two}], "": three, 0: {"w": one}}
    tensors, skeleton = flatten_state("optimizer", state)
    assert tensors["optimizer/a/b"] is one
    assert tensors["optimizer/0/w"] is one
    assert len(tensors) == 7
    back = unflatten_state(tensors, skeleton)
    assert list(back) == list(state)
    assert back["a/b"] is two
    assert back["a_b"] is three
    assert back["list"][1]["$x"] is two
    assert back[""] is three


def test_a_bare_tensor_is_a_state_too():
    tensors, skeleton = flatten_state("rng", torch.arange(3))
    assert list(tensors) == ["rng/value"]
    assert torch.equal(unflatten_state(tensors, skeleton), torch.arange(3))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3),
        np.arange(6, dtype=np.float32).reshape(2, 3).T,
        np.array(2.5),
        np.empty((0, 3), dtype=np.int16),
        np.array([True, False]),
        np.arange(4, dtype=np.uint64)[::-1],
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_numpy_arrays_come_back_as_numpy(array):
    array.flags.writeable = False
    back = through_json("hooks", {"x": array})["x"]
    assert isinstance(back, np.ndarray)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert np.array_equal(back, array)
    back[...] = 0  # and may be written to


def test_numpy_scalars_come_back_as_numpy_scalars():
    state = through_json("hooks", [np.float32(1.5), np.int64(3), np.float64(0.1), np.bool_(True)])
    assert [type(value) for value in state] == [np.float32, np.int64, np.float64, np.bool_]
    assert state == [1.5, 3, 0.1, True]


def test_an_optimizer_a_hook_and_the_generators_survive_a_real_file(tmp_path):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, 0.98))
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    numpy_generator = np.random.Generator(np.random.MT19937(3))
    parts = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rng": {
            "python": random.Random(3).getstate(),
            "numpy": numpy_generator.bit_generator.state,
            "torch": torch.get_rng_state(),
        },
    }
    tensors, skeleton = {}, {}
    for section, part in parts.items():
        found, skeleton[section] = flatten_state(section, part)
        tensors |= found
    loaded, facts = load(save(tmp_path, 1, tensors, {"state": skeleton}))
    back = {section: unflatten_state(loaded, part) for section, part in facts["state"].items()}
    assert list(back["optimizer"]["state"]) == [0, 1]
    assert back["optimizer"]["param_groups"] == optimizer.state_dict()["param_groups"]
    for key, value in optimizer.state_dict()["state"][0].items():
        assert torch.equal(back["optimizer"]["state"][0][key], value)
    torch.nn.Linear(3, 2).load_state_dict(back["model"])
    generator = random.Random()
    generator.setstate(back["rng"]["python"])
    assert generator.random() == random.Random(3).random()
    restored = np.random.MT19937()
    restored.state = back["rng"]["numpy"]
    assert np.random.Generator(restored).random() == numpy_generator.random()
    torch.Generator().set_state(back["rng"]["torch"])


@pytest.mark.parametrize(
    ("value", "name"),
    [({1}, "set"), (b"x", "bytes"), (torch.nn.Linear(1, 1), "Linear"), (len, "builtin"), (1j, "complex")],
)
def test_other_types_are_refused_with_their_place(value, name):
    with pytest.raises(UsageError, match=rf"hooks\['mine'\]\[1\]\['x'\]: cannot store a {name}"):
        flatten_state("hooks", {"mine": [0, {"x": value}]})


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([object()]), np.array([1], dtype=">i4")])
def test_arrays_that_torch_does_not_know_are_refused(array):
    with pytest.raises(UsageError, match="cannot store a numpy array of"):
        flatten_state("hooks", {"x": array})


@pytest.mark.parametrize(
    "skeleton",
    [
        {"$tensor": "a/b"},
        {"$tensor": []},
        {"$float": "x"},
        {"$float": None},
        {"$dict": 3},
        {"$dict": [[1]]},
        {"$new": 1},
    ],
)
def test_a_skeleton_that_does_not_fit_is_refused(skeleton):
    with pytest.raises(CheckpointError, match="the stored state has"):
        unflatten_state({}, {"deep": [skeleton]})
