"""Metric rows for Weights & Biases."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from . import register_hook
from .remote import Params, RemoteHook
from .session_view import BoundSession

log = logging.getLogger("optrun")


@register_hook("wandb", source="Weights & Biases (docs.wandb.ai), wandb.init and Run.log")
class WandbHook(RemoteHook):
    """Send metric rows and final values to Weights & Biases; needs `pip install 'optrun[wandb]'`.

    Without $WANDB_MODE it works offline: nothing leaves the machine until `wandb sync` is told to send the folder
    `wandb` in the run directory. A run that is resumed goes on under the same id. Curves are drawn over `step`; points
    that were sent after the last checkpoint of a killed process are sent again, and are equal.

    Args:
        project: null for $WANDB_PROJECT, or else `optrun`.
        run_name: null for the run directory's name.
        mode: `online`, `offline` or `disabled`; null for $WANDB_MODE, or else `offline`.
        params: what to show as the run's configuration; with `log.to` this is the whole one.

    Raises:
        UsageError: wandb cannot be imported.
    """

    package = "wandb"
    log_to = "wandb"

    def __init__(
        self,
        project: str | None = None,
        run_name: str | None = None,
        mode: Literal["online", "offline", "disabled"] | None = None,
        params: Params | None = None,
    ):
        super().__init__(params)
        self.project, self.run_name, self.mode = project, run_name, mode
        self._run: Any = None

    def _open(self, session: BoundSession) -> bool:
        is_new = self.run_id is None
        run_id = self.run_id or secrets.token_hex(4)
        folder = session.summary_dir
        mode = self.mode or os.environ.get("WANDB_MODE") or "offline"
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._run = self._module.init(
            project=self.project or os.environ.get("WANDB_PROJECT") or "optrun",
            id=run_id,
            name=self.run_name or (folder.name if folder else None),
            dir=str(folder) if folder else None,
            config=self.params,
            mode=mode,
            resume="allow",
            allow_val_change=True,
            reinit="create_new",  # a run that the caller has open is not ours
            settings=self._module.Settings(console="off", silent=True),  # the terminal is in use
        )
        self._run.define_metric("*", step_metric="step")
        self.run_id = run_id
        if mode == "offline":
            log.info("wandb works offline; `wandb sync %s` sends what it has kept", Path(self._run.dir).parent)
        return is_new

    def _missing(self, rows: list[dict[str, Any]], unsent: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return unsent

    def _send(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            self._run.log(row)

    def _finish(self, outcome: str, final: Mapping[str, float], step: int) -> None:
        self._run.summary.update({**final, "outcome": outcome})
        self._run.finish(exit_code=0 if outcome in ("done", "stopped") else 1)
