"""The cause of a divergence: the batch that the gate refused, kept, and the first tensor in it that was not finite.

diverged/batch-<number>.safetensors           inputs and targets of the batch, or the indices of its examples
diverged/step-<step>-<SHA-256>.safetensors    the state before it, as a checkpoint that no run goes on from by itself
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ..components.data.tree import num_examples
from ..components.hooks.hook import Hook, Phase
from ..components.hooks.session_view import Refused, SessionView, StepView
from ..components.trained import Trained
from ..errors import DivergedError, UsageError
from ..run_directory.checkpoint_files import list_checkpoints
from ..run_directory.run_dir import RunDir
from ..run_directory.state_tree import flatten_state
from ..system import storage
from ..system.json_text import encode_json
from ..system.raised import refusing_exits, type_and_text
from .step.op_state import tensor_name
from .step.replay import evaluate_again
from .step.train_op import TrainOp

log = logging.getLogger("optrun")

MAX_BYTES = 4 << 20  # a larger batch is kept by the indices of its examples
MAX_SKIPPED = 10  # skipped batches that are kept, in each process
_MAX_TRAIL = 100
_ABOUT_BATCHES = (
    "data", "hooks", "loss", "model", "seed", "stop.loss_above", "stop.on_nan", "train.accumulate", "train.compile",
    "train.device", "train.l2", "train.precision", "updates",
)  # fmt: skip


@dataclass(frozen=True)
class BadTensor:
    """A tensor that was not finite.

    Args:
        name: what it is: `inputs`, `weight fc.bias`, `output of blocks.1.conv`, `loss`, `gradient of fc.bias`.
        kind: `nan`, `inf`, or `nan and inf`.
        num_bad: how many of its values are not finite.
        num_values: how many it has.
        evaluation: of the batch, from 1; optimizers such as L-BFGS evaluate it more than once in a step.
        micro_batch: from 1; None where the batch is not accumulated.
    """

    name: str
    kind: str
    num_bad: int
    num_values: int
    evaluation: int = 1
    micro_batch: int | None = None

    def __str__(self) -> str:
        share = f", {self.num_bad} of {self.num_values} values" if self.num_values > 1 else ""
        return f"{self.name} ({self.kind}{share})"


class DivergenceHook(Hook):
    """Keep what shows why a session diverged, in a folder of its own.

    Args:
        folder: made when the first batch is refused.
        seed: of the run, for the record.

    Attributes:
        facts: what `summary.json` says of it; None unless the session diverged.
    """

    phase = Phase.PERSIST
    chief_only = True

    def __init__(self, folder: Path, seed: int):
        self.folder, self.seed = folder, seed
        self.facts: dict[str, Any] | None = None
        self._num_skipped = 0

    def end(self, session: SessionView, outcome: str) -> None:
        train_op = session.train_op
        if outcome != "diverged" or train_op is None:
            return
        assert isinstance(train_op, TrainOp)
        refused = train_op.refused
        if refused is None or refused.error is not session.error:  # weights that were not finite when they were saved
            refused = None
        self.facts = investigate(train_op, refused)
        if refused is not None:
            self.facts["batch_file"] = self._keep(train_op, refused, self.facts)
        self.facts["checkpoint"] = self._save_aside(session)

    def after_skip(self, ctx: StepView, refused: Refused) -> None:
        if self._num_skipped == MAX_SKIPPED:
            return
        self._num_skipped += 1
        train_op = ctx.train_op
        assert isinstance(train_op, TrainOp)
        facts = investigate(train_op, refused)
        name = self._keep(train_op, refused, facts)
        first = f"; first not finite: {facts['first_bad']}" if facts["first_bad"] else ""
        log.warning("batch %d skipped: %s%s; kept as %s", refused.position, refused.reason, first, name)
        if self._num_skipped == MAX_SKIPPED:
            log.warning("further skipped batches are counted, but not kept")

    def _keep(self, train_op: TrainOp, refused: Refused, facts: dict[str, Any]) -> str:
        """Write the batch, and return its file's name below the folder's parent."""
        tensors, structure = _storable(train_op, refused)
        record = {"schema": "optrun/diverged-batch@1", **facts, "seed": self.seed, "structure": structure}
        path = self.folder / f"batch-{refused.position}.safetensors"
        storage.make_dir(self.folder, exist_ok=True)
        storage.write_atomic(path, safetensors.torch.save(tensors, {"optrun": encode_json(record).decode()}))
        return f"{self.folder.name}/{path.name}"

    def _save_aside(self, session: SessionView) -> str | None:
        """Save the state that met the batch, unless it is saved already or not good; return its file's name."""
        if session.checkpoint_dir is None or not session.is_whole or session.step == 0:
            return None
        for file in list_checkpoints(session.checkpoint_dir):
            if file.step == session.step:
                return f"{session.checkpoint_dir.name}/{file.path.name}"
        try:
            return f"{self.folder.name}/{session.save_aside(self.folder).name}"
        except DivergedError as error:  # an update by finite gradients has overflowed
            log.warning("the state is not kept: %s", error)
            return None


