"""When a session calls a hook."""

from __future__ import annotations

from dataclasses import dataclass

from ...components.hooks.hook import NEVER, STEP_EVENTS, Every, Hook, defines

_NUM_FIRST = 3


@dataclass(frozen=True)
class Firing:
    """When a hook is called.

    Args:
        name: of the hook, as checkpoints and errors have it.
        phase: `control`, `observe`, `evaluate` or `persist`; hooks are called in this order.
        events: which of a step's it defines: `before_run`, `after_gradients`, `after_run`.
        trigger: in words; empty where a step never calls it.
        first: the first completed steps at which it is called; empty where a clock decides, or it is called at all.
        last: the last one, None where that is not known.
        count: how many there are, None where that is not known.
    """

    name: str
    phase: str
    events: tuple[str, ...]
    trigger: str
    first: tuple[int, ...]
    last: int | None
    count: int | None


def firing(name: str, hook: Hook, steps_per_epoch: int | None, num_steps: int | None) -> Firing:
    """Return the steps at which a session calls a hook.

    Args:
        name: of the hook.
        hook: made for this run.
        steps_per_epoch: for triggers in epochs.
        num_steps: in the run; None where only a clock ends it.
    """
    events = tuple(event for event in STEP_EVENTS if defines(hook, event))
    phase = hook.phase.name.lower()
    if not events:
        return Firing(name, phase, events, "", (), None, 0)
    if hook.trigger is None and defines(hook, "next_look"):
        return _looking(name, phase, events, hook, num_steps)
    every = hook.trigger.in_steps(steps_per_epoch) if hook.trigger else Every(steps=1)
    if every.steps is None:
        return Firing(name, phase, events, str(every), (), None, None)
    first = [every.following(0)]
    while len(first) < _NUM_FIRST:
        first.append(every.following(first[-1]))
    trigger = "every step" if every == Every(steps=1) else str(every)
    if num_steps is None:
        return Firing(name, phase, events, trigger, tuple(first), None, None)
    inside = tuple(step for step in first if step <= num_steps)
    last = every.following(max(0, num_steps - every.steps)) if inside else None
    count = (last - inside[0]) // every.steps + 1 if last is not None else 0
    return Firing(name, phase, events, trigger, inside, last, count)


def _looking(name: str, phase: str, events: tuple[str, ...], hook: Hook, num_steps: int | None) -> Firing:
    """Return the steps at which a hook is called that says itself when it looks next."""
    first = [hook.next_look(0)]
    while len(first) < _NUM_FIRST and first[-1] < NEVER:
        first.append(hook.next_look(first[-1]))
    inside = tuple(step for step in first if step < NEVER and (num_steps is None or step <= num_steps))
    is_all = len(inside) < len(first)
    when = f"once, at step {inside[0]}" if is_all and len(inside) == 1 else "when it asks to"
    return Firing(
        name, phase, events, when, inside, inside[-1] if is_all and inside else None, len(inside) if is_all else None
    )


def steps_of(fired: Firing) -> range:
    """Return the steps at which a hook is called, where the number of steps of the run is known."""
    if not fired.count or fired.last is None:
        return range(0)
    first, *more = fired.first
    return range(first, fired.last + 1, more[0] - first if more else 1)
