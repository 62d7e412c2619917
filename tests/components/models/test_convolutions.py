"""Convolutional networks: published parameter counts, and each part against its definition."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from optrun.experiments.components.models import make_model
from optrun.experiments.components.models.preactivation import PooledShortcut, SameConv
from optrun.experiments.errors import UsageError


def count(name: str, **args: Any) -> int:
    """Count parameters without giving them memory."""
    with torch.device("meta"):
        model = make_model(name, input_shape=(3, 32, 32), num_outputs=10, **args)
    return sum(parameter.numel() for parameter in model.parameters())


def test_convnet_is_its_formula_under_stable_names() -> None:
    model = make_model("convnet", input_shape=(1, 8, 8), num_outputs=10, channels=(6,)).eval()
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    assert shapes == {
        "blocks.0.conv.weight": (6, 1, 3, 3),
        "blocks.0.norm.weight": (6,),
        "blocks.0.norm.bias": (6,),
        "head.weight": (10, 96),
        "head.bias": (10,),
    }
    values = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    values["blocks.0.norm.running_mean"].copy_(torch.randn(6))
    values["blocks.0.norm.running_var"].copy_(torch.rand(6) + 0.5)
    x = torch.randn(5, 1, 8, 8)
    hidden = functional.conv2d(functional.pad(x, (1, 1, 1, 1)), values["blocks.0.conv.weight"])
    mean, variance = (values[f"blocks.0.norm.running_{name}"][:, None, None] for name in ("mean", "var"))
    hidden = ((hidden - mean) / (variance + 1e-5).sqrt()).relu()
    pooled = hidden.reshape(5, 6, 4, 2, 4, 2).amax(dim=(3, 5)).reshape(5, 96)
    torch.testing.assert_close(model(x), pooled @ values["head.weight"].T + values["head.bias"])


def test_convnet_without_norm_has_biases_instead() -> None:
    args = {"input_shape": (1, 8, 8), "num_outputs": 10, "channels": (6,)}
    model = make_model("convnet", norm="none", **args)
    assert model.get_parameter("blocks.0.conv.bias").shape == (6,)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"input_shape": (64,)}, "input_shape: expected images"),
        ({"input_shape": (3, 8, 2)}, "input_shape: 2 blocks halve images of at least 4 by 4 pixels"),
        ({"channels": (0,)}, "channels must be list of int >= 1"),
    ],
)
def test_what_convnet_cannot_be_is_refused(args: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_model("convnet", **{"input_shape": (1, 8, 8), "num_outputs": 10, **args})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("depth", "expected"),
    [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962), (1202, 19_421_274)],
)
def test_cifar_resnets_have_the_papers_number_of_parameters(depth: int, expected: int) -> None:
    """He et al., table 6: 0.27, 0.46, 0.66, 0.85, 1.7 and 19.4 million."""
    assert count("resnet", depth=depth, width=16) == expected


@pytest.mark.parametrize(
    ("depth", "widen", "millions"),
    [
        (40, 1, 0.6),
        (40, 2, 2.2),
        (40, 4, 8.9),
        (40, 8, 35.7),
        (28, 10, 36.5),
        (28, 12, 52.5),
        (22, 8, 17.2),
        (22, 10, 26.8),
        (16, 8, 11.0),
        (16, 10, 17.1),
    ],
)
def test_wide_resnets_have_the_papers_number_of_parameters(depth: int, widen: int, millions: float) -> None:
    """Zagoruyko and Komodakis, table 4, where CIFAR-10 and CIFAR-100 share the rounded numbers."""
    assert round(count("wide_resnet", depth=depth, widen=widen) / 1e6, 1) == millions


def test_wide_resnet_has_as_many_weighted_layers_as_its_depth_besides_the_shortcuts() -> None:
    model = make_model("wide_resnet", input_shape=(3, 32, 32), num_outputs=10, depth=16, widen=2)
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    shortcuts = [layer for layer in layers if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)]
    assert (len(layers) - len(shortcuts), len(shortcuts)) == (14, 3), "the paper's depth counts shortcuts, but one"


def test_preact_resnet_is_as_large_as_its_post_activation_sibling() -> None:
    """The norms of its blocks stand before instead of after, and add up to the same."""
    assert count("preact_resnet") == 464_154
    assert count("preact_resnet", depth=110) == 1_727_962


@pytest.mark.parametrize(("height", "width"), [(6, 8), (5, 7), (5, 4)])
def test_same_border_puts_the_odd_zero_after_the_end(height: int, width: int) -> None:
    """Windows of an even size are centred on the odd pixels, those of an odd size on the even ones."""
    conv = SameConv(2, 3, stride=2)
    x = torch.randn(1, 2, height, width)
    everywhere = functional.conv2d(x, conv.weight, padding=1)
    torch.testing.assert_close(conv(x), everywhere[:, :, (height + 1) % 2 :: 2, (width + 1) % 2 :: 2])


def test_pooled_shortcut_takes_means_and_pads_channels_with_zeros() -> None:
    x = torch.rand(1, 2, 4, 6)
    expected = torch.zeros(1, 4, 2, 3)
    expected[:, 1:3] = x.reshape(1, 2, 2, 2, 3, 2).mean(dim=(3, 5))
    torch.testing.assert_close(PooledShortcut(2, 4, 2)(x), expected)


def test_preact_resnet_is_its_recipe_step_by_step() -> None:
    """Depth 8, written out with functions: one block a stage, of which the first shares its activation."""
    torch.manual_seed(0)
    model = make_model("preact_resnet", input_shape=(3, 8, 8), num_outputs=10, depth=8, width=4)
    values = dict(model.named_parameters())

    def active(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, variance = x.mean(dim=(0, 2, 3), keepdim=True), x.var(dim=(0, 2, 3), keepdim=True, correction=0)
        x = (x - mean) / (variance + 1e-5).sqrt() * values[f"{name}.weight"][:, None, None]
        x = x + values[f"{name}.bias"][:, None, None]
        return torch.where(x < 0, 0.1 * x, x)

    images = torch.randn(6, 3, 8, 8)
    x = functional.conv2d(images, values["conv.weight"], padding=1)
    for block in range(3):
        h = active(x, f"blocks.{block}.norm1")
        kernel = values[f"blocks.{block}.conv1.weight"]
        if block == 0:
            x, residual = h, functional.conv2d(h, kernel, padding=1)
        else:
            residual = functional.conv2d(functional.pad(h, (0, 1, 0, 1)), kernel, stride=2)
            x = functional.pad(functional.avg_pool2d(x, 2), (0, 0, 0, 0, x.shape[1] // 2, x.shape[1] // 2))
        residual = active(residual, f"blocks.{block}.norm2")
        x = x + functional.conv2d(residual, values[f"blocks.{block}.conv2.weight"], padding=1)
    expected = active(x, "norm").mean(dim=(2, 3)) @ values["head.weight"].T + values["head.bias"]
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)


def test_preact_resnet_starts_as_the_recipe_does() -> None:
    torch.manual_seed(0)
    model = make_model("preact_resnet", input_shape=(3, 32, 32), num_outputs=1000)
    bound = math.sqrt(3 / 64)
    assert bound * 0.99 < float(model.head.weight.detach().abs().max()) < bound
    assert model.head.bias.abs().max() == 0
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 2000:
            assert float(module.weight.detach().std()) == pytest.approx(math.sqrt(2 / 9 / module.out_channels), rel=0.1)


def test_wide_resnet_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    model = make_model("wide_resnet", input_shape=(1, 8, 8), num_outputs=4, depth=10, widen=1, dropout=0.5)
    x = torch.randn(4, 1, 8, 8)
    assert not model(x).equal(model(x))
    model.eval()
    assert model(x).equal(model(x))


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("preact_resnet", {"depth": 34}, "depth: expected 6 n + 2: 8, 14, 20"),
        ("preact_resnet", {"input_shape": (64,)}, "input_shape: expected images"),
        ("wide_resnet", {"depth": 26}, "depth: expected 6 n + 4: 10, 16, 22"),
        ("wide_resnet", {"depth": 4}, "depth: expected 6 n + 4"),
        ("wide_resnet", {"dropout": 1.5}, "dropout must be number >= 0, <= 1"),
    ],
)
def test_what_cannot_be_built_is_refused(name: str, args: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_model(name, **{"input_shape": (1, 8, 8), "num_outputs": 10, **args})
    assert message in str(caught.value)
