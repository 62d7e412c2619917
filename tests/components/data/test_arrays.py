"""The user's own arrays: what is read, and how each kind of bad file is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from optrun.experiments.components.data import make_data, split
from optrun.experiments.errors import DataError

X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 1, 2, 0, 1, 2])


def saved(folder: Path, **arrays: Any) -> str:
    path = folder / "mine.npz"
    np.savez(path, **arrays)
    return str(path)


@pytest.mark.parametrize("names", [("inputs", "targets"), ("x", "y"), ("X", "Y"), ("x_train", "y_train")])
def test_classes_are_inferred_from_integers(tmp_path: Path, names: tuple[str, str]) -> None:
    dataset = make_data("arrays", path=saved(tmp_path, **{names[0]: X, names[1]: Y.astype(np.uint8)}))
    assert dataset.task == "classes"
    assert dataset.num_outputs == 3
    assert dataset.inputs.tolist() == X.tolist()
    assert dataset.inputs.dtype == torch.float32
    assert dataset.targets.tolist() == Y.tolist()
    assert dataset.targets.dtype == torch.int64
    assert dataset.splits == {}


@pytest.mark.parametrize("targets", [X[:, 0], X[:, :1], X])
def test_values_are_inferred_from_fractions(tmp_path: Path, targets: np.ndarray) -> None:
    dataset = make_data("arrays", path=saved(tmp_path, x=X, y=targets))
    assert dataset.task == "values"
    assert dataset.num_outputs == (1 if targets.ndim == 1 else targets.shape[1])
    assert dataset.targets.tolist() == targets.reshape(6, -1).tolist()


def test_the_task_can_be_stated(tmp_path: Path) -> None:
    assert make_data("arrays", path=saved(tmp_path, x=X, y=Y), task="values").targets.dtype == torch.float32
    floats = make_data("arrays", path=saved(tmp_path, x=X, y=Y.astype(float)), task="classes")
    assert floats.targets.tolist() == Y.tolist()
    assert make_data("arrays", path=saved(tmp_path, x=X, y=Y[:, None])).targets.tolist() == Y.tolist()


def test_uint8_inputs_are_pixels_and_other_integers_are_not(tmp_path: Path) -> None:
    pixels = np.array([[0, 255], [51, 102]], dtype=np.uint8)
    scaled = make_data("arrays", path=saved(tmp_path, x=pixels, y=[0, 1])).inputs
    torch.testing.assert_close(scaled, torch.tensor([[0, 1], [0.2, 0.4]]))
    assert make_data("arrays", path=saved(tmp_path, x=pixels.astype(int), y=[0, 1])).inputs.max() == 255


def test_parts_that_come_split_stay_split(tmp_path: Path) -> None:
    path = saved(tmp_path, x_train=X, y_train=Y, x_test=X[:2] + 100, y_test=Y[:2])
    splits = split(make_data("arrays", path=path), val=0.5)
    assert splits.test is not None
    assert splits.test.inputs.tolist() == (X[:2] + 100).tolist()
    assert splits.sizes() == {"train": 3, "val": 3, "test": 2}
    assert splits.train.inputs.max() < 100


def test_classes_may_be_absent_if_their_number_is_stated(tmp_path: Path) -> None:
    assert make_data("arrays", path=saved(tmp_path, x=X, y=Y), num_classes=5).num_outputs == 5


@pytest.mark.parametrize(
    ("arrays", "args", "message"),
    [
        ({"x": X}, {}, "expected one of inputs, x, X, x_train and one of targets, y, Y, y_train; the file has x"),
        ({}, {}, "the file has nothing"),
        ({"x": X, "inputs": X, "y": Y}, {}, "the file has inputs, x, y"),
        ({"x": X, "y": Y, "x_test": X}, {}, "one of test_targets, y_test"),
        ({"x": X, "y": Y[:5]}, {}, "as many inputs as targets, got shapes x (6, 2), y (5,)"),
        ({"x": np.float64(3), "y": Y}, {}, "as many inputs as targets, got shapes x ()"),
        ({"x": X[:, 0], "y": Y}, {}, "got (6,): reshape(-1, 1)"),
        ({"x": X[:0], "y": Y[:0]}, {}, "there are no examples"),
        ({"x": X.astype(str), "y": Y}, {}, "inputs must be real numbers, got <U"),
        ({"x": X.astype(complex), "y": Y}, {}, "inputs must be real numbers, got complex128"),
        (
            {"x": np.where(X == 7, np.nan, X), "y": Y},
            {},
            "1 examples are not finite numbers, the first in row 3",
        ),
        ({"x": X * 1e300, "y": Y}, {}, "inputs of 6 examples are not finite"),
        ({"x": X, "y": np.full(6, np.inf)}, {}, "targets of 6 examples are not finite"),
        ({"x": X, "y": Y - 1}, {}, "class numbers start at 0, got -1"),
        ({"x": X, "y": Y + 1}, {}, "class 0 has no example, though classes go up to 3"),
        ({"x": X, "y": Y * 2}, {}, "class 1 has no example"),
        ({"x": X, "y": Y}, {"num_classes": 2}, "class numbers must be 0 to 1, got 0 to 2"),
        ({"x": X, "y": Y + 0.5}, {"task": "classes"}, "class targets must be whole numbers"),
        ({"x": X, "y": np.eye(6)}, {"task": "classes"}, "try argmax(axis=1)"),
        ({"x": X, "y": np.array(list("abcabc"))}, {}, "targets must be real numbers"),
        ({"x": X, "y": np.array(list("abcabc"))}, {"task": "classes"}, "class targets must be numbers from 0, got <U1"),
        ({"x": X, "y": X[:, None]}, {}, "one or one row per example"),
        ({"x_train": X, "y_train": Y, "x_test": X[:, :1], "y_test": Y}, {}, "all parts need inputs of one shape"),
    ],
)
def test_bad_arrays_are_refused(tmp_path: Path, arrays: dict[str, Any], args: dict[str, Any], message: str) -> None:
    path = saved(tmp_path, **arrays)
    with pytest.raises(DataError) as caught:
        make_data("arrays", path=path, **args)
    assert message in str(caught.value)
    assert path in str(caught.value)


def test_bad_files_are_refused(tmp_path: Path) -> None:
    def refusal(path: Path) -> str:
        with pytest.raises(DataError) as caught:
            make_data("arrays", path=str(path))
        assert str(path) in str(caught.value)
        return str(caught.value)

    assert refusal(tmp_path / "none.npz") == f"no file {tmp_path / 'none.npz'}"
    assert "cannot be read" in refusal(tmp_path)
    (tmp_path / "empty.npz").touch()
    assert "cannot be read" in refusal(tmp_path / "empty.npz")
    (tmp_path / "text.npz").write_text("x,y\n1,2\n")
    assert "Python objects" in refusal(tmp_path / "text.npz") or "cannot be read" in refusal(tmp_path / "text.npz")
    np.save(tmp_path / "bare.npy", X)
    assert "holds one bare array" in refusal(tmp_path / "bare.npy")
    np.savez(tmp_path / "objects.npz", x=X, y=np.array([{}] * 6, dtype=object))
    assert "holds Python objects, which are never loaded" in refusal(tmp_path / "objects.npz")
    whole = Path(saved(tmp_path, x=X, y=Y)).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    assert "cannot be read" in refusal(tmp_path / "cut.npz")
    damaged = bytearray(whole)
    damaged[150] ^= 0xFF
    (tmp_path / "damaged.npz").write_bytes(damaged)
    assert "cannot be read" in refusal(tmp_path / "damaged.npz")


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
@pytest.mark.parametrize("first", [1_700_000_000, 0])
def test_values_that_single_precision_makes_equal_are_refused(tmp_path: Path, dtype: Any, first: int) -> None:
    targets = np.array([first, *(1_700_000_000 + number for number in range(40))], dtype)
    np.savez(tmp_path / "data.npz", x=np.ones((41, 2)), y=targets)
    with pytest.raises(DataError, match=r"column 0 of the targets \(.* loses .* to single precision: subtract"):
        make_data("arrays", path=str(tmp_path / "data.npz"), task="values")
    np.savez(tmp_path / "data.npz", x=np.ones((41, 2)), y=targets - 1_700_000_000 if first else np.arange(41))
    assert make_data("arrays", path=str(tmp_path / "data.npz"), task="values").targets.unique().numel() >= 40
