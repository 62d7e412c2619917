"""Gradients of a step: those that are there, their norm, their clipping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...components.hooks.norms import wide
from ...components.trained import Trained, parameters_of_graph
from ...errors import SessionError
from .optimizer_state import laid_as
from .step_options import StepOptions

SWITCHED_OFF = (
    "gradients are switched off for the whole process, by code that the run calls: use `with torch.no_grad():` around "
    "what needs none, instead of torch.set_grad_enabled(False)"
)


def present(parameters: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradients of those parameters that have one.

    Raises:
        SessionError: none has.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        raise SessionError("no trainable parameter of the optimizer has a gradient: does the loss depend on them?")
    return gradients


def lay_as_weights(parameters: Sequence[Tensor]) -> None:
    """Let gradients that hooks have put there lie in memory as their weights do."""
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is not None and gradient.layout is torch.strided and gradient.stride() != parameter.stride():
            parameter.grad = laid_as(parameter, gradient)


def clip(parameters: Sequence[Tensor], options: StepOptions) -> bool:
    """Clip gradients by norm, then by value; return True if the options ask for it.

    Raises:
        SessionError: a gradient is sparse.
    """
    if options.clip_norm is not None:
        _dense_only(nn.utils.clip_grad_norm_, parameters, options.clip_norm)
    if options.clip_value is not None:
        _dense_only(nn.utils.clip_grad_value_, parameters, options.clip_value)
    return options.clip_norm is not None or options.clip_value is not None


def check_clipping(model: nn.Module | Trained, clip_value: float | None) -> None:
    """Refuse clipping by value where weights are complex: their entries have no order.

    Raises:
        SessionError: a trainable parameter is complex.
    """
    if clip_value is None:
        return
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.is_complex():
            raise SessionError(
                f"clip_value bounds real numbers, and {name} is complex: use clip_norm, which bounds lengths"
            )


def norm(gradients: Sequence[Tensor]) -> Tensor:
    """Return the global L2 norm of gradients, a scalar of at least 32 bits, that those of half precision are summed in.

    Args:
        gradients: dense, sparse or complex, of any shapes.
    """
    return nn.utils.get_total_norm([wide(gradient) for gradient in gradients])


def check_that_all_is_trained(loss: Tensor, parameters: Sequence[Tensor], trained: Trained) -> None:
    """Refuse a loss that depends on parameters which nobody names: they would be neither trained nor saved.

    Raises:
        SessionError: it does.
    """
    known = {id(p) for p in (*parameters, *(parameter for _, parameter in trained.named_parameters()))}
    for parameter in parameters_of_graph(loss):
        if id(parameter) not in known:
            raise SessionError(
                f"the loss depends on a parameter of shape {tuple(parameter.shape)} that is neither the model's nor "
                "the loss's: it would be neither trained nor saved. Make what it belongs to a part of one of them (a "
                "list of layers is an nn.ModuleList), or freeze it with `requires_grad_(False)`"
            )


def explain_switched_off(error: RuntimeError) -> None:
    """Raise an error of a step as one that says what to do, if gradients are off for the whole process.

    Raises:
        SessionError: they are.
    """
    if are_switched_off():
        raise SessionError(f"{SWITCHED_OFF} ({error})") from error


def are_switched_off() -> bool:
    """Return True if torch records no operations now."""
    return not torch.is_grad_enabled() or torch.is_inference_mode_enabled()


def explain_sparse(error: RuntimeError, optimizer: Any, parameters: Sequence[Tensor]) -> None:
    """Raise an error of a step as one that says what to do, if it is about sparse gradients.

    Raises:
        SessionError: it is.
    """
    if "sparse" in str(error) and any(p.grad is not None and p.grad.is_sparse for p in parameters):
        raise SessionError(
            f"{type(optimizer).__name__} does not take this model's sparse gradients: use sparse_adam, or "
            f"build the embedding with sparse=False ({error})"
        ) from error


def _dense_only(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except NotImplementedError as error:
        raise SessionError(f"{function.__name__} cannot work on sparse gradients: leave clipping out") from error
