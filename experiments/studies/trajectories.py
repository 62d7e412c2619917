"""The trajectories of optimizers over a function of two numbers: each is a run in a session, with its weights noted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from .. import config as configuration
from ..components.hooks.hook import Hook, RunArgs
from ..components.hooks.session_view import BoundSession, StepView
from ..components.models.pictures import PICTURES, Picture, View
from ..components.registries import REGISTRIES
from ..config import Config
from ..config.located import located
from ..config.overrides import numbered, split_by_name
from ..errors import UsageError, nearest, unknown_name
from ..registry.user_code import is_code_reference
from ..system import ranks
from ..system.places import held_places
from ..system.raised import refusing_exits
from ..system.switches import held_switches
from ..training.build import build
from ..training.evaluator import evaluation_mode

#: What is raced when nobody says otherwise: the rules of the best known animations of this kind (Radford, 2014; in
#: Ruder, 2016), and Adam.
DEFAULT_RULES = ("sgd", "mom", "nag", "adagrad", "adadelta", "rmsprop", "adam")

_BLOW_UP = 1e6  # times the value at the start: above this a run has diverged, though float32 can still hold it


@dataclass(frozen=True)
class Trajectory:
    """Where one optimizer went.

    Args:
        name: of the optimizer, numbered where it is named twice.
        optimizer: its name in a configuration.
        label: the name; where the optimizer is named twice, with what is its own.
        settings: the overrides that are its own.
        lr: its rate; None for a rule without one.
        points: the weights, shape (steps + 1, 2), the start first.
        values: the function there, without noise, shape (steps + 1,).
        outcome: `done`, or `diverged` after the last of the points.
        distance: of the last point to the nearest minimum; None where there is no minimum.
    """

    name: str
    optimizer: str
    label: str
    settings: tuple[str, ...]
    lr: float | None
    points: np.ndarray
    values: np.ndarray
    outcome: str
    distance: float | None

    @property
    def steps(self) -> int:
        """Applied updates."""
        return len(self.points) - 1


@dataclass(frozen=True)
class Race:
    """Trajectories over one function.

    Args:
        function: its name.
        minima: its lowest points.
        minimum: the value there, if there is one.
        trajectories: in the order in which they were asked for.
        value: the function itself, of points, shape (…, 2).
        picture: how it is best looked at.
    """

    function: str
    minima: tuple[tuple[float, float], ...]
    minimum: float | None
    trajectories: tuple[Trajectory, ...]
    value: Callable[[np.ndarray], np.ndarray]
    picture: Picture

    def view(self) -> View:
        """Return the part of the plane to show; by default what holds minima and finite trajectories."""
        if self.picture.view is not None:
            return self.picture.view
        paths = [each.points if each.outcome == "done" else each.points[:1] for each in self.trajectories]
        points = np.concatenate([*paths, np.asarray(self.minima).reshape(-1, 2)])
        low, high = points.min(axis=0), points.max(axis=0)
        room = 0.15 * np.maximum(high - low, 1e-3)
        (left, bottom), (right, top) = (low - room).tolist(), (high + room).tolist()
        return left, right, bottom, top

    def surface(self, view: View, points: int = 120) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return x, shape (points,), y, shape (points,), and the function on their grid, shape (points, points)."""
        x, y = np.linspace(*view[:2], points), np.linspace(*view[2:], points)
        return x, y, self.value(np.stack(np.meshgrid(x, y), axis=-1))


class TrajectoryHook(Hook):
    """Note where the weights are, from the start on."""

    def __init__(self):
        self.points: list[list[float]] = []

    def after_create_session(self, session: BoundSession) -> None:
        self.points = [session.train_op.model.get_parameter("w").tolist()]

    def before_run(self, ctx: StepView) -> RunArgs:
        return RunArgs(fetches=("param:w",))

    def after_run(self, ctx: StepView, values: Mapping[str, Any]) -> None:
        self.points.append(values["param:w"].tolist())


@held_places()
@held_switches()
@refusing_exits()
def race(
    function: str,
    optimizers: Sequence[str] = DEFAULT_RULES,
    overrides: Sequence[str] = (),
    *,
    steps: int | None = None,
    start: tuple[float, float] | None = None,
) -> Race:
    """Run optimizers over a function from the same start, and return where they went.

    Args:
        function: a model for data `none` whose one parameter `w` has two numbers: `beale`, `./file.py:Mine`, …
        optimizers: names; one that is named twice gets a number.
        overrides: `key=value` for all, `NAME:key=value` for one of them, which takes part if it did not yet. A key that
            is no section of a configuration is an argument of the optimizer: `adam:lr=0.1`.
        steps: length of the runs; by default the function's own.
        start: where the runs begin; by default the function's own.

    Raises:
        UsageError: an unknown function or name, or a function of more or fewer than two numbers.
        ConfigError: what is asked for is no valid configuration.
    """
    ranks.refuse_several("trajectories")
    picture = _picture(function)
    shared, own = _split(overrides)
    optimizers = _with_those_of(own, optimizers)
    names = numbered(map(_short, optimizers))
    wanted = picture.model if start is None else {**picture.model, "start": [float(number) for number in start]}
    model: nn.Module | None = None
    trajectories = []
    for name, optimizer in zip(names, optimizers, strict=True):
        rate = picture.rates.get(optimizer) or _centre(optimizer)
        plain = {
            "data": "none",
            "model": {"name": function, **wanted},
            "loss": "output",
            "optimizer": {"name": optimizer, **({} if rate is None else {"lr": rate})},
            "train": {"steps": steps or picture.steps, "device": "cpu"},
            "eval": {"every": "100%"},
            "log": {"every": "100%"},
            "stop": {"on_nan": "stop"},
        }
        config = configuration.load(plain, [*shared, *own.get(name, [])], registries=REGISTRIES)
        label = _label(name, optimizer, own.get(name, [])) if optimizers.count(optimizer) > 1 else name
        trajectory, model = _run(name, label, config, own.get(name, []))
        trajectories.append(trajectory)
    if model is None:
        raise UsageError("a race needs an optimizer")
    minima, minimum = getattr(model, "minima", ()), getattr(model, "minimum", None)
    return Race(function, minima, minimum, tuple(trajectories), _values_of(model), picture)


