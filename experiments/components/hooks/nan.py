"""The hook that sets the policy for a loss or gradient that is not finite."""

from __future__ import annotations

from ...config.sections import Policy
from ...errors import SessionError
from . import register_hook
from .hook import Hook, Phase
from .session_view import BoundSession, SessionView


@register_hook("nan", source="tf.train.NanTensorHook (TensorFlow 1)")
class NanHook(Hook):
    """Set the policy of the train op's gate, which looks at the loss and all gradients before the weights change.

    TensorFlow 1's hook looks at the loss alone, after the update, and lets infinities pass.

    Args:
        policy: `raise` a DivergedError, as fail_on_nan_loss=True; `stop` the session with the outcome `diverged`, as
            fail_on_nan_loss=False, but with weights that are still good; or `skip` the batch.

    Raises:
        SessionError: the train op has no gate, or two such hooks disagree.
    """

    phase = Phase.CONTROL

    def __init__(self, policy: Policy = "raise"):
        self.policy: Policy = policy

    def begin(self, session: SessionView) -> None:
        policies = {hook.policy for hook in session.hooks if isinstance(hook, NanHook)}
        if len(policies) > 1:
            raise SessionError(f"several NanHooks disagree: {', '.join(sorted(policies))}; keep one")

    def after_create_session(self, session: BoundSession) -> None:
        train_op = session.train_op
        gate = train_op.gate
        if gate is None:
            raise SessionError("NanHook sets the policy of the gate, but the train op has none (on_nan=None)")
        if self.policy == "skip" and gate.deferred:  # to skip a batch, the host must know before the next one
            train_op.read_late_checks()
            gate.check_at_once(train_op.optimizer)
        gate.policy = self.policy
