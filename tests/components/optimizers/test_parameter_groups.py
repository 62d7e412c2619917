"""Parameter groups and selective weight decay; what make_optimizer refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from optrun.experiments.components.optimizers import make_optimizer, register_optimizer, registry
from optrun.experiments.components.optimizers.shared.parameter_groups import decay_rate
from optrun.experiments.errors import UsageError


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 4), nn.LayerNorm(4), nn.Embedding(3, 4)
    )


def groups_of(optimizer: torch.optim.Optimizer, *keys: str) -> list[tuple[Any, ...]]:
    return [(group["param_names"], *(group[key] for key in keys)) for group in optimizer.param_groups]


def test_without_groups_there_is_one_with_all_parameters_in_order(model: nn.Module) -> None:
    optimizer = make_optimizer(model, "mom", lr=0.2)
    assert groups_of(optimizer, "lr", "initial_lr", "lr_scale") == [
        ([name for name, _ in model.named_parameters()], 0.2, 0.2, 1.0)
    ]
    assert [*map(id, optimizer.param_groups[0]["params"])] == [*map(id, model.parameters())]


def test_the_first_group_that_matches_takes_a_parameter(model: nn.Module) -> None:
    optimizer = make_optimizer(
        model, "mom", lr=0.1, groups=[{"match": "3.bias", "lr": 0.05}, {"match": ["bias"], "lr": 0.2, "momentum": 0.5}]
    )
    assert groups_of(optimizer, "lr", "initial_lr", "lr_scale", "momentum") == [
        (["0.weight", "1.weight", "3.weight", "4.weight", "5.weight"], 0.1, 0.1, 1.0, 0.9),
        (["3.bias"], 0.05, 0.05, 0.5, 0.9),
        (["0.bias", "1.bias", "4.bias"], 0.2, 0.2, 2.0, 0.5),
    ]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("conv", ["0.weight", "0.bias"]),
        ("norm", ["1.weight", "1.bias", "4.weight", "4.bias"]),
        ("linear", ["3.weight", "3.bias"]),
        ("embedding", ["5.weight"]),
        ("bias", ["0.bias", "1.bias", "3.bias", "4.bias"]),
        ("[01].*", ["0.weight", "0.bias", "1.weight", "1.bias"]),
    ],
)
def test_selectors(model: nn.Module, selector: str, expected: list[str]) -> None:
    optimizer = make_optimizer(model, "sgd", groups=[{"match": selector, "lr": 1.0}])
    assert optimizer.param_groups[1]["param_names"] == expected


def test_bias_covers_the_biases_of_recurrent_and_attention_layers() -> None:
    model = nn.ModuleList([nn.LSTM(2, 2), nn.MultiheadAttention(2, 1, add_bias_kv=True)])
    taken = make_optimizer(model, "sgd", groups=[{"match": "bias", "lr": 1.0}]).param_groups[1]["param_names"]
    assert taken == ["0.bias_ih_l0", "0.bias_hh_l0", "1.in_proj_bias", "1.bias_k", "1.bias_v", "1.out_proj.bias"]


def test_a_group_may_take_all_parameters(model: nn.Module) -> None:
    (group,) = make_optimizer(model, "sgd", lr=0.1, groups=[{"match": "*", "lr": 0.3}]).param_groups
    assert (group["lr"], group["lr_scale"]) == (0.3, pytest.approx(3.0))


def test_lr_scale_refers_to_the_default_rate_where_none_is_given(model: nn.Module) -> None:
    _, group = make_optimizer(model, "adam", groups=[{"match": "bias", "lr": 0.01}]).param_groups
    assert group["lr_scale"] == pytest.approx(10.0)


def test_weight_decay_reaches_only_what_is_included_and_not_excluded(model: nn.Module) -> None:
    decay = {"rate": 5e-4, "include": ["conv", "linear"], "exclude": ["bias"]}
    optimizer = make_optimizer(model, "mom", lr=0.1, weight_decay=decay)
    decayed, rest = groups_of(optimizer, "weight_decay", "lr_scale")
    assert decayed == (["0.weight", "3.weight"], 5e-4, 1.0)
    assert rest[1:] == (0.0, 1.0)
    assert len(rest[0]) == 7


def test_selective_weight_decay_equals_hand_made_groups_bit_for_bit() -> None:
    def trained(make: Any) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
        optimizer = make(model)
        for _ in range(4):
            optimizer.zero_grad()
            model(torch.ones(2, 3)).square().sum().backward()
            optimizer.step()
        return list(model.parameters())

    def by_hand(model: nn.Module) -> torch.optim.Optimizer:
        weights = [p for p in model.parameters() if p.dim() > 1]
        biases = [p for p in model.parameters() if p.dim() == 1]
        groups = [{"params": weights, "weight_decay": 0.1}, {"params": biases, "weight_decay": 0.0}]
        return torch.optim.SGD(groups, lr=0.01, momentum=0.9, fused=True)

    decay = {"rate": 0.1, "exclude": ["bias", "norm"]}
    ours = trained(lambda model: make_optimizer(model, "mom", lr=0.01, weight_decay=decay))
    assert all(a.equal(b) for a, b in zip(ours, trained(by_hand), strict=True))


def test_groups_and_selective_weight_decay_combine(model: nn.Module) -> None:
    optimizer = make_optimizer(
        model,
        "mom",
        lr=0.1,
        weight_decay={"rate": 0.1, "exclude": ["bias"]},
        groups=[{"match": "linear", "lr": 0.2}, {"match": "conv", "weight_decay": 0.3}],
    )
    found = {name: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for name in g["param_names"]}
    assert found["3.weight"] == (0.2, 0.1)
    assert found["3.bias"] == (0.2, 0.0)
    assert found["0.weight"] == found["0.bias"] == (0.1, 0.3)
    assert found["1.weight"] == (0.1, 0.1)
    assert found["1.bias"] == (0.1, 0.0)


def test_an_argument_of_a_group_reaches_state_that_the_constructor_makes(model: nn.Module) -> None:
    """Adagrad starts its sums in the constructor, from the optimizer's own argument alone."""
    groups = [{"match": "bias", "initial_accumulator_value": 0.5}]
    optimizer = make_optimizer(model, "adagrad", initial_accumulator_value=0.1, groups=groups)
    for start, group in zip((0.1, 0.5), optimizer.param_groups, strict=True):
        for param in group["params"]:
            assert optimizer.state[param]["sum"].equal(torch.full_like(param, start))


