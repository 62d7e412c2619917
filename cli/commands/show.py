"""`optrun show`: one run, whole."""

from __future__ import annotations

import click

from .. import command as shared


@shared.command(
    "show",
    section="Read",
    examples="""
    optrun show mom-0001
    optrun show @1                                 the latest
    optrun show mom-0001 --json | jq .config.optimizer
    """,
)
@click.argument("run")
@shared.json_option
def command(run: str, as_json: bool) -> None:
    """Show RUN: result, configuration, environment, checkpoints."""
    from ...experiments.run import Run
    from ...experiments.run_lookup import find_run
    from ..console import result, result_json

    found = Run(find_run(run))
    if as_json:
        result_json(
            "optrun/show@1",
            run=found.name,
            path=str(found.path),
            status=found.status,
            summary=found.summary,
            config=found.config,
            environment=found.env,
            checkpoints=[{"step": file.step, "path": str(file.path)} for file in found.checkpoints],
        )
        return
    for line in _lines(found):
        result(line)


def _lines(run) -> list[str]:  # noqa: ANN001 (a Run; its module is imported late)
    from ..watch import resume_command, result_lines

    status, summary, environment = run.status, run.summary, run.env
    if summary:
        lines = result_lines(run.name, summary)
    else:
        rows = run.rows
        where = f" at step {rows[-1]['step']}" if rows else ""
        lines = [f"{run.name}: {status.get('state')}{where}"]
    if status.get("state") in ("interrupted", "diverged", "failed"):
        lines.append(f"  resume: {resume_command(run.dir)}")
    lines += ["", f"path       {run.path}", f"started    {status.get('started', '')[:19].replace('T', ' ')} UTC"]
    if environment:
        lines.append(
            f"made with  optrun {environment['optrun']}, torch {environment['torch']}, python {environment['python']}, "
            f"{environment['device']}, {environment['threads']} thread{'s' if environment['threads'] > 1 else ''}"
        )
    if run.checkpoints:
        steps = ", ".join(str(file.step) for file in run.checkpoints)
        best = (summary.get("best") or {}).get("step")
        lines.append(f"saved      steps {steps}" + (f" (best {best})" if best else ""))
    text = run.dir.read_config() if run.dir.config_path.exists() else ""
    return [*lines, "", *text.rstrip().splitlines()]
