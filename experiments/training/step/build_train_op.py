"""Building a train op from its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from ...components.data.batch_parts import Place
from ...components.trained import Trained, listed, parameters_within
from ...components.updates import Update, make_update
from ...config.sections import Policy
from ...errors import SessionError
from ..model_call import Call, ModelCall
from .batch_source import BatchSource
from .finite_gate import Gate
from .gradients import check_clipping
from .penalty import Penalty
from .step_options import Precision, StepOptions
from .train_op import TrainOp


def build_train_op(
    model: nn.Module,
    loss: Callable[[Any, Any], Tensor],
    optimizer: torch.optim.Optimizer,
    data: BatchSource | Sequence[Any] | DataLoader[Any] | IterableDataset[Any],
    updates: Sequence[Update | str | Callable[..., Any]] = (),
    *,
    accumulate: int = 1,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    l2: float | Mapping[str, Any] | Penalty | None = None,
    on_nan: Policy | None = "raise",
    loss_above: float | None = None,
    precision: Precision = "fp32",
    compile: bool | Literal["auto"] = False,
    seed: int = 0,
    rank: int = 0,
    call: Call | ModelCall = "auto",
    inputs_from: Place | Sequence[Place] | None = None,
    targets_from: Place | Sequence[Place] | None = None,
    num_steps: int | None = None,
    work: int | None = None,
) -> TrainOp:
    """Group gradients, gate, clipping, the optimizer and extra updates into one train op.

    Args:
        model: called on a batch's inputs, as `call` says.
        loss: (outputs, targets) -> scalar, the mean over the examples. Where it is a module, its tensors are saved and
            restored with the model's, below `loss.`.
        optimizer: over the trainable parameters of the model, and of the loss where it has some.
        data: an object with `batch(position)`, or a finite sequence of batches; or a DataLoader, which is read without
            end, in an order that is a function of `seed` and the epoch where it shuffles, or over an IterableDataset
            in its own order (docs/data.md, Streams). A batch is a pair (inputs,
            targets), or a tuple, mapping or data class that consists of both (`components.data.batch_parts`).
        updates: extra updates, made or by name: `["tf_batch_norm", "ema"]`.
        accumulate: micro-batches per batch; gradients are weighted by their numbers of examples.
        clip_norm: largest global L2 norm of the gradients, or None.
        clip_value: largest absolute value of a gradient's entry, or None.
        l2: a penalty that is part of the loss, rate * Σ w² / 2: a rate for all trainable parameters, or
            `{rate, include, exclude}` with selectors as in an optimizer's weight decay. Unlike weight decay it shows in
            the loss.
        on_nan: the gate's policy, `raise`, `stop` or `skip`; None leaves the gate out.
        loss_above: the gate also stops a finite loss above this.
        precision: `bf16` runs forward and loss under autocast; weights stay float32.
        compile: take whole steps as compiled graphs, where that can be: `train_op.compiled.why_not` says why not; or
            `auto`: where it also pays, by a rule of shapes, `num_steps` and `work`.
        seed: of dropout and other noise inside the model, together with the batch's number.
        rank: of this process; other ranks draw other noise.
        call: `inputs`, `unpack` or `keywords`: model(inputs), model(*inputs) or model(**inputs); `auto` goes by the
            signature of the model's forward. Or a `ModelCall` made before.
        inputs_from: name or index of the inputs in a batch, or several; None for all that are no targets.
        targets_from: name or index of the targets in a batch, or several; None for those that a batch names itself.
        num_steps: that are planned for the whole run; None where nobody knows.
        work: multiply-adds of a step; None where nobody knows.

    Raises:
        SessionError: a value that cannot work.
    """
    bounds = (accumulate, clip_norm, clip_value, l2, on_nan, loss_above)
    options = StepOptions(*bounds, precision, compile, seed, rank, call, inputs_from, targets_from, num_steps, work)
    made = [make_update(update, model) for update in updates]
    trained = Trained(model, loss)
    _check_that_it_is_one(optimizer)
    check_clipping(trained, clip_value)
    _check_that_all_is_trained(trained, loss, optimizer)
    _check_that_updates_save(trained, made)
    gate = Gate(trained, on_nan, loss_above) if on_nan is not None else None
    op = TrainOp(model, loss, optimizer, data, made, gate, options)
    # Updates would follow a step that did not happen, and an optimizer with a closure has moved the weights by then.
    if gate is not None and op.device.type == "cuda" and not op.updates and not op.needs_closure:
        gate.defer(optimizer)
    return op


def _check_that_it_is_one(optimizer: Any) -> None:
    """Refuse what is no optimizer, such as a list of several.

    Raises:
        SessionError: it has no parameter groups.
    """
    if not hasattr(optimizer, "param_groups"):
        raise SessionError(
            f"optimizer is a {type(optimizer).__name__}: a train op has one torch.optim.Optimizer. Settings for a part "
            'of the model are a group of it: make_optimizer(model, "adam", groups=[{"match": "head.*", "lr": …}])'
        )


def _check_that_all_is_trained(trained: Trained, loss: Any, optimizer: torch.optim.Optimizer) -> None:
    """Refuse a loss whose parameters nobody would train.

    Raises:
        SessionError: the optimizer does not hold them, or they are in no module that is the loss.
    """
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    own = dict(trained.loss_parameters())
    if missing := [name for name, p in own.items() if p.requires_grad and id(p) not in held]:
        raise SessionError(
            f"the loss has parameters that the optimizer does not hold: {listed(missing)}. Give it both, "
            '`[*model.named_parameters(), *loss.named_parameters(prefix="loss")]`, or freeze them with '
            "`loss.requires_grad_(False)`"
        )
    known = held | {id(parameter) for _, parameter in trained.named_parameters()}
    if foreign := [name for name, p in parameters_within(loss) if p.requires_grad and id(p) not in known]:
        raise SessionError(
            f"the loss holds parameters that nobody would train or save: {listed(foreign)}. Make it a torch.nn.Module "
            "that has them, or freeze them with `requires_grad_(False)`"
        )


def _check_that_updates_save(trained: Trained, updates: Sequence[Update]) -> None:
    """Refuse an update whose own parameters would be lost at a resume.

    Raises:
        SessionError: it has some, and no `state_dict`.
    """
    known = {id(parameter) for _, parameter in trained.named_parameters()}
    for update in updates:
        if type(update).state_dict is Update.state_dict:
            own = [name for name, p in parameters_within(update) if p.requires_grad and id(p) not in known]
            if own:
                raise SessionError(
                    f"the update {type(update).__name__} has parameters that nobody trains or saves: {listed(own)}. "
                    "Return them in its `state_dict`, or freeze them with `requires_grad_(False)`"
                )
