"""Batches whose rows are not examples: nodes of joined graphs, several views, time first, examples left out."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from optrun.experiments import build_train_op, load_config, predict, train
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import UsageError
from optrun.experiments.training.configured_data import make_splits

CODE = """
import torch
from torch import nn
from torch.utils.data import Dataset, IterableDataset

class Nodes(Dataset):
    num_classes = 2
    def __len__(self):
        return 40
    def __getitem__(self, number):
        x = torch.randn(1 + number % 4, 4, generator=torch.Generator().manual_seed(number))
        return x, (x.sum(1) > 0.0).long()

class Values(Nodes):
    num_classes = None
    def __getitem__(self, number):
        x, _ = super().__getitem__(number)
        return x, x.sum(1, keepdim=True) + number % 3

class Stream(IterableDataset):
    num_classes = 2
    def __iter__(self):
        return iter(map(Nodes().__getitem__, range(40)))

class Gaps(Nodes):
    first = 0
    def __getitem__(self, number):
        x, y = super().__getitem__(number)
        return None if number % 3 == self.first else (x[0], y[0])

class LaterGaps(Gaps):
    first = 1

def joined(rows):
    return torch.cat([x for x, _ in rows]), torch.cat([y for _, y in rows])

def views(rows):
    x, y = torch.stack([x[0] for x, _ in rows]), torch.stack([y[0] for _, y in rows])
    return torch.cat([x, x + 0.01]), torch.cat([y, y])

def present(rows):
    rows = [row for row in rows if row is not None]
    return torch.stack([x for x, _ in rows]), torch.stack([y for _, y in rows])

def time_first(rows):
    pad = nn.utils.rnn.pad_sequence
    return pad([x for x, _ in rows]), pad([y for _, y in rows], padding_value=-100)

class Sum(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor([[-0.5] * 4, [0.5, -0.5, 0.3, 0.9]]))
            self.linear.bias.zero_()
    def forward(self, x):
        return self.linear(x)

class SumOfEach(Sum):
    def forward(self, x):
        return super().forward(x).transpose(1, 2)

class One(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 1)
        nn.init.ones_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
    def forward(self, x):
        return self.linear(x)
