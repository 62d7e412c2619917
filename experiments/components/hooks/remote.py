"""The common part of the writers to experiment trackers."""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from ...config.yaml_text import flow
from ...errors import OptrunError, StorageError, UsageError
from ...system.json_text import encode_json
from ...system.raised import type_and_text
from .hook import Hook, Phase
from .session_view import BoundSession, SessionView

log = logging.getLogger("optrun")

_ROWS_AT_ONCE = 100

Params = dict[str, str | bool | int | float]  # in Python also mappings of these


class RemoteHook(Hook):
    """Sends metric rows to a tracker, as they are written; a run that is resumed goes on with the same remote run.

    A tracker that cannot be reached at the start is an error. One that fails later ends no training: rows wait from
    then on, with one warning, for a last attempt at the end.

    Raises:
        UsageError: the tracker's package is not installed, or fails when it is imported.
    """

    chief_only = True
    phase = Phase.PERSIST  # last, so that at the end all final values are there
    package: ClassVar[str]  # as imported, and as the extra of optrun is called

    def __init__(self, params: Params | None):
        try:
            self._module = importlib.import_module(self.package)  # here, since it takes seconds that are no training
        except ImportError as error:
            raise UsageError(
                f"the package {self.package} cannot be imported ({error}): pip install 'optrun[{self.package}]', or "
                f"leave {self.package} out of log.to or hooks"
            ) from error
        self.params = dict(_flat(params or {}))
        self.run_id: str | None = None
        self._is_open = False
        self._failed = False
        self._gone_back = False
        self._pending: list[dict[str, Any]] = []

    # ---- what a tracker does its own way ---------------------------------------------------------------------------

    def _open(self, session: BoundSession) -> bool:
        """Begin the remote run, or go on with `run_id`; return whether it is new."""
        raise NotImplementedError

    def _missing(self, rows: list[dict[str, Any]], unsent: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return what the remote run lacks, where training has gone back to a checkpoint.

        Args:
            rows: all of the log.
            unsent: those of them that this process has not sent.
        """
        raise NotImplementedError

    def _send(self, rows: list[dict[str, Any]]) -> None:
        """Send rows of numbers, each with its step."""
        raise NotImplementedError

    def _finish(self, outcome: str, final: Mapping[str, float], step: int) -> None:
        """Send the final values and close the remote run."""
        raise NotImplementedError

    # ---- events ----------------------------------------------------------------------------------------------------

    def after_create_session(self, session: BoundSession) -> None:
        if not self._is_open:
            self._connect(session)
        else:  # a recovery has taken rows back; _send_pending finds out what the tracker lacks
            self._pending = [row for row in self._pending if row["step"] <= session.step]
            self._gone_back = True
        if not self._failed:
            self._send_pending()

    def after_row(self, session: SessionView, row: dict[str, Any]) -> None:
        self._pending.append(_numbers(row))
        if not self._failed:
            self._send_pending()

    def _connect(self, session: BoundSession) -> None:
        rows = [_numbers(row) for row in session.rows.rows()]
        try:
            self._pending = rows if self._open(session) else self._missing(rows, [])
        except OptrunError:
            raise
        except Exception as error:  # another package's code may raise anything
            raise StorageError(
                f"{self.package} cannot open its run: {type_and_text(error)}. Is its server there? To train "
                f"without it, leave {self.package} out of log.to or hooks"
            ) from error
        self._is_open, self._rows = True, session.rows

    def end(self, session: SessionView, outcome: str) -> None:
        if not self._is_open:
            return
        self._is_open = False
        if not self._send_pending("rows that were not sent"):
            return  # a tracker may take minutes to give up; once is enough
        final = {name: value for name, value in _numbers(session.final).items() if name != "step"}
        try:
            self._finish(outcome, final, session.step)
        except Exception as error:  # noqa: BLE001 (another package's code may raise anything)
            self._warn(error, "its run could not be closed")

    def state_dict(self) -> dict[str, Any]:
        return {"run_id": self.run_id}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.run_id = state["run_id"] or self.run_id  # a checkpoint of step 0 may be older than the remote run

    # ---- rows ------------------------------------------------------------------------------------------------------

    def _send_pending(self, otherwise: str = "rows that wait for the end of the run") -> bool:
        """Send what there is; return whether that went well."""
        try:
            if self._gone_back:
                self._pending = self._missing([_numbers(row) for row in self._rows.rows()], self._pending)
                self._gone_back = False
            while self._pending:
                self._send(self._pending[:_ROWS_AT_ONCE])
                del self._pending[:_ROWS_AT_ONCE]
        except Exception as error:  # noqa: BLE001 (another package's code may raise anything)
            self._failed = True
            self._warn(error, f"{otherwise}: {len(self._pending)} (metrics.jsonl has all)")
        return not self._pending

    def _warn(self, error: Exception, what: str) -> None:
        log.warning("%s: %s: %s; %s", self.package, type(error).__name__, error, what)


def _flat(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str | bool | int | float]]:
    """Yield what mappings inside mappings hold, by key path; lists become text, nulls are left out."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name}.")
        elif value is not None:
            yield f"{path}{name}", value if isinstance(value, str | bool | int | float) else flow(value)


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of a row as the log has them; trackers take nothing else."""
    plain = json.loads(encode_json(dict(row)))
    return {name: value for name, value in plain.items() if isinstance(value, int | float)}
