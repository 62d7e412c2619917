"""Wrong targets, for every loss and home of data, are told before the run, at the data, with a way out.

What a loss can take all the same (class numbers as values) trains; nothing is told in torch's words, nothing is a bug.
"""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from optrun.experiments import predict, train
from optrun.experiments.components.registries import REGISTRIES
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import DataError
from optrun.experiments.training.build import build

from .sweep import report
from .wrong_targets import CLASSES, HERE, KINDS

HOMES = ("Own", "tensors", "in_memory")
LOSSES = [*REGISTRIES["loss"].names(), "torch.nn:CrossEntropyLoss", "torch.nn:MSELoss"]
CASES = list(itertools.product(LOSSES, KINDS, HOMES, ("flat", "pictures")))
OF_TORCH = (
    "out of bounds",
    "Expected",
    "expected target",
    "expected scalar",
    "must be Tensor",
    "size mismatch",
    "only batches",
)


def configuration(loss: str, kind: str, home: str, inputs: str) -> dict[str, Any]:
    return {
        "data": {"name": f"{HERE}:{home}", "kind": kind, "inputs": inputs, "batch_size": 8, "eval_batch_size": 8},
        "model": {"name": "logistic" if inputs == "flat" else f"{HERE}:Pixels", "num_outputs": CLASSES},
        "loss": loss,
        "optimizer": {"name": "sgd", "lr": 1e-3},
        "train": {"epochs": 1, "threads": 1},
        "stop": {"on_nan": "stop"},
    }


def wrongly_told(loss: str, kind: str, home: str, inputs: str) -> str | None:
    """Train one case; return what is wrong with how it ended."""
    label = f"{loss}, {kind}, {home}, {inputs}"
    if (inputs, kind) == ("flat", "another size") or (home != "Own" and kind in ("texts", "missing", "mappings")):
        return None  # there are none
    is_of_classes = "cross" in loss.lower()
    try:
        train(configuration(loss, kind, home, inputs))
    except DataError as error:  # of data in memory, which looks at itself
        return None if home == "in_memory" else f"{label}: {error}"
    except ConfigError as error:
        problem = error.problems[0]
        has_way = problem.hint or "by data.collate" in problem.message
        is_at_home = problem.key == "data" and (has_way or not is_of_classes)
        told = is_at_home or (problem.key == "loss" and not is_of_classes)
        if told and not (is_of_classes and any(words in problem.message for words in OF_TORCH)):
            return None
        return f"{label}: {problem.key}: {problem.message}"
    except Exception as error:  # noqa: BLE001 (that is what is counted)
        return f"{label}: {type(error).__name__}: {error}"
    return f"{label}: trained" if is_of_classes else None


@pytest.mark.parametrize(("loss", "kind", "home", "inputs"), random.Random(5).sample(CASES, 12))
def test_wrong_targets_are_told_at_the_data_or_trained_on(loss: str, kind: str, home: str, inputs: str) -> None:
    assert wrongly_told(loss, kind, home, inputs) is None


def test_an_example_without_a_target_is_told_with_the_way_out() -> None:
    assert wrongly_told("cross_entropy", "missing", "Own", "flat") is None


@pytest.mark.slow
def test_all_wrong_targets() -> None:
    found = [wrong for case in CASES if (wrong := wrongly_told(*case))]
    report("wrong targets", len(CASES), found)


def is_built(config: dict[str, Any]) -> bool:
    """Return True if no trial looks at what is wrong."""
    try:
        build(config)
    except ConfigError:
        return False
    return True


def refusal(**parts: Any) -> tuple[str, str, str]:
    base = configuration("cross_entropy", "255", "Own", "flat")
    with pytest.raises(ConfigError) as caught:
        train({**base, **parts})
    (problem,) = caught.value.problems
    return problem.key, problem.message, problem.hint or ""


def test_a_label_is_told_with_its_example_the_expectation_and_the_way_out() -> None:
    key, message, hint = refusal(
        data={"name": f"{HERE}:Own", "kind": "255", "inputs": "pictures"}, model=f"{HERE}:Pixels"
    )
    assert key == "data"
    assert (
        "of data 'Own' has the label 255 at (0, 0), and loss 'cross_entropy' takes class numbers from 0 to 2" in message
    )
    assert int(message.split()[1]) % 2 == 1  # the even ones are right
    assert hint == "where 255 stands for nothing to learn: ignore_index: 255, of the data set or of loss and metrics"
    assert "subtract 1" in refusal(data={"name": f"{HERE}:Own", "kind": "from 1"})[2]
    assert "model.num_outputs: 4" in refusal(data={"name": f"{HERE}:Own", "kind": "too large"})[2]


def test_labels_in_memory_are_all_looked_at_unless_examples_have_others() -> None:
    key, message, _ = refusal(data={"name": f"{HERE}:listed"})
    assert key == "data"
    assert message.startswith("example 7 of data 'listed' has the label 99, and loss")
    build({**configuration("cross_entropy", "255", "Own", "flat"), "data": {"name": f"{HERE}:Mapped"}})


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_label_that_comes_late_is_told_at_the_data_too(split: str) -> None:
    base = configuration("cross_entropy", "255", "Own", "flat")
    data = {"name": f"{HERE}:Late", "batch_size": 8, "eval_batch_size": 4}
    part: Any = getattr(build({**base, "data": {**data, "row": -1}}).splits, split)
    row = next(row for row in part.positions.tolist() if is_built({**base, "data": {**data, "row": row}}))
    key, message, _ = refusal(data={**data, "row": row})
    assert key == "data"
    assert message.startswith(f"example {row} of data 'Late' has the label 7, and loss 'cross_entropy' takes")


def test_an_ignored_label_is_to_be_ignored_by_all_and_the_data_can_say_so() -> None:
    loss = {"name": "cross_entropy", "ignore_index": 255}
    key, message, hint = refusal(loss=loss, metrics=["accuracy"])
    assert key == "metrics.0"
    assert "the loss ignores it, and the metric does not" in message
    assert "metrics: [{name: accuracy, ignore_index: 255}]" in hint
    assert "can ignore it" in refusal(loss=loss, metrics=[{"name": "top_k", "k": 2}])[2]
    said = {"name": f"{HERE}:Ignoring", "batch_size": 8}
    base = configuration("cross_entropy", "255", "Own", "flat")
    by_data = train({**base, "data": said, "metrics": ["accuracy", "miou"]})
    ignored = [{"name": each, "ignore_index": 255} for each in ("accuracy", "miou")]
    by_parts = train({**base, "data": {**base["data"], "eval_batch_size": 512}, "loss": loss, "metrics": ignored})
    assert by_data.result["final"] == by_parts.result["final"]
    assert '"ignore_index": 255' in (by_data.path / "data.json").read_text()
    assert "where targets are 255, the data's ignore_index" in (by_data.path / "log.txt").read_text()
    assert set(predict(by_data)["target"].tolist()) <= {0, 1, 2, 255}
