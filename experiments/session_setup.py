"""What a session settles before it starts: the order and the names of its hooks, and that something will end it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .errors import SessionError
from .hook import Every, Hook
from .hooks.checkpoint import CheckpointHook
from .train_op import TrainOp


def arrange_hooks(
    hooks: Sequence[Hook], chief_only_hooks: Sequence[Hook], is_chief: bool, save_every: Every | None
) -> dict[str, Hook]:
    """Return the hooks that take part, by name, in the order in which they are called.

    Hooks of one name are numbered in the order of their registration: `logging`, `logging_2`.

    Args:
        hooks: the session's; those that are `chief_only` are left out elsewhere.
        chief_only_hooks: left out elsewhere too.
        is_chief: whether this process is the chief.
        save_every: when the default CheckpointHook saves; None for no such hook.
    """
    taking_part = [hook for hook in hooks if is_chief or not hook.chief_only]
    if is_chief:
        taking_part += chief_only_hooks
        if save_every is not None:
            taking_part.append(CheckpointHook(save_every))
    named: dict[str, Hook] = {}
    for hook in sorted(taking_part, key=lambda hook: hook.phase):
        name, number = hook.name, 1
        while name in named:
            number += 1
            name = f"{hook.name}_{number}"
        named[name] = hook
    return named


def default_saving(hooks: Sequence[Hook], has_folder: bool, secs: float | None, steps: int | None) -> Every | None:
    """Return when the default CheckpointHook saves; None where there is no folder, or a CheckpointHook is given.

    Raises:
        SessionError: arguments exclude each other.
    """
    if secs is not None and steps is not None:
        raise SessionError("save_checkpoint_secs and save_checkpoint_steps exclude each other: give one")
    if any(isinstance(hook, CheckpointHook) for hook in hooks):
        if secs is not None or steps is not None:
            raise SessionError("save_checkpoint_secs and _steps set up a CheckpointHook: do not give one as well")
        return None
    if not has_folder:
        return None
    return Every(steps=steps) if steps is not None else Every(secs=600.0 if secs is None else secs)


def check_that_it_ends(hooks: Sequence[Hook], train_op: TrainOp | None) -> None:
    """Refuse a session that would never end.

    Raises:
        SessionError: no hook stops it, and the data is endless, or not known yet.
    """
    data: Any = train_op.data if train_op is not None else None
    if getattr(data, "num_batches", None) is None and not any(hook.stops for hook in hooks):
        raise SessionError(
            "nothing would end this session: add StopAtStepHook(last_step=…), a hook with `stops = True`, "
            "or give the session a train op whose data is finite"
        )