def choose_start(run_dir: RunDir, changed: Sequence[str]) -> str:
    """Arrange the checkpoints of a run that diverged so that what was changed can make a difference; say what was done.

    The batch that was refused is not finite at the weights that met it, whatever the rate of the step that follows. So
    the run goes on from the checkpoint before, unless the change is one of how a batch is evaluated or what becomes of
    it. What is put aside stays in the folder `diverged`. Called again, after a kill, it does the same.

    Args:
        run_dir: held by this process.
        changed: keys of the configuration.
    """
    facts = (run_dir.read_json("summary.json") or {}).get("diverged") or {}
    step = facts.get("step")
    if step is None:  # a run of an older version
        return f"{run_dir.name} diverged: it goes on from its latest checkpoint"
    elsewhere = (facts["evaluation"] or 1) > 1 or facts["cause"] in ("hook", "unknown")
    if facts["checkpoint"] and (elsewhere or any(key.startswith(_ABOUT_BATCHES) for key in changed)):
        source = run_dir.path / facts["checkpoint"]
        if source.parent == run_dir.diverged_path and source.exists():
            storage.make_dir(run_dir.checkpoints_path, exist_ok=True)
            storage.rename(source, run_dir.checkpoints_path / source.name)
        return f"{run_dir.name} diverged after {step} steps: it goes on from there, with batch {facts['batch']}"
    for file in list_checkpoints(run_dir.checkpoints_path):
        if file.step >= step:
            storage.make_dir(run_dir.diverged_path, exist_ok=True)
            storage.rename(file.path, run_dir.diverged_path / file.path.name)
    left = list_checkpoints(run_dir.checkpoints_path)
    start = f"goes on from step {left[-1].step}, saved before" if left else "starts again: nothing was saved before"
    return f"{run_dir.name} diverged after {step} steps: it {start}"


def investigate(train_op: TrainOp, refused: Refused | None) -> dict[str, Any]:
    """Evaluate a refused batch again, and say which tensors were not finite, in the order in which they arose.

    Args:
        train_op: with the weights that met the batch.
        refused: the batch; None looks at the weights alone.

    Returns:
        Where it was, `first_bad` and what came `then` in words, the `trail` of tensors, and the `cause`: `weights`,
        `batch`, `forward`, `backward`, `hook`, `bound` (stop.loss_above) or `unknown`.
    """
    trail, note = [*_bad_weights(train_op)], None
    if refused is not None:
        trail += [bad for name, value in _parts(refused.batch) for bad in _bad(name, value)]
        try:
            with refusing_exits():
                trail += _repeated(train_op, refused)
        except Exception as error:  # noqa: BLE001 (the user's model, in a run that has failed already)
            note = f"the batch could not be evaluated again: {type_and_text(error)}"
    first = trail[0] if trail else None
    if refused is not None and first is None:
        note = note or _why_nothing_is_bad(refused)
    return {
        "step": train_op.global_step,
        "batch": refused.position if refused else train_op.batch,
        "evaluation": first.evaluation if first else None,
        "micro_batch": next((bad.micro_batch for bad in trail if bad.micro_batch is not None), None),
        "reason": refused.reason if refused else "weights or optimizer state are not finite",
        "rates": list(refused.rates) if refused else [],
        "cause": _cause(refused, first),
        "first_bad": str(first) if first else None,
        "then": _consequences(trail),
        "note": note,
        "trail": [asdict(bad) for bad in trail[:_MAX_TRAIL]],
        "largest_weight": _largest_weight(train_op.trained),
        "batch_file": None,
        "checkpoint": None,
    }


def _why_nothing_is_bad(refused: Refused) -> str | None:
    if refused.by_hook:
        return f"a hook made it so in after_gradients: {refused.reason}"
    if refused.batch is None:
        return "the batch was fed by a hook, and is gone"
    if "stop.loss_above" in refused.reason:
        return None
    return "all was finite when the batch was evaluated again: model, loss or device do not compute the same twice"


def _cause(refused: Refused | None, first: BadTensor | None) -> str:
    if first is None:
        if refused is None:
            return "weights"
        return "hook" if refused.by_hook else "bound" if "stop.loss_above" in refused.reason else "unknown"
    if first.name in ("inputs", "targets") or first.name.startswith(("inputs/", "targets/")):
        return "batch"
    kinds = {"weight": "weights", "buffer": "weights", "gradient": "backward"}
    return kinds.get(first.name.split()[0], "forward")


def _consequences(trail: list[BadTensor]) -> list[str]:
    """Return, of what followed in the same evaluation, the loss and the first gradient of a weight."""
    later = [bad for bad in trail[1:] if bad.evaluation == trail[0].evaluation]
    gradient = "gradient of ", "gradient of the output of "
    loss = next((str(bad) for bad in later if bad.name == "loss"), None)
    weight = next(
        (str(b) for b in later if b.name.startswith(gradient[0]) and not b.name.startswith(gradient[1])), None
    )
    return [text for text in (loss, weight) if text]


