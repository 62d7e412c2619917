"""The hooks that a configuration asks for: the stock ones of its sections, then the user's own."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from ..components.hooks import registry
from ..components.hooks.checkpoint import CheckpointHook
from ..components.hooks.evaluation import EvaluationHook
from ..components.hooks.hook import Every, Hook, Phase
from ..components.hooks.learning_rate import LearningRateSetterHook
from ..components.hooks.logging import LoggingHook
from ..components.hooks.stop import EarlyStoppingHook, StopAfterHook, StopAtStepHook
from ..components.schedules.resolve import configured_schedule
from ..config import ComponentConfig, Config
from ..config.goal import eval_goal, with_modes
from ..config.lengths import Length, RunLength
from ..config.located import located
from ..registry.calls import described
from .compatibility import RUN_LENGTH


def configured_hooks(
    config: Config, schedule: Callable[[int], float], length: RunLength, splits: Collection[str]
) -> list[Hook]:
    """Return the stock hooks that the sections of a configuration ask for, then the user's own; for one session.

    Args:
        config: of the run.
        schedule: step -> multiple of the optimizer's rate, or absolute rate.
        length: of the run.
        splits: those that can be measured.

    Raises:
        ConfigError: a hook cannot be made; located in the configuration.
    """

    def every(key: str, interval: Length) -> Every:
        with located(config, key, *RUN_LENGTH):
            return Every.of(interval, length)

    def add(key: str, *hooks_at: Hook) -> None:
        for hook in hooks_at:
            hook.interval_key = key
        hooks.extend(hooks_at)

    goal = eval_goal(config)
    log_every = every("log.every", config.log.every)
    hooks: list[Hook] = [LearningRateSetterHook(schedule)]
    hooks[0].configured_as = "schedule"
    if length.num_steps is not None:
        hooks.append(StopAtStepHook(last_step=length.num_steps))
    if config.train.max_time is not None:
        hooks.append(StopAfterHook(config.train.max_time.amount))
    add("log.every", LoggingHook(log_every, rows=True, lines=False))
    add("log.lines", LoggingHook(every("log.lines", config.log.lines), rows=False))
    with located(config, "log.to"):
        add("log.every", *_writers(config, log_every))
    during = [split for split in ("val",) if split in splits]  # test is read once, at the end
    after = [split for split in ("val", "test") if split in splits]
    add("eval.every", EvaluationHook(every("eval.every", config.eval.every), during, after))
    if config.stop.patience is not None or config.stop.at_target:
        target = config.eval.target if config.stop.at_target else None
        stop = config.stop
        hooks.append(EarlyStoppingHook(goal.metric, goal.mode, stop.patience, target, min_delta=stop.min_delta))
    add(
        "checkpoint.every",
        CheckpointHook(
            every("checkpoint.every", config.checkpoint.every),
            config.checkpoint.keep,
            goal.metric if config.checkpoint.best and during else None,
            goal.mode,
            config.checkpoint.keep_every_hours,
        ),
    )
    return hooks + [_users_own(config, hook, length) for hook in config.hooks]


def _writers(config: Config, every: Every) -> list[Hook]:
    """Return the hooks that write rows to places other than the metrics log."""
    known, given = registry.offering("log_to", config.log.to), {"every": every, "params": config.to_dict()}
    chosen = [known[place] for place in dict.fromkeys(config.log.to) if place != "jsonl"]
    return [hook.make(**{name: given[name] for name in hook.signature.names() if name in given}) for hook in chosen]


def _users_own(config: Config, hook: ComponentConfig, length: RunLength) -> Hook:
    with located(config, hook.path):
        args = with_modes(config, hook).args
        in_steps = hook.component.facts.get("in_steps", ())  # arguments that are places in the run, and no intervals
        args = {
            name: value.steps(length) if name in in_steps else _argument(value, length, config.seed)
            for name, value in args.items()
        }
        made = hook.component.make(**args)
        if not isinstance(made, Hook):
            raise ValueError(f"{hook.name} made {described(made)}, which is not an optrun Hook")
        made.configured_as = hook.path
        made.interval_key = f"{hook.path}.every" if "every" in hook.component.signature.names() else ""
        _check_attributes(made)
        return made


def _check_attributes(hook: Hook) -> None:
    """Refuse a hook whose own attributes are not what the session reads them as."""
    wanted: dict[str, tuple[type[Any], ...]] = {
        "trigger": (Every, type(None)),
        "phase": (Phase,),
        "chief_only": (bool,),
        "stops": (bool,),
        "name": (str,),
    }
    for name, types in wanted.items():
        value = getattr(hook, name)
        if not isinstance(value, types):
            known = " or ".join("None" if each is type(None) else each.__name__ for each in types)
            raise TypeError(f"`{name}` of a hook is {known}, not {described(value)}")


def _argument(value: Any, length: RunLength, seed: int) -> Any:
    """Return a hook's argument as its constructor takes it: a trigger, a schedule, a function."""
    if isinstance(value, Length):
        return Every.of(value, length)
    if isinstance(value, ComponentConfig) and value.component.kind == "schedule":
        return configured_schedule(value, length, seed)
    if isinstance(value, ComponentConfig) and value.component.kind == "function":
        return value.component.bind(**value.args)
    if isinstance(value, tuple):
        return tuple(_argument(item, length, seed) for item in value)
    return value
