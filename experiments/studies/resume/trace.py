"""All that training consists of at chosen steps: written down by one run, compared bit by bit by another."""

from __future__ import annotations

import signal
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from ...components.data.tree import plain
from ...components.hooks.checkpoint import CheckpointHook
from ...components.hooks.hook import Hook, Phase
from ...components.hooks.session_view import BoundSession, StepView
from ...run_directory import checkpoints
from ...run_directory.state_tree import flatten_state, unflatten_state
from ...training.session.saved_state import whole_state
from .difference import Place, digest, first_difference

Stage = Literal["repeated", "restored", "resumed"]

#: What a step is made of, in the order in which one follows from another, and why it may not be the same again.
SECTIONS = {
    "batch": "the data or an augmentation draws from a generator of its own, or reads other examples in each process",
    "hyperparameters": "the schedule, or a hook that feeds values, goes by something other than the step: the clock, "
    "or a counter that is not in its state_dict",
    "loss": "the model or the loss draws from a generator of its own, or keeps something (a counter, a cache) that is "
    "no parameter and no buffer",
    "gradients": "the backward pass draws from a generator of its own, or a hook that changes gradients keeps "
    "something outside its state_dict",
    "model": "the optimizer keeps something outside its `state` and `param_groups`, or a hook changes the weights",
    "requires_grad": "a hook freezes or frees parameters by something other than the step",
    "loss tensors": "the loss changes its tensors by something other than the step, or a hook does",
    "optimizer": "the optimizer keeps something outside its `state` and `param_groups`, or its state_dict leaves it "
    "out",
    "updates": "the update keeps something that its state_dict leaves out",
    "hooks": "the hook keeps something (a counter, a sum) that its state_dict leaves out, or goes by the clock",
    "counters": "batches are skipped differently: the model, the loss or a hook makes values that are not finite",
    "rng": "something draws from the global generators of `random` or NumPy as often as the process, not the step, "
    "wants",
    "rows": "a hook writes values that go by the clock, the process, or something that its state_dict leaves out",
}
STATE = ("model", "requires_grad", "loss tensors", "optimizer", "updates", "hooks", "counters", "rng", "rows")

_OTHERWISE: dict[Stage, str] = {
    "repeated": "two runs from the beginning differ, even without a resume: something draws from a generator that is "
    "not seeded by the step, or goes by the clock, or by the order of a set; on a GPU, an operation may have no "
    "deterministic form",
    "restored": "what was saved is not what came back: load_state_dict does not take over all that state_dict "
    "returned, or changes it",
}
_LONGEST = 80


@dataclass(frozen=True)
class Difference:
    """Where a run in parts is first not the run in one go.

    Args:
        save_point: the step after which the run was stopped and resumed.
        stage: `repeated`: before the stop, so that it is not the resume's doing; `restored`: as it comes from the
            checkpoint; `resumed`: after it.
        step: completed steps when it was seen.
        last_equal: the last step at which all was compared and equal; None if there is none.
        section: what differs first: a key of SECTIONS.
        name: of the value in the section, its parts divided by `/`.
        index: of the first entry that differs, in a tensor.
        expected: the value in the run in one go.
        found: the value in the run in parts.
        cause: what usually makes this differ.
    """

    save_point: int
    stage: Stage
    step: int
    last_equal: int | None
    section: str
    name: str
    index: tuple[int, ...] | None
    expected: Any
    found: Any
    cause: str


