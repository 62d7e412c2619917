"""Values of a step by name, as hooks fetch them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ...errors import SessionError, nearest

if TYPE_CHECKING:
    from .train_op import TrainOp

_COMPUTED = ["loss", "grad_norm", "examples", "skipped", "gradient_evaluations"]


def fetch(op: TrainOp, names: Sequence[str]) -> dict[str, Any]:
    """Read values of the step just taken, all scalars in one transfer from the device.

    Raises:
        SessionError: there is no such value.
    """
    values = {name: _value(op, name) for name in names}
    scalars = {name: value for name, value in values.items() if isinstance(value, Tensor) and value.dim() == 0}
    if len(scalars) > 1:
        numbers = torch.stack([value.detach().double() for value in scalars.values()]).tolist()
        return values | dict(zip(scalars, numbers, strict=True))
    return values | {name: value.item() for name, value in scalars.items()}


def check_fetches(op: TrainOp, names: Sequence[str]) -> None:
    """Refuse names that `fetch` would refuse, before a step is taken for them.

    Raises:
        SessionError: there is no such value.
    """
    parameters = {f"param:{name}" for name, _ in op.trained.named_parameters()}
    for name in names:
        if name not in (*_COMPUTED, *parameters) and name not in op.hyperparameters:
            raise unknown(op, "fetch", name)


def unknown(op: TrainOp, verb: Literal["fetch", "feed"], name: str) -> SessionError:
    """Return the error that says which names there are."""
    known = op.hyperparameters.names()
    known += ["batch"] if verb == "feed" else _COMPUTED
    known += [f"param:{key}" for key, _ in op.trained.named_parameters()] if verb == "fetch" else []
    guess = nearest(name, known)
    hint = f" Did you mean '{guess}'?" if guess else f" Known: {known}"
    return SessionError(f"nothing to {verb} is called '{name}'.{hint}")


def _value(op: TrainOp, name: str) -> Any:
    if name == "loss":
        return op.last_loss
    if name == "grad_norm":
        return op.grad_norm()
    if name in _COMPUTED:
        return getattr(op, name)
    if name.startswith("param:"):
        wanted = name.removeprefix("param:")
        for known, parameter in op.trained.named_parameters():
            if known == wanted:
                return parameter.detach()
    elif name in op.hyperparameters:
        return op.hyperparameters[name]
    raise unknown(op, "fetch", name)
