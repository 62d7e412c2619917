"""What was not finite first: a refused batch is evaluated again, with an eye on every tensor that arises."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ..components.data.tree import batch_size, named_tensors
from ..components.hooks.session_view import Refused
from ..components.trained import Trained
from ..system.raised import refusing_exits, type_and_text
from .step.op_state import tensor_name
from .step.replay import evaluate_again
from .step.train_op import TrainOp

_MAX_TRAIL = 100


@dataclass(frozen=True)
class BadTensor:
    """A tensor that was not finite.

    Args:
        name: what it is: `inputs`, `weight fc.bias`, `output of blocks.1.conv`, `loss`, `gradient of fc.bias`.
        kind: `nan`, `inf`, or `nan and inf`.
        num_bad: how many of its values are not finite.
        num_values: how many it has.
        evaluation: of the batch, from 1; optimizers such as L-BFGS evaluate it more than once in a step.
        micro_batch: from 1; None where the batch is not accumulated.
    """

    name: str
    kind: str
    num_bad: int
    num_values: int
    evaluation: int = 1
    micro_batch: int | None = None

    def __str__(self) -> str:
        share = f", {self.num_bad} of {self.num_values} values" if self.num_values > 1 else ""
        return f"{self.name} ({self.kind}{share})"


def investigate(train_op: TrainOp, refused: Refused | None) -> dict[str, Any]:
    """Evaluate a refused batch again, and say which tensors were not finite, in the order in which they arose.

    Args:
        train_op: with the weights that met the batch.
        refused: the batch; None looks at the weights alone.

    Returns:
        Where it was, `first_bad` and what came `then` in words, the `trail` of tensors, and the `cause`: `weights`,
        `batch`, `forward`, `backward`, `hook`, `bound` (stop.loss_above) or `unknown`.
    """
    trail, note = [*_bad_weights(train_op)], None
    if refused is not None:
        trail += [bad for name, value in _parts(refused.batch) for bad in _bad(name, value)]
        try:
            with refusing_exits():
                trail += _repeated(train_op, refused)
        except Exception as error:  # noqa: BLE001 (the user's model, in a run that has failed already)
            note = f"the batch could not be evaluated again: {type_and_text(error)}"
    first = trail[0] if trail else None
    if refused is not None and first is None:
        note = note or _why_nothing_is_bad(refused)
    return {
        "step": train_op.global_step,
        "batch": refused.position if refused else train_op.batch,
        "evaluation": first.evaluation if first else None,
        "micro_batch": next((bad.micro_batch for bad in trail if bad.micro_batch is not None), None),
        "reason": refused.reason if refused else "weights or optimizer state are not finite",
        "rates": list(refused.rates) if refused else [],
        "cause": _cause(refused, first),
        "first_bad": str(first) if first else None,
        "then": _consequences(trail),
        "note": note,
        "trail": [asdict(bad) for bad in trail[:_MAX_TRAIL]],
        "largest_weight": _largest_weight(train_op.trained),
        "batch_file": None,
        "checkpoint": None,
    }


def _why_nothing_is_bad(refused: Refused) -> str | None:
    if refused.by_hook:
        return f"a hook made it so in after_gradients: {refused.reason}"
    if refused.batch is None:
        return "the batch was fed by a hook, and is gone"
    if "stop.loss_above" in refused.reason:
        return None
    return "all was finite when the batch was evaluated again: model, loss or device do not compute the same twice"


def _cause(refused: Refused | None, first: BadTensor | None) -> str:
    if first is None:
        if refused is None:
            return "weights"
        return "hook" if refused.by_hook else "bound" if "stop.loss_above" in refused.reason else "unknown"
    if first.name in ("inputs", "targets") or first.name.startswith(("inputs/", "targets/")):
        return "batch"
    kinds = {"weight": "weights", "buffer": "weights", "gradient": "backward"}
    return kinds.get(first.name.split()[0], "forward")


def _consequences(trail: list[BadTensor]) -> list[str]:
    """Return, of what followed in the same evaluation, the loss and the first gradient of a weight."""
    later = [bad for bad in trail[1:] if bad.evaluation == trail[0].evaluation]
    gradient = "gradient of ", "gradient of the output of "
    loss = next((str(bad) for bad in later if bad.name == "loss"), None)
    weight = next(
        (str(b) for b in later if b.name.startswith(gradient[0]) and not b.name.startswith(gradient[1])), None
    )
    return [text for text in (loss, weight) if text]


def _bad_weights(train_op: TrainOp) -> Iterator[BadTensor]:
    for name, parameter in train_op.trained.named_parameters():
        yield from _bad(f"weight {name}", parameter)
    for name, buffer in train_op.trained.named_buffers():
        if tensor_name(train_op.trained, name) not in train_op.may_be_infinite:
            yield from _bad(f"buffer {name}", buffer)


def _largest_weight(trained: Trained) -> dict[str, Any] | None:
    largest = {name: p.detach().abs().max().item() for name, p in trained.named_parameters() if p.numel()}
    name = max(largest, key=lambda name: largest[name], default=None)
    return {"name": name, "value": largest[name]} if name is not None else None


def _repeated(train_op: TrainOp, refused: Refused) -> list[BadTensor]:
    """Evaluate the batch with an eye on every module's output, the loss, and every gradient."""
    if refused.batch is None:
        return []
    watch = _Watch(min(train_op.options.accumulate, batch_size(*refused.batch)))
    with contextlib.ExitStack() as watching:
        for handle in watch.attach(train_op.trained):
            watching.callback(handle.remove)
        evaluate_again(train_op, refused, watch.see)
    return watch.trail


