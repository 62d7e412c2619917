"""The train op: forward, backward, gate, clip, optimizer, extra updates, global step, in this order.

`TrainOp.run` is the page to read; the rest prepares it, answers fetches, and carries its state.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...components.hooks.session_view import Refused
from ...components.updates import Update, make_update
from ...config.sections import Policy
from ...errors import CheckpointError, SessionError, nearest
from ...system import rng
from .batch_source import BatchSource, EndOfData, as_source, num_examples, on_device
from .finite_gate import Gate
from .hyperparameters import Hyperparameters
from .optimizer_state import OptimizerState
from .parts import Part, parts_of
from .penalty import Penalty

Precision = Literal["fp32", "bf16"]


class TrainOp:
    """One step of training, as one callable; make it with `build_train_op`."""

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Any, Any], Tensor],
        optimizer: torch.optim.Optimizer,
        data: BatchSource,
        updates: Sequence[Update],
        *,
        gate: Gate | None,
        accumulate: int,
        clip_norm: float | None,
        clip_value: float | None,
        l2: Penalty | None,
        precision: Precision,
        forward: Callable[[Any], Any],
        device: torch.device,
        seed: int,
        rank: int,
    ):
        self.model, self.loss, self.optimizer, self.data, self.updates = model, loss, optimizer, data, tuple(updates)
        self.gate = gate
        self.accumulate, self.clip_norm, self.clip_value, self.l2 = accumulate, clip_norm, clip_value, l2
        self.precision, self.device, self.rank = precision, device, rank
        self.global_step = 0  # applied updates
        self.batch = 0  # drawn batches, applied or skipped
        self.examples = 0  # in applied updates
        self.skipped = 0
        self.gradient_evaluations = 0  # of whole batches, skipped ones included: what optimizers are charged for
        self._skipped_in_row = 0
        self._forward, self.is_compiled = forward, forward is not model
        self._noise, self._drawing = rng.Stream(seed, "step"), rng.Stream(seed, "draw")
        self._seed_default = rng.default_seeder(device)
        self._autocast = (
            torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
        )
        self.needs_closure = _needs_closure(optimizer)
        self._hyperparameters = Hyperparameters(optimizer)
        self._state = OptimizerState(optimizer, model)
        self._parameters: list[Tensor] = []
        self._num_groups = 0
        self._note_infinite_buffers()
        self._batch_size = 0
        self.refused: Refused | None = None  # the last batch that the gate kept from the weights
        self._unanswered: list[
            tuple[int, Mapping[str, Any]]
        ] = []  # size and feed where a deferred gate owes its answer
        self._loss = torch.full((), float("nan"), device=device)
        self._grad_norm: Tensor | None = None

    def run(self, feed: Mapping[str, Any] | None = None, after_gradients: Callable[[], None] | None = None) -> bool:
        """Take one step; return whether it was applied (False: the batch was skipped).

        Args:
            feed: values that replace the step's own: hyperparameters of the optimizer (`momentum`, `betas.0`), each a
                value or a function of a parameter group's own value; or `batch`.
            after_gradients: called when the gradients are known to be finite, before they are clipped.

        Raises:
            EndOfData: there is no further batch.
            DivergedError: the loss or a gradient is not finite, and the gate does not skip it.
        """
        for update in self.updates:
            update.discard()  # what forward passes outside of a step may have left
        batch = self._draw(feed)
        if self.gate is not None:
            if after_gradients is not None and self.gate.deferred:  # who looks at gradients must see finite ones
                self.ask_gate()
                self.gate.answer_at_once(self.optimizer)
            self.gate.before_forward()
        try:
            if self.needs_closure:
                self._step_by_closure(batch, after_gradients)
            else:
                self._gradients(batch)
                self._prepare(after_gradients)
                self.optimizer.step()
        except _NotFinite as news:
            return self._refuse(batch, feed or {}, news.by_hook)
        except RuntimeError as error:
            if "sparse" in str(error) and any(p.grad is not None and p.grad.is_sparse for p in self._parameters):
                raise SessionError(
                    f"{type(self.optimizer).__name__} does not take this model's sparse gradients: use sparse_adam, or "
                    f"build the embedding with sparse=False ({error})"
                ) from error
            raise
        if self.updates:
            with torch.no_grad():
                for update in self.updates:
                    update.apply()
        self.global_step += 1
        self.batch += 1
        self.examples += self._batch_size
        self._skipped_in_row = 0
        if self.gate is not None and self.gate.deferred:
            self._unanswered.append((self._batch_size, _kept_feed(feed)))
        return True

    def initialise(self, init_fn: Callable[[nn.Module], object]) -> None:
        """Let a function set the weights before the first step; averages begin at what it leaves.

        Args:
            init_fn: is given the model.
        """
        init_fn(self.model)
        self._note_infinite_buffers()
        with torch.no_grad():
            for update in self.updates:
                update.start()

    def ask_gate(self) -> None:
        """Learn whether the steps since the last call were all good, where the gate's answers stay on the device.

        Raises:
            DivergedError: one was not; the weights, and from now on the counters, are those before it.
        """
        if self.gate is None or not self.gate.deferred:
            return
        unanswered, self._unanswered = self._unanswered, []
        num_good = self.gate.num_good_steps()
        if num_good is None:
            return
        self.gate.forget()
        bad = unanswered[num_good:]
        self.global_step -= len(bad)
        self.batch -= len(bad)
        self.examples -= sum(size for size, _ in bad)
        feed = bad[0][1]
        batch = None if "batch" in feed else self._draw(feed)
        self.refused = self._refused(batch, feed, num_late=len(bad) - 1)
        raise self.refused.error

    def parts(self, after_gradients: bool = False) -> list[Part]:
        """List what a step does, in order (see `train_op_parts.parts_of`)."""
        return parts_of(self, after_gradients)

    def fetch(self, names: Sequence[str]) -> dict[str, Any]:
        """Read values of the step just taken, all in one transfer from the device.

        Args:
            names: `loss`, `grad_norm` (before clip_norm, after clip_value), `examples`, `skipped`,
                `gradient_evaluations`, `param:NAME`, or a hyperparameter of the optimizer's first group, such as `lr`.

        Raises:
            SessionError: there is no such value.
        """
        values = {name: self._value(name) for name in names}
        scalars = {name: value for name, value in values.items() if isinstance(value, Tensor) and value.dim() == 0}
        if len(scalars) > 1:
            numbers = torch.stack([value.detach().double() for value in scalars.values()]).tolist()
            return values | dict(zip(scalars, numbers, strict=True))
        return values | {name: value.item() for name, value in scalars.items()}

    def reseed(self) -> None:
        """Put torch's default generator where it belongs before this step, whatever was drawn since the last one."""
        self._seed_default(self._drawing.key(self.batch, self.rank))

    def _draw(self, feed: Mapping[str, Any] | None) -> Any:
        self._feed(feed or {})
        batch = feed.get("batch") if feed else None
        if batch is None:
            self.reseed()  # for data that draws
            try:
                batch = self.data.batch(self.batch)
            except IndexError:
                ends = getattr(self.data, "num_batches", None)
                if ends is None or self.batch < ends:
                    raise
                raise EndOfData(f"the data ends after {self.batch} batches") from None
        inputs, targets = batch
        return on_device(inputs, self.device), on_device(targets, self.device)

    def _gradients(self, batch: Any) -> None:
        """Leave the gradients of the whole batch in the parameters, and its loss in self._loss."""
        if self._num_groups != len(self.optimizer.param_groups):
            self._parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
            self._num_groups = len(self.optimizer.param_groups)
        for parameter in self._parameters:
            parameter.grad = None
        inputs, targets = batch
        self._batch_size = num_examples(targets)
        self._grad_norm = None
        self.gradient_evaluations += 1
        if self.accumulate == 1:
            self._loss = self._backward(inputs, targets, 0, 1.0)
            return
        # Each micro-batch counts by its number of examples, so that the sum is the mean over the whole batch.
        parts = min(self.accumulate, self._batch_size)
        pairs = zip(inputs.tensor_split(parts), targets.tensor_split(parts), strict=True)
        losses = [self._backward(x, y, micro, len(y) / self._batch_size) for micro, (x, y) in enumerate(pairs)]
        self._loss = torch.stack(losses).sum()

    def _backward(self, inputs: Any, targets: Any, micro: int, weight: float) -> Tensor:
        self._seed_default(self._noise.key(self.batch, micro << 20 | self.rank))
        with self._autocast:
            loss = self.loss(self._forward(inputs), targets)
        if self.l2 is not None:
            loss = loss + self.l2()
        if weight != 1.0:
            loss = loss * weight
        loss.backward()
        return loss.detach()

    def _prepare(self, after_gradients: Callable[[], None] | None) -> None:
        """Let the gate see the gradients, hooks change them, and clip them."""
        self._check_finite()
        if after_gradients is not None:
            after_gradients()
            self._check_finite(by_hook=True)
        if self.clip_norm is not None:
            self._grad_norm = self._dense_only(nn.utils.clip_grad_norm_, self._parameters, self.clip_norm)
        if self.clip_value is not None:
            self._dense_only(nn.utils.clip_grad_value_, self._parameters, self.clip_value)

    def _check_finite(self, by_hook: bool = False) -> None:
        gradients = self._present_gradients()
        if self.gate is not None and not self.gate.passes(self._loss, gradients):
            raise _NotFinite(by_hook)

    def _step_by_closure(self, batch: Any, after_gradients: Callable[[], None] | None) -> None:
        """Let an optimizer evaluate the batch as often as it wants; the gate stands inside.

        What the model and the updates note of a batch, such as its statistics in batch norm, they note once, in the
        first evaluation. An optimizer that is not done when an evaluation is not finite has moved the weights: they,
        and its state, are put back, unless it does so itself (`undoes_itself`).
        """
        undo = None if getattr(self.optimizer, "undoes_itself", False) else self._undo_step()
        first_loss: list[Tensor] = []
        buffers: dict[str, Tensor] = {}

        def evaluate() -> Tensor:
            if first_loss and not buffers:
                buffers.update((name, buffer.clone()) for name, buffer in self.model.named_buffers())
            with torch.enable_grad():
                for update in self.updates:
                    if first_loss:
                        update.repeat()
                    else:
                        update.discard()
                self._gradients(batch)
                self._prepare(after_gradients if not first_loss else None)
            first_loss.append(self._loss)
            return self._loss

        try:
            self.optimizer.step(evaluate)  # type: ignore[arg-type] (torch says float; its own examples give tensors)
        except _NotFinite:
            if undo is not None:
                undo()
            raise
        self._loss = first_loss[0]
        with torch.no_grad():
            for name, buffer in self.model.named_buffers():
                if name in buffers:
                    buffer.copy_(buffers[name])

    def _undo_step(self) -> Callable[[], None]:
        """Return a function that puts weights and optimizer state back to where they are now."""
        weights = [(p, p.detach().clone()) for group in self.optimizer.param_groups for p in group["params"]]
        state = copy.deepcopy(self._state.state_dict()) if self.gate is not None else None

        def undo() -> None:
            with torch.no_grad():
                for parameter, value in weights:
                    parameter.copy_(value)
            if state is not None:
                self._state.load_state_dict(state)

        return undo

    def _present_gradients(self) -> list[Tensor]:
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if not gradients:
            raise SessionError("no trainable parameter of the optimizer has a gradient: does the loss depend on them?")
        return gradients

    def repeat(self, refused: Refused, see: Callable[[str, Tensor], None]) -> None:
        """Evaluate a refused batch again, as it was evaluated then, for those who watch the model; nothing changes.

        Args:
            refused: of this train op, whose weights are still those of `refused.step`; with a batch.
            see: is given each tensor of the loss, by name: `loss`, and `l2 penalty` where there is one.
        """
        gate, replaced = self.gate, {name: getattr(self, name) for name in (*_COUNTERS, *_REPLACED)}
        assert gate is not None
        undo = self._undo_step() if self.needs_closure else None
        loss, l2 = self.loss, self.l2
        self.batch, self._forward = refused.position, self.model
        self.loss = lambda outputs, targets: _seen("loss", loss(outputs, targets), see)
        self.l2 = l2 and (lambda: _seen("l2 penalty", l2(), see))  # type: ignore[assignment] (it is called, no more)
        self._feed({name: value for name, value in refused.feed.items() if name != "batch"})
        gate.before_forward()
        try:
            if self.needs_closure:
                with contextlib.suppress(_NotFinite):
                    self._step_by_closure(refused.batch, None)
            else:
                self._gradients(refused.batch)
        finally:
            if undo is not None:
                undo()
            vars(self).update(replaced)
            self._feed({})
            self._discard(gate)

    def _refused(
        self, batch: Any, feed: Mapping[str, Any], by_hook: bool = False, num_late: int | None = None
    ) -> Refused:
        assert self.gate is not None
        is_late = num_late is not None
        reason = self.gate.reason(None if is_late else self._loss)
        return Refused(
            error=self.gate.failure(reason, self.batch, self.global_step),
            reason=reason,
            position=self.batch,
            step=self.global_step,
            batch=batch,
            feed=_kept_feed(feed),
            rates=tuple(float(group["lr"]) for group in self.optimizer.param_groups if "lr" in group),
            is_fed="batch" in feed,
            by_hook=by_hook,
            num_late=num_late or 0,
            is_whole=not (is_late and any(True for _ in self.model.buffers())),
        )

    def _discard(self, gate: Gate) -> None:
        """Undo what evaluations that lead to no update have left behind."""
        if not gate.deferred:
            gate.restore()
        for update in self.updates:
            update.discard()
        self.optimizer.zero_grad(set_to_none=True)

    def _refuse(self, batch: Any, feed: Mapping[str, Any], by_hook: bool) -> bool:
        gate = self.gate
        assert gate is not None
        self.refused = self._refused(batch, feed, by_hook)
        failure = self.refused.error
        self._discard(gate)
        if gate.policy != "skip":
            raise failure
        self._skipped_in_row += 1
        if self._skipped_in_row > gate.max_skips:
            failure.add_note(f"{gate.max_skips} batches in a row had been skipped before")
            raise failure
        self.batch += 1
        self.skipped += 1
        return False

    def _feed(self, feed: Mapping[str, Any]) -> None:
        try:
            self._hyperparameters.feed(feed)
        except KeyError as error:
            raise SessionError(self._unknown("feed", error.args[0])) from None

    def hyperparameter(self, name: str) -> list[Any]:
        """Return each parameter group's own value of a hyperparameter, whatever is being fed.

        Args:
            name: as in the groups; `betas.0` is the first of several numbers.

        Raises:
            SessionError: a group has nothing of that name.
        """
        try:
            return self._hyperparameters.own(name)
        except KeyError:
            raise SessionError(self._unknown("feed", name)) from None

    def _dense_only(self, function: Callable[..., Any], *args: Any) -> Any:
        try:
            return function(*args)
        except NotImplementedError as error:
            raise SessionError(f"{function.__name__} cannot work on sparse gradients: leave clipping out") from error

    def _value(self, name: str) -> Any:
        if name == "loss":
            return self._loss
        if name == "grad_norm":
            if self._grad_norm is None:
                self._grad_norm = self._dense_only(nn.utils.get_total_norm, self._present_gradients())
            return self._grad_norm
        if name in _COMPUTED:
            return getattr(self, name)
        if name.startswith("param:"):
            with contextlib.suppress(AttributeError):
                return self.model.get_parameter(name.removeprefix("param:")).detach()
        elif name in self._hyperparameters:
            return self._hyperparameters[name]
        raise SessionError(self._unknown("fetch", name))

    def check_fetches(self, names: Sequence[str]) -> None:
        """Refuse names that `fetch` would refuse, before a step is taken for them.

        Raises:
            SessionError: there is no such value.
        """
        parameters = {f"param:{name}" for name, _ in self.model.named_parameters()}
        for name in names:
            if name not in (*_COMPUTED, *parameters) and name not in self._hyperparameters:
                raise SessionError(self._unknown("fetch", name))

    def _unknown(self, verb: str, name: str) -> str:
        known = self._hyperparameters.names()
        known += ["batch"] if verb == "feed" else _COMPUTED
        known += [f"param:{key}" for key, _ in self.model.named_parameters()] if verb == "fetch" else []
        guess = nearest(name, known)
        return f"nothing to {verb} is called '{name}'." + (f" Did you mean '{guess}'?" if guess else f" Known: {known}")

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on: weights, buffers, optimizer, updates and counters."""
        self._feed({})
        return {
            "model": dict(self.model.state_dict()),
            "optimizer": self._state.state_dict(),
            "updates": [{"kind": type(update).__name__, "state": update.state_dict()} for update in self.updates],
            "counters": {name: getattr(self, name) for name in _COUNTERS},
        }

    def _note_infinite_buffers(self) -> None:
        buffers = self.model.named_buffers()
        self._infinite_buffers = {f"model/{name}" for name, b in buffers if not torch.isfinite(b).all()}

    @property
    def may_be_infinite(self) -> set[str]:
        """Tensors of the state that were infinite from the start, such as masks of attention."""
        return self._infinite_buffers

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned.

        Raises:
            CheckpointError: the state belongs to another model, optimizer or set of updates.
        """
        self._feed({})
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            raise CheckpointError(f"the checkpoint is of another model: {error}") from error
        self._state.load_state_dict(state["optimizer"])
        saved = [update["kind"] for update in state["updates"]]
        here = [type(update).__name__ for update in self.updates]
        if saved != here:
            raise CheckpointError(f"the checkpoint has the extra updates {saved}, the train op has {here}")
        for update, saved_update in zip(self.updates, state["updates"], strict=True):
            update.discard()
            try:
                update.load_state_dict(saved_update["state"])
            except (KeyError, RuntimeError) as error:
                kind = saved_update["kind"]
                raise CheckpointError(f"the state of {kind} in the checkpoint does not fit: {error!r}") from error
        for name in _COUNTERS:
            setattr(self, name, state["counters"][name])
        self._unanswered.clear()
        if self.gate is not None:
            self.gate.forget()


