"""The word `norm`, over all layers of torch.nn and over classes that are only called like one."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from optrun.experiments import build, load_config
from optrun.experiments.components.optimizers.shared.layer_words import LAYERS
from optrun.experiments.components.optimizers.shared.parameter_groups import selected, trainable
from optrun.experiments.studies.plan.selections import selections

#: "Normalization layers" of torch.nn's documentation, those with parameters; how to make what takes arguments.
NORMS: dict[str, Any] = {
    **dict.fromkeys(("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"), (3,)),
    **dict.fromkeys(("LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d"), ()),
    **{f"InstanceNorm{n}d": (3, 1e-5, 0.1, True) for n in "123"},
    **{f"LazyInstanceNorm{n}d": (1e-5, 0.1, True) for n in "123"},
    "GroupNorm": (1, 3),
    "LayerNorm": (3,),
    "RMSNorm": (3,),
}
OTHERS: dict[str, Any] = {
    **{f"Conv{n}d": (2, 2, 1) for n in "123"},
    **{f"ConvTranspose{n}d": (2, 2, 1) for n in "123"},
    **{f"LazyConv{n}d": (2, 1) for n in "123"},
    **{f"LazyConvTranspose{n}d": (2, 1) for n in "123"},
    **dict.fromkeys(("Linear", "Embedding", "EmbeddingBag", "RNN", "LSTM", "GRU"), (2, 2)),
    **dict.fromkeys(("RNNCell", "LSTMCell", "GRUCell"), (2, 2)),
    "RNNBase": ("LSTM", 2, 2),
    "RNNCellBase": (2, 2, True, 1),
    "Bilinear": (2, 2, 2),
    "LazyLinear": (2,),
    "PReLU": (),
    "MultiheadAttention": (2, 1),
}
WITHOUT_PARAMETERS = {"LocalResponseNorm", "CrossMapLRN2d"}

ALL = sorted(name for name, cls in vars(nn).items() if inspect.isclass(cls) and issubclass(cls, nn.Module))


def test_the_table_is_complete() -> None:
    assert {name for name in ALL if "norm" in name.lower()} <= {*NORMS} | WITHOUT_PARAMETERS


@pytest.mark.parametrize("name", sorted({*NORMS, *OTHERS}))
def test_layers_of_torch(name: str) -> None:
    cls, args = getattr(nn, name), {**NORMS, **OTHERS}[name]
    derived = type("Derived", (cls,), {})
    assert [LAYERS["norm"](made(*args)) for made in (cls, derived)] == [name in NORMS] * 2
    if name not in ("PReLU", "MultiheadAttention"):  # whose parameters are a vector, or of another shape each
        assert LAYERS["norm"](type("Norm", (cls,), {})(*args)) == (name in NORMS), "the name alone makes no norm"


class Vector(nn.Module):
    """A layer with a vector of weights; its name is changed below."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(*(shape or (3,))))


def called(name: str, *shape: int, base: type[nn.Module] = Vector, **more: Any) -> nn.Module:
    return type(name, (base,), more)(*shape)


TRULY = [
    *(called(name) for name in ("LlamaRMSNorm", "T5LayerNorm", "BertLayerNorm", "RmsNorm", "LayerNorm2d", "Layernorm")),
    *(called(name, 1, 3, 1, 1) for name in ("GRNorm", "ChannelNorm2d")),
    called("ScaleNorm", 1),
    called("Calm", 3, base=nn.LayerNorm),
    called("Calibration", is_norm=True),
    called("Mixing", 3, 3, is_norm=True),
]
ALIKE = [
    called("NormalizedLinear", 3, 3, base=nn.Linear),
    called("LinearNorm", 3, 3, base=nn.Linear),
    called("ConvNorm2d", 3, 3, 1, base=nn.Conv2d),
    called("TokenNorm", 5, 3, base=nn.Embedding),
    *(called(name) for name in ("NormLayer", "NormHead", "Normalizer", "AbnormalScale", "EnormousGate", "NormedScale")),
    *(called(name, 3, 3) for name in ("WhiteningNorm", "MatrixNorm", "NormalizedLinear")),
    called("UnitNorm", is_norm=False),
    called("Quiet", 3, base=nn.LayerNorm, is_norm=False),
]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [*((layer, True) for layer in TRULY), *((layer, False) for layer in ALIKE)],
    ids=lambda value: type(value).__name__,
)
def test_classes_of_ones_own(layer: nn.Module, expected: bool) -> None:
    model = nn.Sequential(nn.Linear(2, 2), layer)
    chosen = selected(["norm"], trainable(model), "exclude")
    own = {number for number, each in enumerate(trainable(model)) if each.name and each.name.startswith("1.")}
    assert chosen == (own if expected else set())


class Twice(nn.Module):
    def forward(self, value: Tensor) -> Tensor:
        return value * 2


def test_parameters_that_torch_computes_from_others_belong_to_their_layer() -> None:
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(2, 2)), nn.LayerNorm(2))
    parametrize.register_parametrization(model[0], "bias", Twice())
    parametrize.register_parametrization(model[1], "weight", Twice())
    named = trainable(model)

    def names(word: str) -> set[str]:
        return {named[position].name or "" for position in selected([word], named, "match")}

    assert {name.partition(".")[0] for name in names("linear")} == {"0"}
    assert len(names("linear")) == 3
    assert names("norm") == {"1.bias", "1.parametrizations.weight.original"}
    assert names("bias") == {"1.bias", "0.parametrizations.bias.original"}


def test_the_plan_shows_what_selectors_match() -> None:
    config = load_config(
        {
            "data": "digits",
            "model": {"name": "vit", "patch": 4, "depth": 1},
            "loss": "cross_entropy",
            "optimizer": {
                "name": "adamw",
                "weight_decay": {"rate": 0.1, "exclude": ["norm", "embedding"]},
                "groups": [{"match": "head.*", "lr": 0.01}],
            },
            "train": {"steps": 2, "l2": {"rate": 0.1, "include": ["head.weight"]}},
        }
    )
    found = selections(config, build(config).train_op.trained)
    assert [(each.key, each.selector) for each in found] == [
        ("optimizer.weight_decay.exclude", "norm"),
        ("optimizer.weight_decay.exclude", "embedding"),
        ("optimizer.groups.0.match", "head.*"),
        ("train.l2.include", "head.weight"),
    ]
    assert found[0].layers == ("LayerNorm",)
    assert set(found[0].names) > {"norm.weight", "norm.bias"}
    assert found[1].names == ()
    assert found[2].names == ("head.weight", "head.bias")
