"""Measuring the model on held-out data while it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import UsageError, unknown_name
from . import register_hook
from .hook import Evaluation, Every, Hook, Phase
from .session_view import BoundSession, SessionView, StepView


@register_hook(
    "evaluation", source="tf.estimator.experimental.InMemoryEvaluatorHook (TensorFlow 1)", evaluates="splits"
)
class EvaluationHook(Hook):
    """Evaluate splits at a trigger and write their metrics as a row; measure the result when the session ends.

    The result goes into the summary, not into a row: a run that is extended later has no row at its first end.

    An evaluation that a signal cuts short is made up for by the resumed run, before its first step.

    Args:
        every: when; in steps or epochs.
        splits: which of the session's evaluators to call.
        final: which to call when the session ends well.

    Raises:
        UsageError: the trigger counts seconds: then a resumed run would not evaluate at the same steps.
    """

    only_reads = True
    phase = Phase.EVALUATE

    def __init__(
        self,
        every: Every = Every(epochs=1),  # noqa: B008 (frozen)
        splits: Sequence[str] = ("val",),
        final: Sequence[str] = ("val", "test"),
    ):
        if every.secs is not None:
            raise UsageError("EvaluationHook takes a trigger in steps or epochs: metric rows belong to steps")
        self.trigger = every
        self._every = every
        self.splits, self.final = tuple(splits), tuple(final)
        self._last_step = 0

    def begin(self, session: SessionView) -> None:
        for split in {*self.splits, *self.final}:
            data = getattr(session.train_op, "data", None)
            if split == "train" and split not in session.evaluators and callable(getattr(data, "state_dict", None)):
                raise UsageError(
                    "the training part of a stream is not measured, for nobody has all of its examples: name a part "
                    f"that comes with it ({', '.join(session.evaluators) or 'there is none'})"
                )
            if split not in session.evaluators:
                raise UsageError(unknown_name("split", split, session.evaluators))

    def after_create_session(self, session: BoundSession) -> None:
        every = self._every.in_steps(getattr(session.train_op.data, "steps_per_epoch", None)).steps
        cut_short = session.step > self._last_step
        if cut_short and session.step % (every or 1) == 0:
            self._evaluate(session)

    def after_run(self, ctx: StepView, values: Mapping[str, Any]) -> None:
        self._evaluate(ctx.session)

    def end(self, session: SessionView, outcome: str) -> None:
        if outcome not in ("done", "stopped") or session.train_op is None:
            return
        known = session.evaluation.values if session.evaluation and session.evaluation.step == session.step else {}
        for split in self.final:
            measured = {name: value for name, value in known.items() if name.startswith(f"{split}/")}
            measured = measured or session.evaluators[split](lambda: session.interrupted)
            if measured is None:
                session.outcome = "interrupted"  # the resumed run has no step left, and evaluates
                return
            session.final.update(measured)

    def _evaluate(self, session: BoundSession) -> None:
        if not self.splits:
            return
        values: dict[str, float] = {}
        for split in self.splits:
            measured = session.evaluators[split](lambda: session.interrupted)
            if measured is None:  # cut short by a signal
                return
            values |= measured
        self._last_step = session.step
        session.write_row(**values)
        session.publish(Evaluation(session.step, values))

    def state_dict(self) -> dict[str, Any]:
        return {"last_step": self._last_step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._last_step = state["last_step"]
