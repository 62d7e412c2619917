"""`optrun data`: which data sets are here, and those that have to be downloaded."""

from __future__ import annotations

import click

from ...experiments.errors import ExitCode
from .. import command as shared
from ..terminal.console import result, result_json, say_error


@shared.command(
    "data",
    section="Configure",
    examples="""
    optrun data  # what is here, and what is not
    optrun data get cifar10
    optrun data get mnist fashion_mnist
    optrun data verify  # the SHA-256 of all that was downloaded
    """,
)
@click.argument("action", type=click.Choice(["list", "get", "verify"]), default="list", metavar="[list|get|verify]")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@shared.json_option
def command(action: str, names: tuple[str, ...], as_json: bool) -> int:
    """List, download and verify data sets.

    A download that broke off goes on where it stopped. Files are kept in
    OPTRUN_DATA_DIR, by default ~/.cache/optrun/data; OPTRUN_OFFLINE=1
    forbids the network.
    """
    from ..terminal.logs import show_log
    from ..texts.data_sets import get, listed, table_of, verify

    show_log()
    if action == "list":
        found = listed(names)
        if as_json:
            result_json("optrun/data@1", action=action, data=found)
        else:
            result(table_of(found))
        return ExitCode.DONE
    done = get(names) if action == "get" else verify(names)
    if as_json:
        result_json("optrun/data@1", action=action, data=done)
    else:
        result([f"{file['path']}  {file['state']}" for entry in done for file in entry["files"]])
    problems = [file["problem"] for entry in done for file in entry["files"] if "problem" in file]
    for problem in problems:
        say_error(problem)
    return ExitCode.DATA if problems else ExitCode.DONE