def _bad_weights(train_op: TrainOp) -> Iterator[BadTensor]:
    for name, parameter in train_op.trained.named_parameters():
        yield from _bad(f"weight {name}", parameter)
    for name, buffer in train_op.trained.named_buffers():
        if tensor_name(train_op.trained, name) not in train_op.may_be_infinite:
            yield from _bad(f"buffer {name}", buffer)


def _largest_weight(trained: Trained) -> dict[str, Any] | None:
    largest = {name: p.detach().abs().max().item() for name, p in trained.named_parameters() if p.numel()}
    name = max(largest, key=lambda name: largest[name], default=None)
    return {"name": name, "value": largest[name]} if name is not None else None


def _repeated(train_op: TrainOp, refused: Refused) -> list[BadTensor]:
    """Evaluate the batch with an eye on every module's output, the loss, and every gradient."""
    if refused.batch is None:
        return []
    watch = _Watch(min(train_op.options.accumulate, num_examples(refused.batch[1])))
    with contextlib.ExitStack() as watching:
        for handle in watch.attach(train_op.trained):
            watching.callback(handle.remove)
        evaluate_again(train_op, refused, watch.see)
    return watch.trail


class _Watch:
    """Notes each tensor that is not finite once, in the order in which they arise.

    Args:
        num_parts: micro-batches of one evaluation.
    """

    def __init__(self, num_parts: int):
        self.trail: list[BadTensor] = []
        self._num_parts = num_parts
        self._num_forward = 0
        self._seen: set[str] = set()

    def attach(self, trained: Trained) -> Iterator[Any]:
        """Begin to look, and yield the handles that end it."""
        yield trained.model.register_forward_pre_hook(self._began)
        for name, module in trained.model.named_modules():
            label = name or "the model"
            yield module.register_forward_hook(lambda _, args, output, label=label: self._saw_output(label, output))
        for name, parameter in trained.named_parameters():
            if parameter.requires_grad:
                yield parameter.register_post_accumulate_grad_hook(
                    lambda parameter, name=name: self.see(f"gradient of {name}", parameter.grad)
                )

    def see(self, name: str, value: Any) -> None:
        """Look at a tensor; `evaluate_again` calls this as well."""
        if name in self._seen or value is None:
            return
        evaluation, micro_batch = divmod(max(self._num_forward - 1, 0), self._num_parts)
        number = micro_batch + 1 if self._num_parts > 1 else None
        for bad in _bad(name, value, evaluation + 1, number):
            self._seen.add(name)
            self.trail.append(bad)

    def _began(self, module: Any, args: Any) -> None:
        self._num_forward += 1

    def _saw_output(self, label: str, output: Any) -> None:
        for _, tensor in _parts((output, None)):
            self.see(f"output of {label}", tensor)
            if tensor.requires_grad:
                tensor.register_hook(lambda gradient: self.see(f"gradient of the output of {label}", gradient))


def _parts(batch: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors in inputs and targets, with where they are: `inputs`, `inputs/mask`, `targets/0`."""
    for name, value in zip(("inputs", "targets"), batch or (), strict=False):
        yield from _tensors(name, value)


def _tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _tensors(f"{name}/{key}", item)
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from _tensors(f"{name}/{index}", item)


def _bad(name: str, tensor: Tensor, evaluation: int = 1, micro_batch: int | None = None) -> Iterator[BadTensor]:
    values = tensor.detach()
    if values.layout == torch.sparse_coo:
        values = values.coalesce().values()
    if values.layout != torch.strided or not (values.is_floating_point() or values.is_complex()):
        return
    values = values.float() if values.element_size() == 1 else values  # float8 has no isfinite
    num_bad = values.numel() - int(torch.isfinite(values).sum())
    if num_bad:
        num_nan = int(torch.isnan(values).sum())
        kind = "inf" if num_nan == 0 else "nan" if num_nan == num_bad else "nan and inf"
        yield BadTensor(name, kind, num_bad, values.numel(), evaluation, micro_batch)


def _storable(train_op: TrainOp, refused: Refused) -> tuple[dict[str, Tensor], Any]:
    """Return what is kept of a batch: its tensors and their structure, or where it is too large, its indices."""
    if refused.batch is not None:
        inputs, targets = refused.batch
        try:
            (tensors, of_inputs), (more, of_targets) = (
                flatten_state("inputs", inputs),
                flatten_state("targets", targets),
            )
        except UsageError:
            tensors, more, of_inputs, of_targets = {}, {}, None, None
        tensors = {**tensors, **more}
        num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        if tensors and num_bytes <= MAX_BYTES and all(t.layout == torch.strided for t in tensors.values()):
            kept = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
            return kept, {"inputs": of_inputs, "targets": of_targets}
    indices = getattr(train_op.data, "indices", None)
    return ({"indices": indices(refused.position).cpu()} if indices and not refused.is_fed else {}), None