class _NotFinite(Exception):
    """News on its way to the gate's policy."""

    def __init__(self, by_hook: bool):
        super().__init__()
        self.by_hook = by_hook


def _kept_feed(feed: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return a feed without the tensors of a batch, which would fill the device."""
    return {**feed, "batch": None} if feed and "batch" in feed else feed or {}


def _seen(name: str, value: Tensor, see: Callable[[str, Tensor], None]) -> Tensor:
    see(name, value)
    return value


_COMPUTED = ["loss", "grad_norm", "examples", "skipped", "gradient_evaluations"]
_COUNTERS = ("global_step", "batch", "examples", "skipped", "gradient_evaluations", "_skipped_in_row")
_REPLACED = ("loss", "l2", "_forward", "_loss", "_grad_norm", "_batch_size")  # while a batch is evaluated again


def build_train_op(
    model: nn.Module,
    loss: Callable[[Any, Any], Tensor],
    optimizer: torch.optim.Optimizer,
    data: BatchSource | Sequence[Any],
    updates: Sequence[Update | str | Callable[..., Any]] = (),
    *,
    accumulate: int = 1,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    l2: float | Mapping[str, Any] | Penalty | None = None,
    on_nan: Policy | None = "raise",
    loss_above: float | None = None,
    precision: Precision = "fp32",
    compile: bool = False,
    seed: int = 0,
    rank: int = 0,
) -> TrainOp:
    """Group gradients, gate, clipping, the optimizer and extra updates into one train op.

    Args:
        model: called on a batch's inputs.
        loss: (outputs, targets) -> scalar, the mean over the examples.
        optimizer: over the model's trainable parameters.
        data: an object with `batch(position)`, or a finite sequence of (inputs, targets).
        updates: extra updates, made or by name: `["tf_batch_norm", "ema"]`.
        accumulate: micro-batches per batch; gradients are weighted by their numbers of examples.
        clip_norm: largest global L2 norm of the gradients, or None.
        clip_value: largest absolute value of a gradient's entry, or None.
        l2: a penalty that is part of the loss, rate * Σ w² / 2: a rate for all trainable parameters, or
            `{rate, include, exclude}` with selectors as in an optimizer's weight decay. Unlike weight decay it shows in
            the loss.
        on_nan: the gate's policy, `raise`, `stop` or `skip`; None leaves the gate out.
        loss_above: the gate also stops a finite loss above this.
        precision: `bf16` runs forward and loss under autocast; weights stay float32.
        compile: run the forward pass through torch.compile.
        seed: of dropout and other noise inside the model, together with the batch's number.
        rank: of this process; other ranks draw other noise.

    Raises:
        SessionError: a value that cannot work.
    """
    _check_options(accumulate, clip_norm, clip_value, l2, precision, on_nan, loss_above)
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    gate = Gate(model, on_nan, loss_above) if on_nan is not None else None
    # Updates would follow a step that did not happen, and an optimizer with a closure has moved the weights by then.
    if gate is not None and device.type == "cuda" and not updates and not _needs_closure(optimizer):
        gate.defer(optimizer)
    return TrainOp(
        model,
        loss,
        optimizer,
        as_source(data),
        [make_update(update, model) for update in updates],
        gate=gate,
        accumulate=accumulate,
        clip_norm=clip_norm,
        clip_value=clip_value,
        l2=Penalty.of(l2, model) if isinstance(l2, float | int | Mapping) else l2,
        precision=precision,
        forward=torch.compile(model) if compile else model,  # type: ignore[arg-type]
        device=device,
        seed=seed,
        rank=rank,
    )


def _check_options(
    accumulate: int,
    clip_norm: float | None,
    clip_value: float | None,
    l2: float | Mapping[str, Any] | Penalty | None,
    precision: str,
    on_nan: str | None,
    loss_above: float | None,
) -> None:
    rate = l2["rate"] if isinstance(l2, Mapping) else l2 if isinstance(l2, float | int) else None
    for name, value in {"clip_norm": clip_norm, "clip_value": clip_value, "l2": rate}.items():
        if value is not None and not value > 0:
            raise SessionError(f"{name} must be greater than 0, got {value!r}")
    if accumulate < 1:
        raise SessionError(f"accumulate must be at least 1, got {accumulate!r}")
    if precision not in ("fp32", "bf16"):
        raise SessionError(f"no precision '{precision}': use fp32 or bf16")
    if on_nan is None and loss_above is not None:
        raise SessionError("loss_above is the gate's business: give it an on_nan policy as well")


def _needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Tell whether an optimizer cannot step without evaluating the batch itself."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")  # one of the user's own may take none
    return closure is not None and closure.default is inspect.Parameter.empty
