"""The options of a step, checked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...components.data.batch_parts import Place
from ...config.sections import Policy
from ...errors import SessionError
from ..model_call import Call, ModelCall
from .penalty import Penalty

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class StepOptions:
    """The options of a step besides forward, backward and update.

    Args:
        accumulate: micro-batches per batch; gradients are weighted by their numbers of examples.
        clip_norm: largest global L2 norm of the gradients, or None.
        clip_value: largest absolute value of a gradient's entry, or None.
        l2: a penalty that is part of the loss: a rate, `{rate, include, exclude}`, or the penalty itself.
        on_nan: the gate's policy; None leaves the gate out.
        loss_above: the gate also stops a finite loss above this.
        precision: `bf16` runs forward and loss under autocast; weights stay float32.
        compile: take whole steps as compiled graphs; `auto` where that pays.
        seed: of noise inside the model, together with the batch's number.
        rank: of this process; other ranks draw other noise.
        call: how the model is called on the inputs.
        inputs_from: which entries of a batch are inputs.
        targets_from: which are targets.
        num_steps: in the whole run, which `auto` goes by; None where nobody knows.
        work: multiply-adds of a step, likewise.

    Raises:
        SessionError: a value that cannot work.
    """

    accumulate: int = 1
    clip_norm: float | None = None
    clip_value: float | None = None
    l2: float | Mapping[str, Any] | Penalty | None = None
    on_nan: Policy | None = "raise"
    loss_above: float | None = None
    precision: Precision = "fp32"
    compile: bool | Literal["auto"] = False
    seed: int = 0
    rank: int = 0
    call: Call | ModelCall = "auto"
    inputs_from: Place | Sequence[Place] | None = None
    targets_from: Place | Sequence[Place] | None = None
    num_steps: int | None = None
    work: int | None = None

    def __post_init__(self) -> None:
        rate = self.l2["rate"] if isinstance(self.l2, Mapping) else None if isinstance(self.l2, Penalty) else self.l2
        for name, value in {"clip_norm": self.clip_norm, "clip_value": self.clip_value, "l2": rate}.items():
            if value is not None and not value > 0:
                raise SessionError(f"{name} must be greater than 0, got {value!r}")
        if self.accumulate < 1:
            raise SessionError(f"accumulate must be at least 1, got {self.accumulate!r}")
        if self.precision not in ("fp32", "bf16"):
            raise SessionError(f"no precision '{self.precision}': use fp32 or bf16")
        if self.compile not in (True, False, "auto"):
            raise SessionError(f"compile is True, False or 'auto', got {self.compile!r}")
        if self.on_nan is None and self.loss_above is not None:
            raise SessionError("loss_above is the gate's business: give it an on_nan policy as well")
