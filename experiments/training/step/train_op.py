"""The train op: forward, backward, gate, clip, optimizer, extra updates, global step, in this order.

`TrainOp.run` is the page to read. Beside it stand its parts: what a batch is (batch_source.py), the check that nothing
infinite reaches the weights (finite_gate.py), optimizers that evaluate the batch themselves (closure_step.py), and
what hooks fetch (fetches.py).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...components.data.batch_parts import BatchParts
from ...components.data.batches import AugmentedBatches
from ...components.data.tree import batch_size, on_device, split
from ...components.hooks.session_view import Refused
from ...components.losses.counting import Counting
from ...components.trained import Trained
from ...components.updates import Update
from ...errors import ArgumentsError, SessionError, UsageError
from ...registry.calls import call_of, note_call
from ...system import rng
from ..model_call import ModelCall, hands_targets
from . import fetches, gradients, op_state, short_calls
from .batch_source import BatchSource, as_source, draw_batch, refuse_to_cut
from .closure_step import needs_closure, step_by_closure
from .compiled_steps import CompiledSteps
from .finite_gate import Gate, NotFinite
from .hyperparameters import Hyperparameters
from .modes import in_evaluation
from .optimizer_state import OptimizerState
from .parameter_groups import TrainableFlags
from .part_calls import PartCalls
from .penalty import Penalty
from .refusal import refuse, take_back_late_steps, without_batch
from .step_options import StepOptions


class TrainOp:
    """One step of training, as one callable; make it with `build_train_op`.

    Attributes:
        trained: the model and the loss together, by the names of their tensors.
        call: calls the model on the inputs of a batch.
        trainable_flags: which parameters were frozen and freed since.
        global_step: number of applied updates.
        batch: number of drawn batches, applied or skipped: the position of the next one.
        examples: number of examples in applied updates.
        skipped: number of skipped batches.
        gradient_evaluations: number of times that gradients of a whole batch were worked out, skipped ones included.
        refused: the last batch that the gate kept from the weights.
        last_loss: loss of the last step, a scalar; with a closure, that of its first evaluation.
        last_grad_norm: norm of the gradients as they were before hooks and clipping, of the evaluation whose loss is
            last_loss; None until it is worked out.
        last_batch_size: number of examples in the last batch.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Any, Any], Tensor],
        optimizer: torch.optim.Optimizer,
        data: Any,
        updates: Sequence[Update],
        gate: Gate | None,
        options: StepOptions,
    ):
        self.model, self.loss, self.optimizer, self.updates = model, loss, optimizer, tuple(updates)
        self.gate, self.options = gate, options
        self.trained = Trained(model, loss)
        self.trainable_flags = TrainableFlags(self.trained)
        self.built_in_evaluation = in_evaluation(self)  # what is changed since is saved
        self.device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        self.forward: Callable[..., Any] = model
        handed = hands_targets(loss, options.targets_from)
        self.call = options.call if isinstance(options.call, ModelCall) else ModelCall(options.call, handed)
        weights_from = getattr(loss, "weights_from", None)
        self.parts = BatchParts(options.targets_from, options.inputs_from, not handed, weights_from)
        self.data: BatchSource = as_source(data, options.seed, self.parts)
        refuse_to_cut(self.data, options.accumulate)
        self.counting = Counting(loss)
        self.l2 = Penalty.of(options.l2, model)
        self.needs_closure = needs_closure(optimizer)
        self.hyperparameters = Hyperparameters(optimizer)
        self.optimizer_state = OptimizerState(optimizer, self.trained)
        self.parameters: list[Tensor] = []  # of the optimizer, whose groups hooks may change
        self.global_step = self.batch = self.examples = self.skipped = 0
        self.gradient_evaluations = 0
        self.skipped_in_row = 0
        self.refused: Refused | None = None
        self.last_loss = torch.full((), float("nan"), device=self.device)
        self.last_grad_norm: Tensor | None = None
        self._measures_norm = False
        self._version: int | None = None  # of the first gradient, if nothing but the optimizer may change it
        self.last_batch_size = 0
        self._num_examples: int | None = None  # in the batch, where that is not the number of its rows
        self.may_be_infinite = op_state.infinite_buffers(self.trained)
        self._has_seen_graph = False
        self.unread_checks: list[tuple[int, Mapping[str, Any]]] = []  # size and feed of late-checked steps
        self._noise, self._drawing = rng.Stream(options.seed, "step"), rng.Stream(options.seed, "draw")
        self._seed_default = rng.default_seeder(self.device)
        is_bf16 = options.precision == "bf16"
        self.calling = PartCalls(self)
        self.autocast = torch.autocast(self.device.type, torch.bfloat16) if is_bf16 else contextlib.nullcontext()
        self.compiled = CompiledSteps(self)

    def run(
        self,
        feed: Mapping[str, Any] | None = None,
        after_gradients: Callable[[], None] | None = None,
        *,
        measures_norm: bool | None = None,
    ) -> bool:
        """Take one step; return whether it was applied (False: the batch was skipped).

        Args:
            feed: values that replace the step's own: hyperparameters of the optimizer (`momentum`, `betas.0`), each a
                value or a function of a parameter group's own value; or `batch`.
            after_gradients: called when the gradients are known to be finite, before they are clipped.
            measures_norm: whether `grad_norm` will be fetched; None measures it where it could not be worked out after
                the step, because gradients are clipped, given to `after_gradients`, or evaluated several times.

        Raises:
            EndOfData: there is no further batch.
            DivergedError: the loss or a gradient is not finite, and the gate does not skip it.
        """
        feed = feed or {}
        if after_gradients is None and not measures_norm and self.compiled.takes(feed):
            return self.compiled.run(1, lambda _: feed, lambda: math.inf)
        return self.run_uncompiled(feed, after_gradients, measures_norm=measures_norm)

    def run_uncompiled(
        self,
        feed: Mapping[str, Any],
        after_gradients: Callable[[], None] | None = None,
        *,
        measures_norm: bool | None = False,
    ) -> bool:
        """Take one step as it is written here; see `run`."""
        if measures_norm is None:
            options = self.options
            measures_norm = (after_gradients, options.clip_norm, options.clip_value) != (None, None, None)
            measures_norm = measures_norm or self.needs_closure
        self._measures_norm = measures_norm
        if self.updates:
            self.tell_updates("discard")  # what forward passes outside of a step may have left
        self.set_hyperparameters(feed)  # the learning rate among them
        batch = self.draw(feed)
        self._prepare_gate(after_gradients is not None)
        try:
            if self.needs_closure:
                step_by_closure(self, batch, after_gradients)
            else:
                self.evaluate(batch)
                self.check_and_clip(after_gradients)
                with self.calling.optimizer:
                    short_calls.step(self.optimizer)
        except NotFinite as found:
            refuse(self, batch, feed, found.by_hook)  # raises, unless the policy is to skip
            return False
        except RuntimeError as error:
            gradients.explain_switched_off(error)
            gradients.explain_sparse(error, self.optimizer, self.parameters)
            raise
        if self.updates:
            with torch.no_grad():
                self.tell_updates("apply")
        self.global_step += 1
        self.batch += 1
        self.examples += self.last_batch_size
        self.skipped_in_row = 0
        if self.gate is not None and self.gate.deferred:
            self.unread_checks.append((self.last_batch_size, without_batch(feed)))
        return True

    def run_block(
        self,
        count: int,
        feed_at: Callable[[int], Mapping[str, Any]],
        secs_left: Callable[[], float] = lambda: math.inf,
    ) -> bool:
        """Take several steps that nobody looks at; return False if the last batch was skipped, which ends the block.

        Args:
            count: how many, at most.
            feed_at: completed updates -> what is fed for the next step; see `run`.
            secs_left: the seconds that are left; the block ends where none are.

        Raises:
            EndOfData: there is no further batch; the steps before are complete.
            DivergedError: as `run`; the steps before are complete.
        """
        if self.compiled.why_not is None:
            return self.compiled.run(count, feed_at, secs_left)
        for _ in range(count):
            if not self.run_uncompiled(feed_at(self.global_step)):
                return False
            if secs_left() <= 0:
                break
        return True

    def note_compiled(self, loss: Tensor, sizes: Sequence[int], feed: Mapping[str, Any]) -> None:
        """Count applied steps that were taken by a compiled graph.

        Args:
            loss: of the last.
            sizes: examples in each.
            feed: of the last.
        """
        self.set_hyperparameters(feed)
        self.last_loss, self.last_grad_norm, self._version = loss, None, None
        self.last_batch_size = sizes[-1]
        self.global_step += len(sizes)
        self.batch += len(sizes)
        self.gradient_evaluations += len(sizes)
        self.examples += sum(sizes)
        self.skipped_in_row = 0

    def set_hyperparameters(self, feed: Mapping[str, Any]) -> None:
        """Set what is fed for a step, and give back what no longer is.

        Raises:
            SessionError: a parameter group has nothing of that name.
        """
        try:
            self.hyperparameters.feed(feed)
        except KeyError as error:
            call = call_of(error)
            if call is None or error.args != (call.fed,):  # of a function of the user's own
                raise
            unknown = fetches.unknown(self, "feed", call.fed)
            note_call(unknown, call)
            raise unknown from None

    def draw(self, feed: Mapping[str, Any], position: int | None = None) -> Any:
        """Return a batch on the device: that of this step, or the one at a position."""
        batch = feed.get("batch")
        position = self.batch if position is None else position
        self._num_examples = None
        if batch is None:
            if not getattr(self.data, "draws_nothing", False):
                self.reseed(position)
            with self.calling.data:
                drawn = self.parts(draw_batch(self.data, position))
                inputs, targets = drawn
                if isinstance(self.data, AugmentedBatches):
                    self._num_examples = self.data.num_examples_in(position, drawn)
        else:
            with self.calling.feed:
                try:
                    inputs, targets = self.parts(batch)
                except ArgumentsError as error:  # of arguments of the data, which the hook has not
                    raise UsageError(str(error)) from error
        return on_device(inputs, self.device), on_device(targets, self.device)

    def num_examples(self, inputs: Any, targets: Any) -> int:
        """Return how many examples the batch has that was drawn last."""
        return batch_size(inputs, targets) if self._num_examples is None else self._num_examples

    def _prepare_gate(self, hooks_see_gradients: bool) -> None:
        if self.gate is None:
            return
        if hooks_see_gradients and self.gate.deferred:  # they must see finite ones: from here on, check at once
            self.read_late_checks()
            self.gate.check_at_once(self.optimizer)
        self.gate.before_forward()

    def evaluate(self, batch: Any) -> None:
        """Leave the gradients of the whole batch in the parameters, and its loss in `last_loss`."""
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for parameter in self.parameters:
            parameter.grad = None
        inputs, targets = batch
        num_rows = batch_size(inputs, targets)
        self.last_batch_size = num_rows if self._num_examples is None else self._num_examples
        self.last_grad_norm = None
        self.gradient_evaluations += 1
        if self.options.accumulate == 1:
            self.last_loss = self._backward(inputs, targets, 0, 1.0)
            return
        # Each micro-batch weighs by what its mean is over, so that the sum is the mean over the whole batch.
        parts = min(self.options.accumulate, num_rows)
        micro_batches = split((inputs, targets), parts, num_rows)
        sizes = [batch_size(*micro_batch) for micro_batch in micro_batches]
        with self.calling.loss:
            weights = self.counting.weights([targets for _, targets in micro_batches], sizes)
        pairs = zip(micro_batches, weights, strict=True)
        losses = [self._backward(x, y, micro, weight, 1 / parts) for micro, ((x, y), weight) in enumerate(pairs)]
        self.last_loss = torch.stack(losses).sum()

    def _backward(self, inputs: Any, targets: Any, micro: int, weight: float, share: float = 1.0) -> Tensor:
        if micro:
            self.tell_updates("next_micro_batch")
        self.seed_noise(micro)
        with self.autocast:
            with self.calling.model:
                outputs = self.call(self.forward, inputs, targets)
            if weight == 0.0:  # nothing in it counts; batch norm has seen it all the same
                return torch.zeros_like(self.last_loss)
            with self.calling.loss:
                loss = self.loss(outputs, targets)
        if self.l2 is not None:
            loss = loss + (self.l2() * share if self.counting.is_sum else self.l2())
        if weight != 1.0:
            loss = loss * weight
        if not self._has_seen_graph:
            gradients.check_that_all_is_trained(loss, self.parameters, self.trained)
            self._has_seen_graph = True
        with self.calling.backward:
            short_calls.backward(loss)
        return loss.detach()

    def check_and_clip(self, after_gradients: Callable[[], None] | None) -> None:
        """Let the gate see loss and gradients, measure them, let hooks change them, and clip them.

        Raises:
            NotFinite: the gate does not let them pass.
        """
        found = self._check_finite()
        if self._measures_norm:
            self.last_grad_norm = gradients.norm(found)
        if after_gradients is not None:
            after_gradients()
            gradients.lay_as_weights(self.parameters)
            self._check_finite(by_hook=True)
        is_clipped = gradients.clip(self.parameters, self.options)
        self._version = None if is_clipped or after_gradients is not None or self.needs_closure else found[0]._version

    def _check_finite(self, by_hook: bool = False) -> list[Tensor]:
        found = gradients.present(self.parameters)
        if self.gate is not None and not self.gate.passes(self.last_loss, found):
            raise NotFinite(by_hook)
        return found

    def grad_norm(self) -> Tensor:
        """Return the norm of the gradients of the last step, before hooks and clipping changed them.

        Raises:
            SessionError: they have been changed since, and nobody had asked for their norm.
        """
        if self.last_grad_norm is None:
            found = gradients.present(self.parameters) if self._version is not None else []
            if not found or found[0]._version != self._version:
                raise SessionError(
                    "grad_norm was not measured in this step, and the gradients have been changed since: "
                    "fetch it in `before_run` of a hook, or call run(measures_norm=True)"
                )
            self.last_grad_norm = gradients.norm(found)
        return self.last_grad_norm

    def discard_evaluation(self) -> None:
        """Undo what an evaluation that leads to no update has left behind."""
        if self.gate is not None and not self.gate.deferred:
            self.gate.restore()
        self.tell_updates("discard")
        self.optimizer.zero_grad(set_to_none=True)

    def tell_updates(self, event: str) -> None:
        """Call a method without arguments of each update."""
        for update, calling in zip(self.updates, self.calling.updates, strict=True):
            with calling:
                getattr(update, event)()

    def read_late_checks(self) -> None:
        """Where the gate's checks stay on the device, read those of all steps since the last call.

        From the first bad batch on the optimizer has left the weights alone, so only the counters have to go back.

        Raises:
            DivergedError: one was not.
        """
        if self.gate is not None and self.gate.deferred:
            take_back_late_steps(self, self.gate)

    def initialise(self, init_fn: Callable[[nn.Module], object]) -> None:
        """Let a function set the weights before the first step; averages begin at what it leaves.

        Args:
            init_fn: is given the model.
        """
        init_fn(self.model)
        self.may_be_infinite = op_state.infinite_buffers(self.trained)
        with torch.no_grad():
            self.tell_updates("start")

    def fetch(self, names: Sequence[str]) -> dict[str, Any]:
        """Read values of the step just taken, all in one transfer from the device.

        Args:
            names: `loss`, `grad_norm` (before hooks and clipping), `examples`, `skipped`, `gradient_evaluations`,
                `param:NAME`, or a hyperparameter of the optimizer's first group, such as `lr`.

        Raises:
            SessionError: there is no such value.
        """
        return fetches.fetch(self, names)

    def hyperparameter(self, name: str) -> list[Any]:
        """Return each parameter group's own value of a hyperparameter, whatever is being fed.

        Args:
            name: as in the groups; `betas.0` is the first of several numbers.

        Raises:
            SessionError: a group has nothing of that name.
        """
        try:
            return self.hyperparameters.own(name)
        except KeyError:
            raise fetches.unknown(self, "feed", name) from None

    def seed_noise(self, micro: int = 0) -> None:
        """Put torch's default generator where it belongs before the forward pass of a micro-batch of this step."""
        self._seed_default(self._noise.key(self.batch, micro << 20 | self.options.rank))

    def reseed(self, position: int | None = None) -> None:
        """Put torch's default generator where it belongs before this step, whatever was drawn since the last one.

        Args:
            position: of another batch than that of this step.
        """
        self._seed_default(self._drawing.key(self.batch if position is None else position, self.options.rank))

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on: weights, buffers, optimizer, updates and counters."""
        return op_state.state_dict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned.

        Raises:
            CheckpointError: the state belongs to another model, optimizer or set of updates.
        """
        op_state.load_state_dict(self, state)
        self.unread_checks.clear()
        if self.gate is not None:
            self.gate.forget()
