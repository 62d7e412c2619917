"""`optrun validate`: is this configuration right?"""

from __future__ import annotations

import click

from ...experiments.errors import DataError, ExitCode, UsageError
from .. import command as shared
from ..terminal import github
from ..terminal.console import result, result_json


@shared.command(
    "validate",
    section="Configure",
    examples="""
    optrun validate configs/*.yaml
    optrun validate my.yaml --static  # read and check, build nothing
    """,
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--static", is_flag=True, help="Do not load the data and build the model to see whether they fit.")
@shared.asks_before_code
@shared.json_option
def command(files: tuple[str, ...], static: bool, as_json: bool) -> int:
    """Check configurations: all problems, each at its place."""
    from ...experiments.config import ConfigError
    from ...experiments.training.build import build
    from ...experiments.training.load import load_config

    problems: list[dict] = []
    words: list[str] = []
    code: int = ExitCode.DONE
    for file in files:
        try:
            config = load_config(file)
            if not static:
                build(config)
        except (UsageError, DataError) as error:
            found = error.problems if isinstance(error, ConfigError) else ()
            problems += [problem.as_dict() for problem in found] or [{"file": file, "message": str(error)}]
            words.append(str(error) if found else f"{file}: {error}")
            github.annotate(found, f"{file}: {error}")
            code = code or error.exit_code
        else:
            words.append(f"{file}: ok")
    if as_json:
        result_json("optrun/validate@1", files=list(files), problems=problems)
    else:
        result(words)
    return code
