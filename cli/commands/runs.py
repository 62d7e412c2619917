"""`optrun runs`: what is on disk."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

import click

from ...experiments.errors import DataError, NothingMatchedError, UsageError, unknown_name
from ...experiments.system.places import shown
from .. import command as shared
from ..terminal.console import result, result_json

_DAMAGED = "damaged"


@shared.command(
    "runs",
    section="Read",
    examples="""
    optrun runs  # all runs here, oldest first
    optrun runs --status interrupted
    optrun runs mom -n 5  # the latest five with `mom` in the name
    optrun runs --group compare-sgd  # those of one comparison
    optrun runs --json | jq -r '.runs[].name'
    """,
)
@click.argument("pattern", default="")
@click.option("--status", help="Only runs that are running, done, stopped, interrupted, diverged or failed.")
@click.option("--group", metavar="NAME", help="Only runs of the comparison or sweep of that name.")
@click.option("-n", "--last", type=click.IntRange(min=1), help="Only so many of the latest.")
@shared.json_option
def command(pattern: str, status: str | None, group: str | None, last: int | None, as_json: bool) -> None:
    """List runs; PATTERN is a part of the name.

    Those of a comparison or sweep stand below its name.
    """
    from ...experiments.run_directory.lookup import find_runs, group_name
    from ...experiments.run_directory.run_dir import State, default_root
    from ..texts.runs_table import runs_table

    states = (*get_args(State), _DAMAGED)
    if status is not None and status not in states:
        raise UsageError(unknown_name("status", status, states))
    names = {run: group_name(run) for run in find_runs()}
    if group is not None:
        wanted = _group(group, names.values())
        names = {run: name for run, name in names.items() if name == wanted}
    rows = [_facts(run, name) for run, name in names.items() if pattern in f"{name or ''}/{run.path.name}"]
    rows = _in_order([row for row in rows if status in (None, row["status"])])
    rows = rows[-last:] if last else rows
    if not rows:
        wanted = f"no runs in {shown(default_root())}/" + (f" have '{pattern}' in their names" if pattern else "")
        raise NothingMatchedError(f"{wanted}{f' with status {status}' if status else ''}; `optrun train` makes one")
    if as_json:
        result_json("optrun/runs@1", root=str(default_root()), runs=rows)
    else:
        result(runs_table(rows))


def _group(wanted: str, names: Iterable[str | None]) -> str:
    """Return the name of the group that is meant, in full."""
    from ...experiments.run_directory.lookup import choose

    known = sorted({name for name in names if name is not None})
    found = choose(wanted, known, "groups", min_prefix=0)
    if found is None:
        raise NothingMatchedError(unknown_name("group", wanted, known))
    return found


def _in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort the runs by when they started, those of a group together, where its latest one belongs."""
    latest: dict[str, str] = {}
    for row in rows:
        row["started"] = row["started"] or ""
        if row["group"]:
            latest[row["group"]] = max(latest.get(row["group"], ""), row["started"])
    return sorted(rows, key=lambda row: (latest.get(row["group"], row["started"]), row["group"] or "", row["started"]))


def _facts(run_dir: Any, group: str | None) -> dict[str, Any]:
    """Return what the list says of a run; a damaged one is listed as such, and hides no other."""
    from ...experiments.run_directory.final_values import not_finite
    from ...experiments.run_directory.run import Run

    try:
        run = Run(run_dir)
        status, summary = run.status, run.summary
        config = summary.get("config", {})
        optimizer = config.get("optimizer", {})
    except DataError:
        status, summary, config, optimizer = {"state": _DAMAGED}, {}, {}, {}
    return {
        "name": run_dir.path.name,
        "group": group,
        "path": shown(run_dir.path),
        "status": status.get("state"),
        "optimizer": optimizer.get("name"),
        "lr": optimizer.get("lr"),
        "seed": config.get("seed"),
        "steps": summary.get("steps", status.get("step")),
        "train_secs": summary.get("train_secs"),
        "final": summary.get("final", {}),
        "not_finite": not_finite(summary),
        "best": summary.get("best"),
        "curve": summary.get("curve", []),
        "started": status.get("started"),
    }