class Recorder(Hook):
    """Writes down what training consists of at some steps, or compares it, and stops after one.

    It stops by sending the process SIGTERM, as the system does.

    Args:
        folder: where it is written down.
        steps: at which.
        until: the step to stop after.
        save_point: None to write; else to compare, in a run that is stopped after this step.
    """

    phase = Phase.PERSIST  # and last in it: so it sees every other hook's effect

    def __init__(self, folder: Path, steps: Collection[int], until: int, save_point: int | None):
        self._folder, self._steps, self._until, self._save_point = folder, sorted(steps), until, save_point
        self.difference: Difference | None = None
        self.digests: dict[str, str] = {}  # at the last step that was looked at
        self.step = 0
        self.asked = False
        self._last_equal: int | None = None
        self._stage: Stage = "repeated"

    def after_create_session(self, session: BoundSession) -> None:
        if not isinstance(session.train_op.data, _Watched):  # else the session has gone back to a checkpoint
            session.train_op.data = _Watched(session.train_op.data)
        self.step = session.step
        if session.restored_step is not None:
            self._stage, self._last_equal = "restored", session.step  # it was equal when it was saved
            self._look(session, session.step)
            self._stage = "resumed"
            if self.difference is not None:
                self._stop()

    def after_run(self, ctx: StepView, values: Mapping[str, Any]) -> None:
        self.step = ctx.step
        if ctx.step in self._steps:
            ctx.train_op.read_late_checks()
            self._look(ctx.session, ctx.step)
        if ctx.step == self._until or self.difference is not None:
            self._stop()

    def _stop(self) -> None:
        self.asked = True
        signal.raise_signal(signal.SIGTERM)

    def _look(self, session: BoundSession, step: int) -> None:
        content = self._content(session, step)
        self.digests = {section: digest(section, part) for section, part in content.items()}
        if self._save_point is None:
            self._write(step, content)
        elif self.difference is None:
            self.difference = self._compare(self._save_point, step, content)
            self._last_equal = step

    def _content(self, session: BoundSession, step: int) -> dict[str, Any]:
        train_op = session.train_op
        content: dict[str, Any] = {}
        if self._stage != "restored":  # a step was taken: what it was made of
            named = {id(parameter): name for name, parameter in train_op.trained.named_parameters()}
            groups = train_op.optimizer.param_groups
            parameters = [parameter for group in groups for parameter in group["params"]]
            inputs, targets = train_op.data.latest
            content["batch"] = {"inputs": plain(inputs), "targets": plain(targets)}
            content["hyperparameters"] = [_plain_values(group) for group in groups]
            content["loss"] = train_op.fetch(["loss"])["loss"]
            content["gradients"] = {
                named.get(id(parameter), f"parameter {place}"): _dense(parameter.grad)
                for place, parameter in enumerate(parameters)
            }
        state = whole_state(train_op, session.named_hooks)
        content |= {"loss tensors" if section == "loss" else section: part for section, part in state.items()}
        for name, hook in session.named_hooks.items():
            if isinstance(hook, CheckpointHook):  # which checkpoints are kept for their hour goes by the clock
                content["hooks"][name] = _without(content["hooks"][name], "hourly", "hours_kept")
        rows = session.rows.rows()
        content["rows"] = {f"{place} at step {row['step']}": _without(row, "time") for place, row in enumerate(rows)}
        return {section: content[section] for section in SECTIONS if section in content}

    def _write(self, step: int, content: Mapping[str, Any]) -> None:
        tensors: dict[str, Tensor] = {}
        skeletons: dict[str, Any] = {}
        for section, part in content.items():
            found, skeletons[section] = flatten_state(section, part)
            tensors |= found
        checkpoints.save(self._folder, step, tensors, {"skeletons": skeletons, "digests": self.digests})

    def _compare(self, save_point: int, step: int, content: Mapping[str, Any]) -> Difference | None:
        file = next(file for file in checkpoints.list_checkpoints(self._folder) if file.step == step)
        tensors, facts = checkpoints.load(file)
        for section, part in content.items():
            if self.digests[section] == facts["digests"][section]:
                continue
            expected = unflatten_state(tensors, facts["skeletons"][section])
            here = unflatten_state(*flatten_state(section, part))
            place = first_difference(expected, here) or Place()
            cause = _OTHERWISE.get(self._stage, SECTIONS[section])
            return Difference(
                save_point=save_point,
                stage=self._stage,
                step=step,
                last_equal=self._last_equal,
                section=section,
                name="/".join(str(key) for key in place.keys),
                index=place.entry,
                expected=_shown(place.one),
                found=_shown(place.other),
                cause=cause,
            )
        return None


class _Watched:
    """A source of batches that remembers the latest."""

    def __init__(self, data: Any):
        self.watched = data
        self.latest: Any = None

    def batch(self, position: int) -> Any:
        self.latest = self.watched.batch(position)
        return self.latest

    def __getattr__(self, name: str) -> Any:
        return getattr(self.watched, name)


def _dense(gradient: Tensor | None) -> Tensor | None:
    return gradient.to_dense() if gradient is not None and gradient.is_sparse else gradient


def _plain_values(group: Mapping[str, Any]) -> dict[str, Any]:
    plain = int | float | bool | str | tuple | Tensor | None
    return {name: value for name, value in group.items() if name != "params" and isinstance(value, plain)}


def _without(mapping: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name not in names}


def _shown(value: Any) -> Any:
    """Return a value as JSON has it, shortened if it is long."""
    if isinstance(value, bool | int | float | None):
        return value
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
