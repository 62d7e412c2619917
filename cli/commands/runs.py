"""`optrun runs`: what is on disk."""

from __future__ import annotations

import click

from .. import command as shared


@shared.command(
    "runs",
    section="Read",
    examples="""
    optrun runs                                    all runs here, oldest first
    optrun runs --status interrupted
    optrun runs mom --json | jq -r '.runs[].name'
    """,
)
@click.argument("pattern", default="")
@click.option("--status", help="Only runs that are running, done, stopped, interrupted, diverged or failed.")
@click.option("-n", "--last", type=click.IntRange(min=1), help="Only so many of the latest.")
@shared.json_option
def command(pattern: str, status: str | None, last: int | None, as_json: bool) -> None:
    """List runs; PATTERN is a part of the name."""
    from ...experiments.errors import NothingMatchedError, UsageError, unknown_name
    from ...experiments.run import list_runs
    from ...experiments.run_dir import STATES, default_root
    from ..console import result, result_json, table

    if status is not None and status not in STATES:
        raise UsageError(unknown_name("status", status, STATES))
    rows = [_facts(run) for run in list_runs() if pattern in run.name]
    rows = [row for row in rows if status in (None, row["status"])][-(last or 0) :]
    if as_json:
        result_json("optrun/runs@1", root=str(default_root()), runs=rows)
        return
    if not rows:
        wanted = f"no runs in {default_root()}/" + (f" match {pattern!r}" if pattern else "")
        raise NothingMatchedError(f"{wanted}{f' with status {status}' if status else ''}; `optrun train` makes one")
    for line in table([_cells(row) for row in rows], ["run", "status", "optimizer", "steps", "secs", "result", ""], {3, 4}):
        result(line)


def _facts(run) -> dict:  # noqa: ANN001 (a Run; its module is imported late)
    summary, status = run.summary, run.status
    config = summary.get("config", {})
    optimizer = config.get("optimizer", {})
    return {
        "name": run.name,
        "path": str(run.path),
        "status": status.get("state"),
        "optimizer": optimizer.get("name"),
        "lr": optimizer.get("lr"),
        "seed": config.get("seed"),
        "steps": summary.get("steps", status.get("step")),
        "train_secs": summary.get("train_secs"),
        "final": summary.get("final", {}),
        "curve": summary.get("curve", []),
        "started": status.get("started"),
    }


def _cells(row: dict) -> list[str]:
    import sys

    from ..charts import sparkline
    from ..console import unicode_ok

    final = row["final"]
    shown = next((f"{name} {final[name]:.4f}" for name in (*_preferred(final), *final)), "")
    optimizer = "" if row["optimizer"] is None else row["optimizer"]
    if row["lr"] is not None:
        optimizer += f" lr={row['lr']:g}"
    return [
        row["name"],
        row["status"] or "unknown",
        optimizer,
        "" if row["steps"] is None else str(row["steps"]),
        "" if row["train_secs"] is None else f"{row['train_secs']:.1f}",
        shown,
        sparkline(row["curve"], 10, unicode_ok(sys.stdout)),
    ]


def _preferred(final: dict) -> list[str]:
    return [name for name in final if name.startswith("test/") and not name.endswith("/loss")]
