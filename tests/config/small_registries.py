"""Small registries, so that these tests know every component that they meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from optrun.experiments.config.lengths import Interval, Length
from optrun.experiments.registry import Registry
from optrun.experiments.registry.arguments import Count, Decay, Nested, NonNegative, Positive

KINDS = ("optimizer", "schedule", "model", "data", "loss", "metric", "update", "hook", "augmentation")
GIVEN = {"optimizer": 1, "schedule": 1, "loss": 2, "metric": 2, "augmentation": 1}

Schedule = Annotated[Callable[[int], float], Nested("schedule")]


def sgd(params: Any, lr: Positive = 0.1): ...


def mom(
    params: Any, lr: Positive = 0.01, momentum: Decay = 0.9, nesterov: bool = False, weight_decay: NonNegative = 0
): ...


def adam(params: Any, lr: Positive = 0.001, betas: tuple[Decay, Decay] = (0.9, 0.999), eps: Positive = 1e-8): ...


def constant(step: int): ...


def cosine(step: int, final: NonNegative = 0.0): ...


HUNDRED = Length(100)


def exponential(step: int, every: Length = HUNDRED, rate: Positive = 0.96, staircase: bool = False): ...


def piecewise(
    step: int,
    boundaries: tuple[Length, ...],
    factors: tuple[NonNegative, ...] | None = None,
    values: tuple[Positive, ...] | None = None,
    side: Literal["lt", "le"] = "lt",
): ...


def restarts(step: int, then: Schedule = "constant", all: tuple[Schedule, ...] = ()): ...  # type: ignore[assignment]


def mlp(
    input_shape: tuple[int, ...],
    num_classes: int,
    hidden: tuple[Count, ...] = (128, 64),
    activation: Literal["relu", "tanh", "gelu"] = "relu",
    dropout: Decay = 0.0,
): ...


def digits(seed: int = 0, noise: NonNegative = 0.0): ...


def blobs(num_classes: Count, size: Annotated[int, "examples"] = 100): ...


def cross_entropy(outputs: Any, targets: Any, label_smoothing: Decay = 0.0): ...


def accuracy(outputs: Any, targets: Any): ...


def top_k(outputs: Any, targets: Any, k: Count = 5): ...


def ema(decay: Decay = 0.999): ...


def batch_norm(): ...


def grad_norm(every: Interval | None = None): ...


def snapshot(path: str, every=None): ...


snapshot.log_to = "tensorboard"


def flip(images: Any, share: Decay = 0.5): ...


def anything(**kwargs: Any): ...


def piecewise_check(args: Any) -> list[tuple[str, str]]:
    found = args["values"] if args["values"] is not None else args["factors"]
    if found is None or len(found) == len(args["boundaries"]) + 1:
        return []
    name = "values" if args["values"] is not None else "factors"
    return [(name, f"expected {len(args['boundaries']) + 1} {name} for {len(args['boundaries'])} boundaries")]


COMPONENTS: dict[str, list[Any]] = {
    "optimizer": [sgd, mom, adam],
    "schedule": [constant, cosine, exponential, piecewise, restarts],
    "model": [mlp],
    "data": [digits, blobs],
    "loss": [cross_entropy],
    "metric": [accuracy, top_k],
    "update": [ema, batch_norm],
    "hook": [grad_norm, snapshot, anything],
    "augmentation": [flip],
}

BASE = """\
data: digits
model: mlp
loss: cross_entropy
metrics: [accuracy]
optimizer: {name: mom, lr: 0.1}
train: {epochs: 20}
"""


def make_registries() -> dict[str, Registry]:
    registries = {kind: Registry(kind, "optrun.configs", GIVEN.get(kind, 0)) for kind in KINDS}
    for kind, builds in COMPONENTS.items():
        for build in builds:
            facts: dict[str, Any] = {"check": piecewise_check} if build is piecewise else {}
            facts |= {"mode": "max"} if kind == "metric" else {}
            registries[kind].register(build.__name__, **facts)(build)
    return registries