def _run(name: str, label: str, config: Config, settings: Sequence[str]) -> tuple[Trajectory, nn.Module]:
    """Train, and note where the weights go."""
    experiment = build(config)
    model, gate, hook = experiment.model, experiment.train_op.gate, TrajectoryHook()
    with located(config, "model"):
        _check_function(config.model.name, model)
    value = _values_of(model)
    at_start = float(value(np.asarray(model.get_parameter("w").tolist())))
    if gate is not None and gate.loss_above is None:
        gate.loss_above = _BLOW_UP * max(1.0, abs(at_start))
    with experiment.located(), experiment.session(None, [hook]) as session:
        while not session.should_stop():
            session.run(experiment.train_op)
    points = np.asarray(hook.points)
    minima = np.asarray(getattr(model, "minima", ())).reshape(-1, 2)
    distances = np.linalg.norm(minima - points[-1], axis=1)
    trajectory = Trajectory(
        name=name,
        optimizer=config.optimizer.name,
        label=label,
        settings=tuple(settings),
        lr=config.optimizer.args.get("lr"),
        points=points,
        values=value(points),
        outcome=session.outcome or "failed",
        distance=float(distances.min()) if len(distances) else None,
    )
    return trajectory, model


def _values_of(model: nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    """Return a model of `w` alone as a function of points, shape (…, 2)."""

    def value(w: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(model, {"w": w}, (torch.zeros(1, 1),)).squeeze()

    def values(points: np.ndarray) -> np.ndarray:
        flat = torch.as_tensor(points, dtype=torch.float32).reshape(-1, 2)
        with evaluation_mode(model), torch.no_grad():
            return torch.vmap(value)(flat).double().numpy().reshape(points.shape[:-1])

    return values


def _check_function(name: str, model: nn.Module) -> None:
    shapes = {key: tuple(parameter.shape) for key, parameter in model.named_parameters()}
    if set(shapes) != {"w"}:
        raise UsageError(f"'{name}' is no function of one parameter `w`: it has {', '.join(shapes) or 'none'}")
    if shapes["w"] != (2,):
        raise UsageError(f"'{name}' is a function of {shapes['w'][0] if shapes['w'] else 1} numbers: a picture needs 2")


def _picture(function: str) -> Picture:
    """Return how a function is shown, after a look at whether there is such a one."""
    if is_code_reference(function):
        return Picture()
    registry = REGISTRIES["model"]
    known = [name for name in registry.names() if registry.get(name).facts.get("task") == "none"]
    if function not in known:
        raise UsageError(unknown_name("function", function, known))
    return PICTURES.get(function, Picture())


def _centre(optimizer: str) -> float | None:
    """Return the rate that an optimizer's tuning is centred on, if it has one."""
    if is_code_reference(optimizer) or optimizer not in REGISTRIES["optimizer"].names():
        return None  # the configuration says what is wrong with it
    return REGISTRIES["optimizer"].get(optimizer).facts.get("centre_lr")


def _short(optimizer: str) -> str:
    return optimizer.rpartition(":")[2]  # of ./file.py:Mine


def _label(name: str, optimizer: str, settings: Sequence[str]) -> str:
    """Return a name that says what its settings are: `sgd batch_size=1`."""
    if not settings:
        return name
    pairs = (setting.split("=", 1) for setting in settings)
    return f"{_short(optimizer)} " + ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in pairs)


def _split(overrides: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Split overrides into those of all and those of one, by its name; arguments of the optimizer are written out."""
    shared, own = split_by_name(overrides)
    return _written_out(shared), {name: _written_out(settings) for name, settings in own.items()}


def _written_out(overrides: Sequence[str]) -> list[str]:
    def is_argument(key: str) -> bool:
        return key.isidentifier() and key not in _SECTIONS

    return [f"optimizer.{text}" if is_argument(text.partition("=")[0]) else text for text in overrides]


def _with_those_of(own: Mapping[str, Any], optimizers: Sequence[str]) -> list[str]:
    """Return the optimizers, and those that only their own overrides name."""
    names, known = numbered(map(_short, optimizers)), REGISTRIES["optimizer"].names()
    for name in own:
        if name not in known and name not in names:
            guess = nearest(name, [*names, *known])
            hint = f" Did you mean '{guess}'?" if guess else ""
            raise UsageError(f"no optimizer '{name}' takes part.{hint} There are: {', '.join(names)}")
    return [*optimizers, *(name for name in own if name not in names)]


_SECTIONS = {section.name for section in dataclasses.fields(Config)}
