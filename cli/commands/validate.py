"""`optrun validate`: is this configuration right?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ...experiments.errors import DataError, ExitCode, NothingMatchedError, UsageError
from .. import command as shared
from ..terminal import github
from ..terminal.console import result, result_json

if TYPE_CHECKING:
    from ...experiments.components.initializers.matching import InitialWeights
    from ...experiments.training.experiment import Experiment


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
    from ..texts.plan_text import initial_lines

    problems: list[dict] = []
    initial: dict[str, dict] = {}  # weights by file
    words: list[str] = []
    code: int = ExitCode.DONE
    for file in files:
        try:
            config = load_config(file)
            made = None if static else _initial_weights(build(config))
        except (UsageError, DataError, NothingMatchedError) as error:
            if (compared := getattr(error.__cause__, "initial", None)) is not None:
                initial[file] = compared.as_dict()
            found = error.problems if isinstance(error, ConfigError) else ()
            problems += [problem.as_dict() for problem in found] or [{"file": file, "message": str(error)}]
            words += [str(error) if found else f"{file}: {error}", *(f"  {n}" for n in getattr(error, "__notes__", ()))]
            github.annotate(found, f"{file}: {error}")
            code = code or error.exit_code
        else:
            words.append(f"{file}: ok")
            if made is not None:
                initial[file] = made.as_dict()
                words += [f"  {line}" for line in initial_lines(made)[1:]]
    if as_json:
        result_json("optrun/validate@1", files=list(files), problems=problems, initial=initial)
    else:
        result(words)
    return code


def _initial_weights(experiment: Experiment) -> InitialWeights | None:
    """Return what `init` takes over; what it cannot take is an error."""
    experiment.initial()
    return experiment.initial_weights
