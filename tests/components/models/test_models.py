"""Every registered model; parameter counts from the papers and from arithmetic."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from optrun.experiments.components.models import make_model, registry
from optrun.experiments.components.models.resnet import ResidualBlock
from optrun.experiments.errors import UsageError

NAMES = [name for name in registry.names() if registry.get(name).facts.get("task") != "none"]  # see test_functions


def num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def problem(name: str, input_shape: tuple[int, ...]) -> tuple[dict[str, Any], torch.Tensor, torch.Tensor]:
    """Return what data of this shape fills in for a model, and six examples of it."""
    if registry.get(name).facts.get("task") == "tokens":
        tokens = torch.arange(6 * 9).reshape(6, 9) % 4
        return {"input_shape": (8,), "num_outputs": 4}, tokens[:, :8], tokens[:, 1:]
    if name == "vit":
        input_shape = (*input_shape[:1], *(size - size % 2 for size in input_shape[1:]))  # whole patches
    inputs = torch.randn(6, *input_shape)
    if name == "autoencoder":
        return {"input_shape": input_shape, "num_outputs": inputs[0].numel()}, inputs, inputs.flatten(1)
    return {"input_shape": input_shape, "num_outputs": 4}, inputs, torch.arange(6) % 4


def loss_of(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    if targets.is_floating_point():
        return functional.mse_loss(outputs, targets)
    return functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())


@pytest.mark.parametrize("name", NAMES)
def test_each_is_documented(name: str) -> None:
    component = registry.get(name)
    doc = inspect.getdoc(component.build) or ""
    assert re.fullmatch(r"[A-Z][^\n]*\.", component.summary)
    described = set(re.findall(r"^    (\w+): ", doc.split("Args:\n")[1].split("\n\n")[0], re.MULTILINE))
    assert described == set(component.signature.names())
    required = [argument.name for argument in component.signature.arguments if argument.required]
    assert required == ["input_shape", "num_outputs"], "what the data fills in, and nothing else"
    assert component.source
    assert "Source: " in doc


@pytest.mark.parametrize("input_shape", [(1, 8, 8), (3, 5, 7)])
@pytest.mark.parametrize("name", NAMES)
def test_each_trains_one_step_and_keeps_its_output_shape(name: str, input_shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    filled, inputs, targets = problem(name, input_shape)
    model = make_model(name, **filled)
    shape = targets.shape if targets.is_floating_point() else (*targets.shape, 4)
    before = {key: value.clone() for key, value in model.named_parameters()}
    losses = []
    for _ in range(2):
        outputs = model(inputs)
        assert outputs.shape == shape
        losses.append(loss_of(outputs, targets))
        model.zero_grad()
        losses[-1].backward()
        with torch.no_grad():
            for parameter in model.parameters():
                assert parameter.grad is not None
                gradient = parameter.grad.to_dense()
                assert gradient.isfinite().all()
                parameter -= 0.01 * gradient
    assert losses[1] < losses[0]
    assert not all(value.equal(before[key]) for key, value in model.named_parameters())
    assert model.eval()(inputs[:1]).shape == (1, *shape[1:]), "a single example will do"


@pytest.mark.parametrize("name", NAMES)
def test_each_starts_alike_from_the_same_seed(name: str) -> None:
    states = []
    for _ in range(2):
        filled, _, _ = problem(name, (1, 8, 8))
        torch.manual_seed(5)
        states.append(make_model(name, **filled).state_dict())
    assert all(states[0][key].equal(states[1][key]) for key in states[0])


def test_logistic_starts_at_zero_and_has_one_layer() -> None:
    model = make_model("logistic", input_shape=(2, 3), num_outputs=4)
    assert num_parameters(model) == 4 * 6 + 4
    assert model(torch.randn(5, 2, 3)).abs().max() == 0


@pytest.mark.parametrize(("hidden", "expected"), [((128,), 9610), ((), 650), ((128, 64), 17226)])
def test_mlp_has_the_layers_asked_for(hidden: tuple[int, ...], expected: int) -> None:
    assert num_parameters(make_model("mlp", input_shape=(1, 8, 8), num_outputs=10, hidden=hidden)) == expected


@pytest.mark.parametrize(
    ("activation", "function"),
    [("relu", torch.relu), ("tanh", torch.tanh), ("gelu", functional.gelu), ("silu", functional.silu)],
)
def test_mlp_is_its_formula(activation: str, function: Any) -> None:
    model = make_model("mlp", input_shape=(3,), num_outputs=2, hidden=[4], activation=activation)
    first, second = (layer for layer in model.children() if isinstance(layer, nn.Linear))
    x = torch.randn(5, 3)
    expected = function(x @ first.weight.T + first.bias) @ second.weight.T + second.bias
    torch.testing.assert_close(model(x), expected)


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    model = make_model("mlp", input_shape=(3,), num_outputs=2, dropout=0.5)
    x = torch.randn(4, 3)
    assert not model(x).equal(model(x))
    model.eval()
    assert model(x).equal(model(x))


@pytest.mark.parametrize(
    ("depth", "width", "channels", "expected"),
    [(20, 16, 3, 269_722), (32, 16, 3, 464_154), (56, 16, 3, 853_018), (8, 8, 1, 19_074)],
)
def test_resnet_has_the_papers_number_of_parameters(depth: int, width: int, channels: int, expected: int) -> None:
    """He et al. give 0.27, 0.46 and 0.85 million for depths 20, 32 and 56."""
    model = make_model("resnet", input_shape=(channels, 32, 32), num_outputs=10, depth=depth, width=width)
    assert num_parameters(model) == expected


def test_resnet_has_as_many_weighted_layers_as_its_depth() -> None:
    model = make_model("resnet", input_shape=(3, 32, 32), num_outputs=10, depth=26)
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in model.modules()) == 26


def test_resnet_convolutions_start_as_he_et_al_say() -> None:
    torch.manual_seed(0)
    model = make_model("resnet", input_shape=(3, 32, 32), num_outputs=10, depth=20, width=16)
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 2000:
            expected = (2 / (9 * module.out_channels)) ** 0.5
            assert float(module.weight.detach().std()) == pytest.approx(expected, rel=0.1)


def test_the_shortcut_takes_every_second_pixel_and_pads_channels_with_zeros() -> None:
    block = ResidualBlock(2, 4, stride=2)
    nn.init.zeros_(block.norm2.weight)  # silences the residual, so that only the shortcut is left
    x = torch.rand(1, 2, 4, 4)
    expected = torch.zeros(1, 4, 2, 2)
    expected[:, 1:3] = x[:, :, ::2, ::2]
    assert block(x).equal(expected)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"depth": 9}, "depth: expected 6 n + 2: 8, 14, 20"),
        ({"depth": 2}, "depth: expected 6 n + 2"),
        ({"input_shape": (64,)}, "input_shape: expected images"),
        ({"width": 0}, "width must be int >= 1, got 0"),
        ({"widht": 8}, "Did you mean 'width'?"),
    ],
)
def test_what_cannot_be_built_is_refused(args: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_model("resnet", **{"input_shape": (1, 8, 8), "num_outputs": 10, **args})
    assert message in str(caught.value)


def test_autoencoder_mirrors_its_layers_around_the_code() -> None:
    model = make_model("autoencoder", input_shape=(1, 8, 8), num_outputs=64, hidden=[30, 5], activation="tanh")
    x = torch.randn(3, 1, 8, 8)
    values = dict(model.named_parameters())
    assert {name: tuple(value.shape) for name, value in values.items() if name.endswith("weight")} == {
        "encoder.0.weight": (30, 64),
        "encoder.2.weight": (5, 30),
        "decoder.0.weight": (30, 5),
        "decoder.2.weight": (64, 30),
    }
    hidden = x.flatten(1)
    for part in ("encoder", "decoder"):
        hidden = torch.tanh(hidden @ values[f"{part}.0.weight"].T + values[f"{part}.0.bias"])
        hidden = hidden @ values[f"{part}.2.weight"].T + values[f"{part}.2.bias"]
    torch.testing.assert_close(model(x), hidden)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"num_outputs": 10}, "num_outputs: expected 64, the size of the input that is reproduced, got 10"),
        ({"hidden": []}, "hidden: expected at least one layer: the code"),
    ],
)
def test_an_autoencoder_without_its_input_or_code_is_refused(args: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_model("autoencoder", **{"input_shape": (1, 8, 8), "num_outputs": 64, **args})
    assert message in str(caught.value)


def test_missing_shapes_and_strange_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="model 'mlp' needs input_shape and num_outputs"):
        make_model("mlp")
    with pytest.raises(UsageError, match="activation must be relu or tanh or gelu or silu, got 'rellu'"):
        make_model("mlp", input_shape=(1,), num_outputs=1, activation="rellu")
    (tmp_path / "mine.py").write_text("def net(input_shape):\n    return 3\n")
    with pytest.raises(UsageError, match=r"made a int, not a torch.nn.Module"):
        make_model("./mine.py:net", base=tmp_path, input_shape=(1,))
