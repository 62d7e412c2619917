"""Optimizers inside the train op and the session: closures, averages, sparse gradients, resume, counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from optrun.experiments import Batches, build, build_train_op, evaluate, load_config, make_optimizer, resume, train
from optrun.experiments.components.averaging import Averaging
from optrun.experiments.components.data import PartInMemory
from optrun.experiments.components.optimizers import registry
from optrun.experiments.config import ConfigError
from optrun.experiments.config.targets import names_in, preset_folder
from optrun.experiments.errors import DivergedError, SessionError, UsageError
from optrun.experiments.run_directory.checkpoints import flatten_state
from optrun.experiments.training.evaluator import Evaluator

from ...helpers import linear_problem, run_steps

NAMES = [name for name in registry.names() if "/" not in name]  # see test_pytorch_optimizer
FLAVORS = [(name, flavor) for name in NAMES for flavor in (registry.get(name).variants or [""])]
AVERAGING = ["asgd", "schedule_free_adamw", "schedule_free_sgd"]


def net() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 1))


def train_op(name: str, model: nn.Module | None = None, updates: tuple[str, ...] = (), on_nan: Any = "raise", **args):
    model = net() if model is None else model
    optimizer = make_optimizer(model, name, **args)
    data = Batches(*linear_problem(), batch_size=16)
    return build_train_op(model, nn.functional.mse_loss, optimizer, data, updates, on_nan=on_nan)


def state_of(op) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in op.model.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


# ---- every optimizer -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "flavor"), FLAVORS)
def test_each_resumes_from_a_checkpoint_bit_for_bit(name: str, flavor: str, tmp_path: Path) -> None:
    straight, first, second = (train_op(name, **({"flavor": flavor} if flavor else {})) for _ in range(3))
    run_steps(straight, 6)
    run_steps(first, 3, checkpoint_dir=tmp_path)
    run_steps(second, 6, checkpoint_dir=tmp_path)
    assert same(state_of(second), state_of(straight))
    states = [flatten_state("optimizer", op.state_dict()["optimizer"]) for op in (second, straight)]
    assert same(states[0][0], states[1][0])
    assert states[0][1] == states[1][1]
    assert second.gradient_evaluations == straight.gradient_evaluations


@pytest.mark.parametrize("name", NAMES)
def test_each_is_charged_for_its_gradients(name: str) -> None:
    op = train_op(name)
    calls, loss = [], op.loss

    def counted(outputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(1)
        return loss(outputs, targets)

    op.loss = counted
    run_steps(op, 3)
    assert op.gradient_evaluations == len(calls)
    assert len(calls) == {"sam": 6}.get(name, 3) or (name == "lbfgs" and len(calls) > 3)
    assert op.examples == 3 * 16, "a batch is drawn once, however often it is evaluated"


@pytest.mark.parametrize("name", ["sam", "lbfgs"])
@pytest.mark.parametrize("updates", [(), ("batch_norm",)])
def test_batch_norm_sees_each_batch_once(name: str, updates: tuple[str, ...]) -> None:
    once, often = train_op("sgd", updates=updates), train_op(name, updates=updates)
    once.run()
    often.run()
    statistics = ("1.running_mean", "1.running_var", "1.num_batches_tracked")
    for key in statistics:
        assert once.model.state_dict()[key].equal(often.model.state_dict()[key]), key


# ---- two gradients per step ------------------------------------------------------------------------------------------


def test_sam_is_the_inner_step_with_the_gradient_of_the_worst_point() -> None:
    minimum, curvature = torch.tensor([1.0, -2.0]).double(), torch.tensor([1.0, 9.0]).double()
    weights, other = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in ([0.5, 0.5], [[3.0]]))
    optimizer = make_optimizer([weights, other], "sam", lr=0.1, rho=0.2, inner={"name": "mom", "momentum": 0.5})

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = 0.5 * (curvature * (weights - minimum) ** 2).sum() + 2 * other.square().sum()
        loss.backward()
        return loss.detach()

    point = torch.tensor([0.5, 0.5, 3.0]).double()
    curvatures = torch.cat([curvature, torch.tensor([4.0]).double()])

    def gradient(at: Tensor) -> Tensor:
        return curvatures * (at - torch.cat([minimum, torch.zeros(1).double()]))

    momentum = torch.zeros(3).double()
    for _ in range(5):
        slope = gradient(point)
        momentum = 0.5 * momentum + gradient(point + 0.2 * slope / slope.norm())
        point = point - 0.1 * momentum
        optimizer.step(closure)
    torch.testing.assert_close(torch.cat([weights, other.flatten()]).detach(), point, rtol=1e-10, atol=1e-10)


def test_adaptive_sam_measures_distance_by_the_weights() -> None:
    weights = torch.tensor([2.0, 0.5], dtype=torch.float64, requires_grad=True)
    optimizer = make_optimizer([weights], "sam", lr=1.0, rho=0.3, adaptive=True, inner="sgd")
    seen = []

    def closure() -> Tensor:
        seen.append(weights.detach().clone())
        optimizer.zero_grad()
        loss = (torch.tensor([1.0, -3.0]).double() * weights).sum()
        loss.backward()
        return loss.detach()

    optimizer.step(closure)
    w, g = torch.tensor([2.0, 0.5]).double(), torch.tensor([1.0, -3.0]).double()
    torch.testing.assert_close(seen[1], w + 0.3 * w**2 * g / (w * g).norm(), rtol=1e-10, atol=0)
    torch.testing.assert_close(weights.detach(), w - g)


@pytest.mark.parametrize("inner", ["mom", "adamw", "rmsprop", "adagrad", "muon"])
def test_sam_of_radius_zero_is_the_inner_optimizer(inner: str) -> None:
    plain = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 1))
    both = [train_op(name, model, lr=0.01, **args) for name, model, args in _pair(plain, inner)]
    for op in both:
        run_steps(op, 5)
    assert same(state_of(both[0]), state_of(both[1]))


def _pair(model: nn.Module, inner: str) -> list[tuple[str, nn.Module, dict[str, Any]]]:
    other = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 1))
    other.load_state_dict(model.state_dict())
    rule = {"rule": "muon"} if inner == "muon" else {}  # inside sam the layers are not known
    return [(inner, model, rule), ("sam", other, {"rho": 0.0, "inner": {"name": inner, **rule}})]


@pytest.mark.parametrize("bad", [1, 2], ids=["first", "second"])
def test_a_skipped_batch_leaves_sam_as_it_was(bad: int) -> None:
    op, reference = train_op("sam", on_nan="skip"), train_op("sam", on_nan="skip")
    for each in (op, reference):
        run_steps(each, 2)
    before, loss, calls = state_of(op), op.loss, []

    def poisoned(outputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(1)
        return loss(outputs, targets) * (float("nan") if len(calls) == bad else 1.0)

    op.loss = poisoned
    assert not op.run()
    assert same(state_of(op), before), "weights and batch norm's statistics"
    op.loss = loss
    reference.batch += 1
    op.run()
    reference.run()
    assert same(state_of(op), state_of(reference)), "momentum too"


def test_sam_raises_with_the_weights_of_the_last_good_step() -> None:
    op = train_op("sam")
    before, loss, calls = state_of(op)["0.weight"], op.loss, []
    op.loss = lambda outputs, targets: loss(outputs, targets) * (calls.append(1) or [1.0, float("nan")][len(calls) - 1])
    with pytest.raises(DivergedError, match="the weights are those of step 0"):
        op.run()
    assert state_of(op)["0.weight"].equal(before)


def test_what_cannot_be_inside_sam_is_refused() -> None:
    for inner, message in (
        ({"name": "mom", "lr": 0.1}, "the rate of the inner optimizer is sam's own `lr`"),
        ("lbfgs", "'lbfgs' cannot be the inner optimizer: it evaluates batches itself"),
        ("sam", "'sam' cannot be the inner optimizer: it evaluates batches itself"),
        ("schedule_free_sgd", "'schedule_free_sgd' cannot be the inner optimizer: its result is an average"),
        ({"name": "mom", "momentum": 2}, "momentum must be number >= 0, < 1, got 2"),
        ("sdg", "Did you mean 'sgd'"),
    ):
        with pytest.raises(UsageError, match=message):
            make_optimizer(net(), "sam", inner=inner)
    with pytest.raises(UsageError, match="no argument 'weight_decay'"):
        make_optimizer(net(), "sam", inner="rprop", weight_decay=0.1)


def test_sam_in_a_configuration_survives_being_written_out() -> None:
    config = load_config({"extends": "digits", "optimizer": {"name": "sam", "lr": 0.2, "inner": "adamw"}})
    again = load_config(config.to_dict())
    assert again.to_dict() == config.to_dict()
    groups = build(again).train_op.optimizer.param_groups
    assert (groups[0]["lr"], groups[0]["weight_decay"], groups[0]["rho"]) == (0.2, 0.01, 0.05)
    given = {"extends": "digits", "optimizer": {"name": "sam", "inner": {"name": "mom", "lr": 0.1}}}
    with pytest.raises(ConfigError, match=r"take 0\.1 out of `inner`"):
        build(load_config(given))


def test_sam_with_groups_and_selective_decay() -> None:
    decay = {"rate": 0.1, "exclude": ["bias", "norm"]}
    op = train_op("sam", weight_decay=decay, groups=[{"match": "3.*", "lr": 0.01, "rho": 0.5}])
    of = {name: group for group in op.optimizer.param_groups for name in group["param_names"]}
    assert [of[name]["weight_decay"] for name in ("0.weight", "0.bias", "1.weight", "3.weight")] == [0.1, 0, 0, 0.1]
    assert (of["3.weight"]["lr"], of["3.weight"]["rho"], of["0.weight"]["rho"]) == (0.01, 0.5, 0.05)
    run_steps(op, 3)


# ---- averages --------------------------------------------------------------------------------------------------------


def test_the_list_of_averaging_optimizers_is_complete() -> None:
    assert [name for name in NAMES if isinstance(make_optimizer(net(), name), Averaging)] == AVERAGING


@pytest.mark.parametrize("name", AVERAGING)
def test_evaluation_reads_the_averages_and_gives_the_weights_back(name: str) -> None:
    op = train_op(name, lr=0.05, **({"t0": 0.0} if name == "asgd" else {}))
    run_steps(op, 8)
    before = state_of(op)
    evaluator = Evaluator("val", op.model, op.loss, {}, PartInMemory(*linear_problem(seed=1)), ema=op.optimizer)
    measured = evaluator()["val/loss"]
    assert same(state_of(op), before), "bit for bit"
    averaged = net()
    averaged.load_state_dict(before)
    names = {id(parameter): key for key, parameter in op.model.named_parameters()}
    for parameter, average in op.optimizer.averages():
        averaged.get_parameter(names[id(parameter)]).data.copy_(average)
    assert not same(dict(averaged.named_parameters()), dict(op.model.named_parameters()))
    assert measured == Evaluator("val", averaged, op.loss, {}, PartInMemory(*linear_problem(seed=1)))()["val/loss"]
    assert measured != Evaluator("val", op.model, op.loss, {}, PartInMemory(*linear_problem(seed=1)))()["val/loss"]


def test_before_the_first_step_an_average_is_the_weights() -> None:
    for name in AVERAGING:
        op = train_op(name)
        before = state_of(op)
        with op.optimizer.swapped():
            assert same(state_of(op), before)


@pytest.mark.parametrize("name", ["schedule_free_sgd", "schedule_free_adamw"])
def test_the_averages_of_a_schedule_free_run_outlive_it(name: str, tmp_path: Path) -> None:
    config = {
        "data": "digits",
        "model": "mlp",
        "loss": "cross_entropy",
        "metrics": ["accuracy"],
        "optimizer": {"name": name, "lr": 0.05},
        "train": {"epochs": 3},
        "checkpoint": {"every": "1 epochs"},
    }
    run = train(config, root=tmp_path)
    assert evaluate(run)["test/loss"] == run.summary["final"]["test/loss"], "of the averages, from a checkpoint"
    other = train(config, {"eval.every": "5 steps"}, root=tmp_path)
    assert other.summary["final"] == run.summary["final"], "looking changes nothing"
    cut = train(config, {"train.epochs": 2}, root=tmp_path, name="cut")
    going_on = resume(cut, {"train.epochs": 3}, allow_change=True, root=tmp_path)
    assert going_on.summary["final"] == run.summary["final"]
    experiment = build(load_config(config))
    assert {split: evaluator.ema for split, evaluator in experiment.evaluators.items()} == dict.fromkeys(
        experiment.evaluators, experiment.train_op.optimizer
    )


# ---- sparse gradients ------------------------------------------------------------------------------------------------


def test_sparse_adam_is_torchs_on_rows_and_adam_elsewhere() -> None:
    def model() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Embedding(9, 4, sparse=True), nn.Linear(4, 3))

    ours, theirs = model(), model()
    args = {"lr": 0.03, "betas": (0.8, 0.95), "eps": 1e-4}
    optimizers = [make_optimizer(ours, "sparse_adam", **args)]
    optimizers += [torch.optim.SparseAdam(theirs[0].parameters(), **args)]
    optimizers += [torch.optim.Adam(theirs[1].parameters(), foreach=True, **args)]
    for step in range(6):
        words = torch.tensor([[step, 2, 2], [5, step, 7]])
        for net_ in (ours, theirs):
            net_.zero_grad()
            nn.functional.cross_entropy(net_(words).flatten(0, 1), torch.tensor([0, 1, 2, 0, 1, 2])).backward()
        for optimizer in optimizers:
            optimizer.step()
    assert same(ours.state_dict(), theirs.state_dict())
    assert ours[0].weight[8].equal(model()[0].weight[8]), "a word that never came up"


BAG = {
    "data": {"name": "digits", "scaling": "unit"},
    "model": "bag_of_words",
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "optimizer": {"name": "sparse_adam", "lr": 0.02},
    "train": {"epochs": 6},
}


def test_a_bag_of_words_learns_digits_by_sparse_gradients(tmp_path: Path) -> None:
    run = train(BAG, root=tmp_path)
    assert run.summary["final"]["test/accuracy"] > 0.85
    assert build(load_config(BAG)).model.words.sparse
    dense = train(BAG, {"model.sparse": False, "optimizer": {"name": "adam", "lr": 0.02}}, root=tmp_path)
    assert dense.summary["final"]["test/accuracy"] > 0.85


def test_sparse_gradients_pass_the_gate_and_accumulate() -> None:
    config = {**BAG, "train": {"steps": 3, "accumulate": 2}, "stop": {"on_nan": "skip"}}
    op = build(load_config(config)).train_op
    op.run()
    assert op.model.words.weight.grad.is_sparse
    before, loss = state_of(op), op.loss
    op.loss = lambda outputs, targets: loss(outputs, targets) * float("nan")
    assert not op.run()
    assert same(state_of(op), before)


@pytest.mark.parametrize("name", ["sgd", "adam", "adagrad", "rprop"])
def test_an_optimizer_that_takes_no_sparse_gradients_says_what_does(name: str) -> None:
    op = build(load_config({**BAG, "optimizer": name})).train_op
    with pytest.raises(SessionError, match=r"does not take this model's sparse gradients: use sparse_adam"):
        op.run()


# ---- presets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_each_has_a_preset_at_its_centre(name: str) -> None:
    assert name in names_in(preset_folder())
    config = load_config(name)
    assert config.optimizer.name == name
    assert config.optimizer.args["lr"] == registry.get(name).facts["centre_lr"]
    base = load_config("mom").to_dict()
    other = config.to_dict()
    assert {key for key in base if base[key] != other[key]} <= {"name", "optimizer", "schedule"}


def test_the_page_lists_them_all_with_source_cost_and_centre() -> None:
    page = (Path(__file__).parents[3] / "docs" / "optimizers.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("| `")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    listed = {row[0].strip("`"): row for row in rows}
    assert sorted(listed) == NAMES
    for name, (_, _, source, state, gradients, centre, reached) in listed.items():
        component = registry.get(name)
        assert source == component.source
        assert float(centre) == component.facts["centre_lr"]
        assert 0 < float(reached) <= 100
        if state.isdigit():
            assert numbers_per_weight(name) == int(state)
        if gradients.isdigit():
            assert int(gradients) == (2 if name == "sam" else 1)


def numbers_per_weight(name: str) -> int:
    weights = torch.full((64, 64), 0.5, requires_grad=True)
    optimizer = make_optimizer([weights], name)
    weights.grad = torch.ones(64, 64)
    optimizer.step()
    tensors = [value for value in optimizer.state[weights].values() if isinstance(value, Tensor)]
    return round(sum(value.numel() for value in tensors) / weights.numel())
