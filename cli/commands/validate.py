"""`optrun validate`: is this configuration right?"""

from __future__ import annotations

import click

from .. import command as shared


@shared.command(
    "validate",
    section="Configure",
    examples="""
    optrun validate configs/*.yaml
    optrun validate my.yaml --static               read and check, build nothing
    """,
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--static", is_flag=True, help="Do not load the data and build the model to see whether they fit.")
@shared.json_option
def command(files: tuple[str, ...], static: bool, as_json: bool) -> int:
    """Check configurations: every problem at once, each at its place."""
    from ...experiments.config import ConfigError
    from ...experiments.errors import UsageError
    from ...experiments.experiment import build
    from ...experiments.training import load_config
    from ..console import result, result_json, say

    problems: list[dict] = []
    for file in files:
        try:
            config = load_config(file)
            if not static:
                build(config)
        except ConfigError as error:
            problems += [problem.as_dict() for problem in error.problems]
            say(str(error))
        except UsageError as error:
            problems.append({"file": file, "message": str(error)})
            say(f"error: {error}")
        else:
            if not as_json:
                result(f"{file}: ok")
    if as_json:
        result_json("optrun/validate@1", files=list(files), problems=problems)
    return UsageError.exit_code if problems else 0
