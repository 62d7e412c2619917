"""Every registered data set; what a Dataset refuses; the known answers of the synthetic ones."""

from __future__ import annotations

import inspect
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from optrun.experiments.components.data import Dataset, digits, make_data, registry, split
from optrun.experiments.components.data.synthetic import best_accuracy
from optrun.experiments.errors import DataError, UsageError
from optrun.experiments.registry import user_code

from ...robustness.processes import ForkServer

NAMES = registry.names()
DOWNLOADED = [n for n in NAMES if "public" in registry.get(n).facts]  # see test_images.py
HERE = [n for n in NAMES if n not in DOWNLOADED]
WITHOUT_ARGUMENTS = [n for n in HERE if not any(a.required for a in registry.get(n).signature.arguments)]


@pytest.mark.parametrize("name", NAMES)
def test_each_is_documented(name: str) -> None:
    component = registry.get(name)
    doc = inspect.getdoc(component.build) or ""
    assert re.fullmatch(r"[A-Z0-9][^\n]*\.", component.summary)
    if arguments := component.signature.names():
        described = re.findall(r"^    (\w+): ", doc.split("Args:\n")[1].split("\n\n")[0], re.MULTILINE)
        assert described == arguments
    assert component.source
    assert "Source: " in doc


@pytest.mark.parametrize("name", WITHOUT_ARGUMENTS)
def test_each_is_ready_to_train_on_and_always_the_same(name: str) -> None:
    torch.manual_seed(1)
    one = make_data(name)
    torch.manual_seed(2)
    two = make_data(name)
    assert one.inputs.equal(two.inputs)
    assert one.targets.equal(two.targets)
    ready = split(one).dataset.inputs
    assert ready.dtype == (torch.int64 if one.task == "tokens" else torch.float32)
    assert ready.isfinite().all()
    assert one.input_shape == tuple(one.inputs.shape[1:])
    assert len(one) == len(one.inputs)
    assert one.description
    if one.task == "classes":
        assert one.targets.unique().tolist() == list(range(one.num_outputs))
    elif one.task == "tokens":
        assert one.targets[:, :-1].equal(one.inputs[:, 1:]), "each target is the token that follows"
    else:
        assert one.targets.shape == (len(one), one.num_outputs)


def test_digits_are_scikit_learns_standardised() -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    dataset = make_data("digits")
    assert dataset.targets.tolist() == bunch.target.tolist()  # type: ignore[attr-defined]
    pixels = (dataset.inputs * 0.376 + 0.305) * 16
    torch.testing.assert_close(pixels[:, 0].double(), torch.tensor(bunch.images), atol=1e-4, rtol=0)  # type: ignore[attr-defined]
    assert float(dataset.inputs.mean()) == pytest.approx(0, abs=0.01)
    assert float(dataset.inputs.std()) == pytest.approx(1, abs=0.01)


def test_digits_as_they_are_and_as_their_own_targets() -> None:
    from sklearn.datasets import load_digits

    images = torch.tensor(load_digits().images)[:, None]  # type: ignore[attr-defined]
    unit = make_data("digits", scaling="unit")
    assert (unit.inputs * 16).double().equal(images), "sixteenths are exact"
    assert unit.targets.equal(make_data("digits").targets)
    mirrored = make_data("digits", scaling="unit", targets="image")
    assert (mirrored.task, mirrored.num_outputs) == ("values", 64)
    assert mirrored.targets.equal(unit.inputs.reshape(1797, 64))
    standard = make_data("digits", targets="image")
    assert standard.targets.equal(make_data("digits").inputs.reshape(1797, 64))
    with pytest.raises(UsageError, match="scaling must be standard or unit, got 'none'"):
        make_data("digits", scaling="none")


def test_digits_do_not_import_scikit_learn_which_takes_a_second(server: ForkServer) -> None:
    load = "from optrun.experiments.components.data import make_data; make_data('digits')"
    code = f"import sys; {load}; print('sklearn' in sys.modules)"
    out, err = server.new_python(code).communicate()
    assert out == b"False\n", err


def test_digits_that_have_changed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = digits.read_bundled("digits", ("digits.csv.gz",))
    rows[5, 7] += 1
    monkeypatch.setattr(digits, "read_bundled", lambda name, files: rows)
    with pytest.raises(DataError, match="not the published ones"):
        make_data("digits")


def test_digits_are_found_by_scikit_learn_itself_if_the_file_has_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = make_data("digits")
    monkeypatch.setattr(Path, "is_file", lambda self: False)
    assert make_data("digits").inputs.equal(expected.inputs)


