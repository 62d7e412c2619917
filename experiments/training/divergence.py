"""The evidence of a divergence, kept: the batch that the gate refused, and the state that met it.

diverged/batch-<number>.safetensors           inputs and targets of the batch, or the indices of its examples
diverged/step-<step>-<SHA-256>.safetensors    the state before it, as a checkpoint that no run goes on from by itself
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ..components.data.tree import plain
from ..components.hooks.hook import Hook, Phase
from ..components.hooks.session_view import Refused, SessionView, StepView
from ..errors import DivergedError, UsageError
from ..run_directory.checkpoint_files import list_checkpoints
from ..run_directory.run_dir import RunDir
from ..run_directory.state_tree import flatten_state
from ..system import storage
from ..system.json_text import encode_json
from .investigation import investigate
from .step.train_op import TrainOp

log = logging.getLogger("optrun")

MAX_BYTES = 4 << 20  # a larger batch is kept by the indices of its examples
MAX_SKIPPED = 10  # skipped batches that are kept, in each process
_ABOUT_BATCHES = (
    "data", "hooks", "loss", "model", "seed", "stop.loss_above", "stop.on_nan", "train.accumulate", "train.compile",
    "train.device", "train.l2", "train.precision", "updates",
)  # fmt: skip


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
    only_reads = True

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


def _storable(train_op: TrainOp, refused: Refused) -> tuple[dict[str, Tensor], Any]:
    """Return what is kept of a batch: its tensors and their structure, or where it is too large, its indices."""
    if refused.batch is not None:
        inputs, targets = refused.batch
        try:
            (tensors, of_inputs), (more, of_targets) = (
                flatten_state("inputs", plain(inputs)),
                flatten_state("targets", plain(targets)),
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
