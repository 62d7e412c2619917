"""`optrun runs`: what is on disk."""

from __future__ import annotations

from typing import Any

import click

from .. import command as shared

_HEADER = ["run", "status", "optimizer", "steps", "secs", "result", "curve"]
_NUMBERS = {3, 4}  # columns aligned to the right
_DAMAGED = "damaged"


@shared.command(
    "runs",
    section="Read",
    examples="""
    optrun runs  # all runs here, oldest first
    optrun runs --status interrupted
    optrun runs mom -n 5  # the latest five with `mom` in their names
    optrun runs --json | jq -r '.runs[].name'
    """,
)
@click.argument("pattern", default="")
@click.option("--status", help="Only runs that are running, done, stopped, interrupted, diverged or failed.")
@click.option("-n", "--last", type=click.IntRange(min=1), help="Only so many of the latest.")
@shared.json_option
def command(pattern: str, status: str | None, last: int | None, as_json: bool) -> None:
    """List runs; PATTERN is a part of the name."""
    from typing import get_args

    from ...experiments.errors import NothingMatchedError, UsageError, unknown_name
    from ...experiments.run_dir import State, default_root
    from ...experiments.run_lookup import find_runs
    from ..console import result, result_json

    states = (*get_args(State), _DAMAGED)
    if status is not None and status not in states:
        raise UsageError(unknown_name("status", status, states))
    rows = [_facts(run) for run in find_runs() if pattern in run.path.name]
    rows = sorted((row for row in rows if status in (None, row["status"])), key=lambda row: row["started"] or "")
    rows = rows[-last:] if last else rows
    if not rows:
        wanted = f"no runs in {default_root()}/" + (f" have '{pattern}' in their names" if pattern else "")
        raise NothingMatchedError(f"{wanted}{f' with status {status}' if status else ''}; `optrun train` makes one")
    if as_json:
        result_json("optrun/runs@1", root=str(default_root()), runs=rows)
    else:
        result(_table(rows))


def _facts(run_dir: Any) -> dict[str, Any]:
    """Return what the list says of a run; a damaged one is listed as such, and hides no other."""
    from ...experiments.errors import DataError
    from ...experiments.run import Run

    try:
        run = Run(run_dir)
        status, summary = run.status, run.summary
        config = summary.get("config", {})
        optimizer = config.get("optimizer", {})
    except DataError:
        status, summary, config, optimizer = {"state": _DAMAGED}, {}, {}, {}
    return {
        "name": run_dir.path.name,
        "path": str(run_dir.path),
        "status": status.get("state"),
        "optimizer": optimizer.get("name"),
        "lr": optimizer.get("lr"),
        "seed": config.get("seed"),
        "steps": summary.get("steps", status.get("step")),
        "train_secs": summary.get("train_secs"),
        "final": summary.get("final", {}),
        "best": summary.get("best"),
        "curve": summary.get("curve", []),
        "started": status.get("started"),
    }


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """Lay the runs out; where the terminal is too narrow, the curves go first, then the seconds."""
    import sys

    from ..console import columns, table

    cells = [_HEADER, *(_cells(row) for row in rows)]
    for dropped in ([], ["curve"], ["curve", "secs"]):
        kept = [index for index, name in enumerate(_HEADER) if name not in dropped]
        lines = table([[row[index] for index in kept] for row in cells], {kept.index(i) for i in _NUMBERS if i in kept})
        if max(map(len, lines)) <= columns(sys.stdout):
            break
    return lines


def _cells(row: dict[str, Any]) -> list[str]:
    import sys

    from ..charts import figure, sparkline
    from ..streams import is_utf8

    final = row["final"]
    name = next((name for name in final if name.startswith("test/") and name != "test/loss"), next(iter(final), None))
    optimizer = (row["optimizer"] or "").rpartition(":")[2]
    return [
        row["name"],
        row["status"] or "unknown",
        f"{optimizer} {row['lr']:g}" if row["lr"] is not None else optimizer,
        "" if row["steps"] is None else str(row["steps"]),
        "" if row["train_secs"] is None else f"{row['train_secs']:.1f}",
        f"{name} {figure(final[name])}" if name else "",
        sparkline(row["curve"], 10, is_utf8(sys.stdout)),
    ]
