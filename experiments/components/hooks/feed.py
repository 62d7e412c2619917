"""Values that a function of the step feeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from ...errors import UsageError
from ...registry.arguments import Nested
from . import register_hook
from .hook import Hook, Phase, RunArgs
from .session_view import StepView


@register_hook("feed", source="tf.train.FeedFnHook (TensorFlow 1)", example={"function": "./mine.py:values"})
class FeedHook(Hook):
    """Feed what a function says before each step: hyperparameters of the optimizer, or the batch.

    The function is given the number of completed steps, so that a resumed run is fed the same. What it draws from
    torch's default generator depends on the seed and on the number of the batch alone.

    Args:
        function: step -> {name: value}, such as `{"momentum": 0.9}`, or {} to feed nothing; `./file.py:name` or
            `pkg.mod:name` in YAML.
    """

    phase = Phase.CONTROL

    def __init__(self, function: Annotated[Callable[[int], Mapping[str, Any]], Nested("function")]):
        self.function = function

    def before_run(self, ctx: StepView) -> RunArgs:
        ctx.train_op.reseed()
        feed = self.function(ctx.step)
        if not isinstance(feed, Mapping):
            raise UsageError(
                f"the function of hook 'feed' returned a {type(feed).__name__} at step {ctx.step}: "
                'return a mapping such as {"momentum": 0.9}, or {} to feed nothing'
            )
        return RunArgs(feed=feed)