@pytest.mark.parametrize(("noise", "condition"), [(0.1, 100.0), (0.0, 1.0), (1.0, 1e4)])
def test_the_linear_teacher_is_the_least_squares_solution(noise: float, condition: float) -> None:
    dataset = make_data("linear_teacher", num_examples=300, num_inputs=5, noise=noise, condition=condition)
    inputs, targets = dataset.inputs.double(), dataset.targets[:, 0].double()
    weights = dataset.facts["weights"]
    design = torch.cat([inputs, torch.ones(300, 1, dtype=torch.float64)], dim=1)
    solution = torch.linalg.lstsq(design, targets[:, None]).solution[:, 0]
    torch.testing.assert_close(solution[:-1], weights, atol=1e-5 * condition, rtol=1e-4)
    assert float(solution[-1]) == pytest.approx(0, abs=1e-6), "no intercept"
    assert float((inputs @ weights - targets).square().mean()) == pytest.approx(dataset.facts["loss"], abs=1e-6)
    assert float((inputs @ weights).square().mean()) == pytest.approx(1.0, rel=1e-5)
    eigenvalues = torch.linalg.eigvalsh(inputs.T @ inputs / 300).flip(0)
    torch.testing.assert_close(eigenvalues, dataset.facts["eigenvalues"], rtol=1e-3, atol=1e-7)
    assert float(eigenvalues[0] / eigenvalues[-1]) == pytest.approx(condition, rel=1e-2)


@pytest.mark.parametrize(("num_classes", "separation"), [(2, 1.0), (3, 3.0), (5, 2.0)])
def test_the_best_accuracy_is_what_the_best_classifier_reaches(num_classes: int, separation: float) -> None:
    dataset = make_data(
        "gaussian_classes", num_examples=40_000, num_classes=num_classes, num_inputs=6, separation=separation
    )
    means = dataset.facts["means"].float()
    assert torch.pdist(means).tolist() == pytest.approx([separation] * math.comb(num_classes, 2), rel=1e-5)
    nearest = torch.cdist(dataset.inputs, means).argmin(1)
    reached = float((nearest == dataset.targets).double().mean())
    best = dataset.facts["accuracy"]
    assert reached == pytest.approx(best, abs=4 * math.sqrt(best * (1 - best) / 40_000))


def test_the_best_accuracy_in_closed_form() -> None:
    for separation in (0.0, 1.0, 3.0):  # two classes: Φ(separation / 2)
        assert best_accuracy(2, separation) == pytest.approx(
            0.5 * (1 + math.erf(separation / 2 / math.sqrt(2))), abs=1e-12
        )
    assert best_accuracy(7, 0.0) == pytest.approx(1 / 7, abs=1e-12)
    assert best_accuracy(3, 30.0) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("linear_teacher", {"num_examples": 20, "num_inputs": 19}, "19 inputs take at least 21 examples, got 20"),
        ("linear_teacher", {"condition": 0.5}, "condition is at least 1, got 0.5"),
        ("gaussian_classes", {"num_classes": 1}, "expected 2 to 10 classes"),
        ("gaussian_classes", {"num_classes": 11}, "expected 2 to 10 classes"),
    ],
)
def test_impossible_synthetic_data_is_refused(name: str, args: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_data(name, **args)


def test_unknown_names_arguments_and_strange_results_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no data named 'digit'\. Did you mean 'digits'"):
        make_data("digit")
    with pytest.raises(UsageError, match="data 'digits' has no argument 'size'"):
        make_data("digits", size=3)
    (tmp_path / "mine.py").write_text("def rows():\n    return {1, 2}\n")
    assert user_code.is_code_reference("./mine.py:rows")
    with pytest.raises(UsageError, match="made a set of 2: expected a Dataset of optrun's; a data set with"):
        make_data("./mine.py:rows", base=tmp_path)


FLOATS, CLASSES = torch.zeros(4, 2), torch.tensor([0, 1, 2, 1])


@pytest.mark.parametrize(
    ("inputs", "targets", "task", "num_outputs", "message"),
    [
        (FLOATS.long(), CLASSES, "classes", 3, r"inputs must be floating point.*got int64, shape \(4, 2\)"),
        (torch.zeros(4), CLASSES, "classes", 3, "inputs must be floating point, shape"),
        (FLOATS[:3], CLASSES, "classes", 3, "3 inputs do not match 4 targets"),
        (FLOATS[:0], CLASSES[:0], "classes", 3, "there are no examples"),
        (FLOATS, CLASSES.float(), "classes", 3, "class targets must be int64"),
        (FLOATS, CLASSES[:, None], "classes", 3, "class targets must be int64"),
        (FLOATS, CLASSES, "classes", 2, "class numbers must be 0 to 1, got 0 to 2"),
        (FLOATS, CLASSES - 1, "classes", 3, "class numbers must be 0 to 2, got -1 to 1"),
        (FLOATS, FLOATS[:, 0], "values", 1, r"targets must be floating point, shape \(4, 1\)"),
        (FLOATS, FLOATS.long(), "values", 2, "targets must be floating point"),
    ],
)
def test_a_dataset_refuses_what_does_not_fit(
    inputs: torch.Tensor, targets: torch.Tensor, task: Any, num_outputs: int, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        Dataset(inputs, targets, task, num_outputs)


def test_class_names_have_to_be_as_many_as_classes() -> None:
    with pytest.raises(DataError, match="2 class names do not match 3 classes"):
        Dataset(FLOATS, CLASSES, "classes", 3, class_names=("a", "b"))
