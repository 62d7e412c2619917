"""Why the steps of a train op cannot be compiled, as far as its configuration and what is installed say."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .rule_table import RULES
from .store import folder_problem
from .updates import Ema, has_form

if TYPE_CHECKING:
    from ..train_op import TrainOp

_SWITCHES = ("TORCH_COMPILE_DISABLE", "TORCHDYNAMO_DISABLE")
_OWN_HOOKS = {"_begin_late_sums"}  # what it does, a compiled rule does without it


def why_eager(op: TrainOp) -> str | None:
    """Return why steps of a train op cannot be compiled, in words; None if nothing known speaks against it.

    The answer is the same whenever it is asked of the same configuration on the same machine.
    """
    return _first(op, _step, _optimizer, _model, _dynamo, _compiler)


def why_not_stacked(op: TrainOp) -> str | None:
    """Return why steps of a train op cannot be taken together with those of others; None if nothing is known.

    The answer is the same whenever it is asked of the same configuration.
    """
    return _first(op, _stacked, _step, _optimizer, _model, _dynamo)


def _first(op: TrainOp, *checks: Callable[[TrainOp], Iterator[str]]) -> str | None:
    return next((reason for check in checks for reason in check(op)), None)


def _step(op: TrainOp) -> Iterator[str]:
    if op.device.type not in ("cpu", "cuda"):
        yield f"steps on {op.device.type} are not compiled"
    if op.options.accumulate > 1:
        yield "steps of several micro-batches (train.accumulate) are not compiled"
    for update in op.updates:
        if not has_form(update):
            yield f"the update {type(update).__name__} has no compiled form"
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        yield "steps of several ranks are not compiled"


def _stacked(op: TrainOp) -> Iterator[str]:
    if op.device.type != "cpu":
        yield f"steps on {op.device.type} are not taken together"
    if any(not isinstance(update, Ema) for update in op.updates):
        yield "batch norm is a grouped update"
    if hasattr(op.data, "state_dict"):
        yield "a stream of data is read by one run"


def _optimizer(op: TrainOp) -> Iterator[str]:
    optimizer: Any = op.optimizer
    name = type(optimizer).__name__
    rule = RULES.get(type(optimizer))
    if op.needs_closure:
        yield f"{name} evaluates the batch itself"
    if rule is None:
        yield f"{name} has no compiled rule"
        return
    for group in optimizer.param_groups:
        if (refused := rule.refuses(group)) is not None:
            yield f"{refused} has no compiled rule"
    hooks = [*optimizer._optimizer_step_pre_hooks.values(), *optimizer._optimizer_step_post_hooks.values()]
    if any(getattr(hook, "__name__", "") not in _OWN_HOOKS for hook in hooks):
        yield f"{name} has hooks of its own"
    if "step" in vars(optimizer) and not hasattr(optimizer.step, "_wrapped_by_lr_sched"):
        yield f"the `step` of {name} was replaced"
    for weight in (weight for group in optimizer.param_groups for weight in group["params"]):
        if weight.dtype not in (torch.float32, torch.float64):
            yield f"weights of {weight.dtype} have no compiled rule"
        if weight._backward_hooks or getattr(weight, "_post_accumulate_grad_hooks", None):
            yield "a weight has hooks on its gradient"


def _model(op: TrainOp) -> Iterator[str]:
    for module in op.trained.modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.sparse:
            yield "sparse gradients are not compiled"
        if module._backward_hooks or module._backward_pre_hooks:
            yield f"a {type(module).__name__} has backward hooks"


def _dynamo(op: TrainOp) -> Iterator[str]:
    if any(os.environ.get(name, "0") not in ("", "0") for name in _SWITCHES):
        yield "torch.compile is switched off by the environment"
        return
    from torch._dynamo import config

    if not hasattr(config, "side_effect_replay_policy"):
        yield f"torch {torch.__version__} cannot say what a model does besides computing: use a newer one"


def _compiler(op: TrainOp) -> Iterator[str]:
    if op.device.type == "cpu" and not has_compiler():
        yield "there is no C++ compiler (g++): install one, or name it in CXX"
    if (problem := folder_problem()) is not None:
        yield problem


def has_compiler() -> bool:
    """Return True if there is a C++ compiler that inductor would find."""
    from torch._inductor import config

    wanted: Any = config.cpp.cxx
    names = wanted if isinstance(wanted, tuple | list) else [wanted]
    return any(name is not None and shutil.which(name) is not None for name in names)