def test_parameters_without_a_gradient_stay_out(model: nn.Module) -> None:
    model[0].requires_grad_(False)
    optimizer = make_optimizer(model, "sgd")
    assert optimizer.param_groups[0]["param_names"][0] == "1.weight"


def test_named_parameters_have_names_and_plain_parameters_have_none(model: nn.Module) -> None:
    named = make_optimizer(model.named_parameters(), "sgd", groups=[{"match": "0.*", "lr": 1.0}])
    assert named.param_groups[1]["param_names"] == ["0.weight", "0.bias"]
    assert "param_names" not in make_optimizer(model.parameters(), "sgd").param_groups[0]


def test_state_dicts_with_groups_round_trip(model: nn.Module) -> None:
    args: dict[str, Any] = {"lr": 0.1, "groups": [{"match": "bias", "lr": 0.01}]}
    optimizer = make_optimizer(model, "mom", **args)
    other = make_optimizer(model, "mom", **args)
    other.load_state_dict(optimizer.state_dict())
    assert groups_of(other, "lr", "initial_lr", "lr_scale") == groups_of(optimizer, "lr", "initial_lr", "lr_scale")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"momentun": 0.9}, "has no argument 'momentun'. Did you mean 'momentum'?"),
        ({"lr": 0}, "lr must be number > 0, got 0"),
        ({"lr": -0.1}, "lr must be number > 0, got -0.1"),
        ({"lr": float("nan")}, "lr must be number > 0, got nan"),
        ({"momentum": 1.0}, "momentum must be number >= 0, < 1, got 1.0"),
        ({"weight_decay": -1e-4}, "weight_decay must be"),
        ({"groups": [{"lr": 0.1}]}, "a group needs `match`"),
        ({"groups": [{"match": "bias", "momentun": 0.1}]}, "has no argument 'momentun'"),
        ({"groups": [{"match": "bias", "lr": -1.0}]}, "lr must be number > 0"),
        ({"groups": [{"match": "3.wieght"}]}, "none of the 9 trainable parameters; the nearest is '3.weight'"),
        ({"groups": [{"match": "head.*", "lr": 1.0}]}, "they are 0.weight, 0.bias, 1.weight"),
        ({"groups": [{"match": "*", "lr": 1.0}, {"match": "conv", "lr": 2.0}]}, "earlier groups have taken all"),
        ({"weight_decay": {"rate": 0.1, "include": ["bias"], "exclude": ["bias"]}}, "leave no parameter to decay"),
        ({"weight_decay": {"rate": 0.1, "exclude": ["decoder.*"]}}, "weight_decay.exclude 'decoder.*' matches none"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(model: nn.Module, args: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_optimizer(model, "mom", **args)
    assert message in str(caught.value)


def test_a_word_that_selects_nothing_makes_no_group_but_excludes_nothing_quietly() -> None:
    plain = nn.Linear(2, 2)
    with pytest.raises(UsageError, match="group norm is empty: it matches no parameter"):
        make_optimizer(plain, "sgd", groups=[{"match": "norm", "lr": 1.0}])
    optimizer = make_optimizer(plain, "sgd", weight_decay={"rate": 0.1, "exclude": ["bias", "norm"]})
    assert groups_of(optimizer, "weight_decay") == [(["weight"], 0.1), (["bias"], 0.0)]


def test_names_and_layers_have_to_be_known_to_select_by_them(model: nn.Module) -> None:
    with pytest.raises(UsageError, match="needs parameter names: pass the model"):
        make_optimizer(model.parameters(), "sgd", groups=[{"match": "0.*", "lr": 1.0}])
    with pytest.raises(UsageError, match="needs the layers: pass the model"):
        make_optimizer(model.named_parameters(), "sgd", weight_decay={"rate": 0.1, "exclude": ["norm"]})
    with pytest.raises(UsageError, match="use make_optimizer"):
        decay_rate({"rate": 0.1, "exclude": ["norm"]})


def test_nothing_to_train_is_said(model: nn.Module) -> None:
    used_up = model.parameters()
    list(used_up)
    with pytest.raises(UsageError, match="used up"):
        make_optimizer(used_up, "sgd")
    with pytest.raises(UsageError, match="no parameters"):
        make_optimizer(nn.ReLU(), "sgd")
    with pytest.raises(UsageError, match="none of the 9 parameters requires a gradient"):
        make_optimizer(model.requires_grad_(False), "sgd")
    with pytest.raises(UsageError, match="got a single tensor"):
        make_optimizer(nn.Parameter(torch.ones(2)), "sgd")
    with pytest.raises(UsageError, match="got a dict"):
        make_optimizer([{"params": []}], "sgd")


def test_unknown_optimizer_names_the_nearest(model: nn.Module) -> None:
    with pytest.raises(UsageError, match=r"no optimizer named 'addam'\. Did you mean 'adam'"):
        make_optimizer(model, "addam")


def test_the_users_own_optimizer_class_works_with_groups(model: nn.Module, tmp_path: Any) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "class Sign(torch.optim.Optimizer):\n"
        "    def __init__(self, params, lr=0.5, power=1.0):\n"
        "        super().__init__(params, {'lr': lr, 'power': power})\n"
    )
    optimizer = make_optimizer(model, "./mine.py:Sign", base=tmp_path, groups=[{"match": "bias", "power": 2.0}])
    assert [g["power"] for g in optimizer.param_groups] == [1.0, 2.0]
    assert [g["lr_scale"] for g in optimizer.param_groups] == [1.0, 1.0]


def test_what_the_users_optimizer_refuses_names_it(model: nn.Module, tmp_path: Any) -> None:
    (tmp_path / "mine.py").write_text("def broken(params, *, lr=0.1):\n    raise ValueError('not today')\n")
    with pytest.raises(UsageError, match=r"optimizer './mine.py:broken': not today"):
        make_optimizer(model, "./mine.py:broken", base=tmp_path)
    (tmp_path / "other.py").write_text("def none(params, *, lr=0.1):\n    return None\n")
    with pytest.raises(UsageError, match=r"made a NoneType, not a torch.optim.Optimizer"):
        make_optimizer(model, "./other.py:none", base=tmp_path)


def test_an_optimizer_of_that_name_can_be_replaced_only_by_itself() -> None:
    with pytest.raises(UsageError, match="two optimizers are called 'sgd'"):
        register_optimizer("sgd")(lambda params: None)
    assert registry.get("sgd").build.__name__ == "sgd"