"""


@pytest.fixture
def own(tmp_path):
    """Return a function that makes a configuration, and the names of the code that it is of."""
    (tmp_path / "own.py").write_text(CODE)

    def config(data: str, collate: str, model: str = "Sum", **changes: object):
        made = {
            "data": {"name": f"./own.py:{data}", "collate": f"./own.py:{collate}", "batch_size": 8},
            "model": f"./own.py:{model}",
            "loss": "cross_entropy",
            "metrics": ["accuracy"],
            "optimizer": {"name": "sgd", "lr": 1e-12},
            "train": {"steps": 1, "threads": 1},
        } | changes
        made["data"]["eval_batch_size"] = 3
        return made

    names: dict = {}
    exec(CODE, names)
    return config, names


def examples_of(names, data, collate, positions):
    source = names[data]()
    return names[collate]([source[number] for number in positions])


@pytest.mark.parametrize(("data", "collate"), [("Nodes", "joined"), ("Nodes", "views"), ("LaterGaps", "present")])
def test_metrics_of_classes_are_over_what_the_batches_hold(own, data, collate):
    config, names = own
    final = train(config(data, collate), name="run").summary["final"]
    x, y = examples_of(names, data, collate, measured_positions(config(data, collate)))
    right = (names["Sum"]()(x).argmax(1) == y).float().mean().item()
    assert final["val/accuracy"] == pytest.approx(right)
    assert 0 < right < 1


def test_metrics_of_values_are_over_what_the_batches_hold(own):
    config, names = own
    made = config("Values", "joined", "One", loss="mse", metrics=["mse", "mae", "rmse"])
    final = train(made, name="values").summary["final"]
    x, y = examples_of(names, "Values", "joined", measured_positions(made))
    error = (x.sum(1, keepdim=True) - y).double()
    assert final["val/mse"] == pytest.approx(error.square().mean().item(), rel=1e-5)
    assert final["val/mse"] == pytest.approx(final["val/loss"])
    assert final["val/mae"] == pytest.approx(error.abs().mean().item(), rel=1e-5)
    assert final["val/rmse"] == pytest.approx(error.square().mean().sqrt().item(), rel=1e-5)


def measured_positions(made) -> list[int]:
    return make_splits(load_config(made)).val.positions.tolist()


def test_examples_are_counted_not_rows(own):
    config, _ = own
    made = config("Nodes", "joined", train={"epochs": 2, "threads": 1})
    summary = train(made, name="counted").summary
    assert summary["examples"] == 2 * (40 - 2 * 8)


@pytest.mark.parametrize(
    ("data", "collate", "model"), [("Nodes", "joined", "Sum"), ("Nodes", "time_first", "SumOfEach")]
)
def test_micro_batches_of_no_whole_examples_are_refused(own, data, collate, model):
    config, _ = own
    made = config(data, collate, model, train={"steps": 2, "accumulate": 2, "threads": 1})
    if data == "Stream":
        made["data"] |= {"val": 0, "test": 0}
    with pytest.raises(ConfigError, match="whole examples") as found:
        train(made, name="cut")
    assert found.value.problems[0].key == "train.accumulate"


def test_a_dataloader_of_joined_examples_is_not_cut_either(own):
    _, names = own
    model = names["Sum"]()
    loader = DataLoader(names["Nodes"](), batch_size=4, collate_fn=names["joined"])
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(UsageError, match="whole examples"):
        build_train_op(model, nn.functional.cross_entropy, optimizer, data=loader, accumulate=2)
    op = build_train_op(model, nn.functional.cross_entropy, optimizer, data=loader)
    op.run()
    assert op.examples == 4


@pytest.mark.parametrize("data", ["Gaps", "LaterGaps"])
def test_a_collate_that_leaves_out_examples_trains(own, data):
    config, _ = own
    made = config(data, "present", train={"epochs": 1, "accumulate": 2, "threads": 1})
    made["data"]["eval_batch_size"] = 8
    run = train(made, name="gaps")
    assert 0 < run.summary["examples"] < 24


def test_an_example_that_cannot_be_made_is_still_told(own, tmp_path):
    config, _ = own
    (tmp_path / "own.py").write_text(CODE.replace("return None if", "return 1 / 0 if"))
    with pytest.raises(ConfigError, match="ZeroDivisionError") as found:
        train(config("Gaps", "present"), name="broken")
    assert found.value.problems[0].key == "data"


@pytest.mark.parametrize(("data", "collate", "row"), [("Nodes", "joined", 13), ("LaterGaps", "present", 4)])
def test_a_target_that_does_not_fit_is_told_by_its_row(own, tmp_path, data, collate, row):
    config, _ = own
    (tmp_path / "own.py").write_text(
        CODE.replace("(x.sum(1) > 0.0).long()", "(x.sum(1) > 0.0).long() + 7 * (number == 6)")
    )
    made = config(data, collate)
    made["data"] |= {"sampling": "sequential", "val": 0, "test": 0}
    with pytest.raises(ConfigError, match=rf"example {row} of a batch of data .* has the label 7"):
        train(made, name="misfit")


@pytest.mark.parametrize(("data", "collate"), [("Nodes", "joined"), ("LaterGaps", "present")])
def test_predictions_that_are_not_one_for_each_example_are_refused(own, data, collate):
    config, _ = own
    train(config(data, collate), name="run")
    with pytest.raises(UsageError, match=r"predictions for 8 examples"):
        predict("run")


class Pairs(Dataset):
    def __len__(self):
        return 20

    def __getitem__(self, number):
        x = torch.randn(3, generator=torch.Generator().manual_seed(number))
        return x, x[:2]


@pytest.mark.parametrize("places", [{"of": 0}, {"target": 0}, {"of": 0, "target": 0}, {"of": "0"}])
@pytest.mark.parametrize("kind", ["loss", "metrics"])
def test_an_index_into_a_tensor_is_no_column(places, kind):
    made = {
        "data": {"name": Pairs, "batch_size": 5},
        "model": {"name": lambda: nn.Linear(3, 2)},
        "loss": {"name": "mse", **(places if kind == "loss" else {})},
        "metrics": [{"name": "mae", **(places if kind == "metrics" else {})}],
        "optimizer": "sgd",
        "train": {"steps": 1, "threads": 1},
    }
    with pytest.raises(ConfigError, match="one example of a batch, and no column"):
        train(made, name="column")


class Tokens(Dataset):
    num_tokens = num_outputs = 11
    task = "tokens"

    def __len__(self):
        return 40

    def __getitem__(self, number):
        tokens = torch.arange(number, number + 7) % 11
        targets = tokens[1:].clone()
        targets[4:] = -100
        return tokens[:-1], targets


class Right(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))

    def forward(self, tokens):
        return self.scale * nn.functional.one_hot((tokens + 1) % 11, 11).float()


@pytest.mark.parametrize("metric", ["token_accuracy", "perplexity", "bits_per_byte"])
def test_what_the_loss_of_tokens_ignores_a_metric_does_not_count_unasked(metric):
    made = {
        "data": {"name": Tokens, "batch_size": 8},
        "model": Right,
        "loss": "next_token",
        "metrics": [metric],
        "optimizer": {"name": "sgd", "lr": 1e-6},
        "train": {"steps": 1, "threads": 1},
    }
    with pytest.raises(ConfigError, match="the loss ignores it, and the metric does not") as found:
        train(made, name="asked")
    assert found.value.problems[0].key == "metrics.0"
    assert "ignore_index: -100" in str(found.value)
    given = train(made | {"metrics": [{"name": metric, "ignore_index": -100}]}, name="given")
    best = {"token_accuracy": 1.0, "perplexity": 1.0, "bits_per_byte": 0.0}[metric]
    assert given.summary["final"][f"val/{metric}"] == pytest.approx(best, abs=1e-5)