class _Watch:
    """Notes each tensor that is not finite once, in the order in which they arise.

    Args:
        num_parts: micro-batches of one evaluation.
    """

    def __init__(self, num_parts: int):
        self.trail: list[BadTensor] = []
        self._num_parts = num_parts
        self._num_forward = 0
        self._seen: set[str] = set()

    def attach(self, trained: Trained) -> Iterator[Any]:
        """Begin to look, and yield the handles that end it."""
        yield trained.model.register_forward_pre_hook(self._began)
        for name, module in trained.model.named_modules():
            label = name or "the model"
            yield module.register_forward_hook(lambda _, args, output, label=label: self._saw_output(label, output))
        for name, parameter in trained.named_parameters():
            if parameter.requires_grad:
                yield parameter.register_post_accumulate_grad_hook(
                    lambda parameter, name=name: self.see(f"gradient of {name}", parameter.grad)
                )

    def see(self, name: str, value: Any) -> None:
        """Look at a tensor; `evaluate_again` calls this as well."""
        if name in self._seen or value is None:
            return
        evaluation, micro_batch = divmod(max(self._num_forward - 1, 0), self._num_parts)
        number = micro_batch + 1 if self._num_parts > 1 else None
        for bad in _bad(name, value, evaluation + 1, number):
            self._seen.add(name)
            self.trail.append(bad)

    def _began(self, module: Any, args: Any) -> None:
        self._num_forward += 1

    def _saw_output(self, label: str, output: Any) -> None:
        for _, tensor in _parts((output, None)):
            self.see(f"output of {label}", tensor)
            if tensor.requires_grad:
                tensor.register_hook(lambda gradient: self.see(f"gradient of the output of {label}", gradient))


def _parts(batch: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors in inputs and targets, with where they are: `inputs`, `inputs/mask`, `targets/0`."""
    for name, value in zip(("inputs", "targets"), batch or (), strict=False):
        yield from named_tensors(name, value)


def _bad(name: str, tensor: Tensor, evaluation: int = 1, micro_batch: int | None = None) -> Iterator[BadTensor]:
    values = tensor.detach()
    if values.layout == torch.sparse_coo:
        values = values.coalesce().values()
    if values.layout != torch.strided or not (values.is_floating_point() or values.is_complex()):
        return
    values = values.float() if values.element_size() == 1 else values  # float8 has no isfinite
    num_bad = values.numel() - int(torch.isfinite(values).sum())
    if num_bad:
        num_nan = int(torch.isnan(values).sum())
        kind = "inf" if num_nan == 0 else "nan" if num_nan == num_bad else "nan and inf"
        yield BadTensor(name, kind, num_bad, values.numel(), evaluation, micro_batch)
