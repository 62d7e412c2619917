"""A click command with examples, a section in `optrun --help`, and the options that commands share."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Callable
from typing import Any

import click

from . import completion

SECTIONS = ("Run", "Read", "Configure")
ARGUMENTS = "optrun.arguments"  # the key under which click's context keeps the command line, to be repeated


class Command(click.Command):
    """A command whose help ends with examples.

    Args:
        section: its heading in `optrun --help`.
        examples: command lines, each with a remark (`  # …`) if it needs one.
    """

    def __init__(self, *args: Any, section: str = "Read", examples: str = "", **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.section = section
        self.examples = textwrap.dedent(examples).strip()

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(formatter, self.examples)


def write_examples(formatter: click.HelpFormatter, examples: str) -> None:
    """Write the section `Examples`: command lines, the remarks in a column of their own."""
    rows = [re.split(r"  +(?=# )", line) for line in examples.splitlines()]
    longest = max((len(row[0]) for row in rows if len(row) > 1), default=0)
    with formatter.section("Examples"):
        for command_line, *remark in rows:
            formatter.write(f"  {command_line:<{longest}}  {' '.join(remark)}".rstrip() + "\n")


def command(name: str, section: str, examples: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Return a decorator that makes a function a command of optrun."""
    return click.command(name, cls=Command, section=section, examples=examples)


run_argument = click.argument("run", shell_complete=completion.runs)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Say nothing but the result.")
verbose_option = click.option("-v", "--verbose", is_flag=True, help="Say more: values, restores, every save.")
allow_change_option = click.option(
    "--allow-change", is_flag=True, help="Go on although the configuration is not the one that the run began with."
)
jobs_option = click.option("-j", "--jobs", type=click.IntRange(min=1), help="Runs at a time.  [default: one a core]")
fresh_runs_option = click.option("--fresh", is_flag=True, help="Repeat runs that are there already.")
export_option = click.option(
    "--export",
    "exports",
    multiple=True,
    metavar="FILE",
    help="Write a .md, .csv, .json, .html, .png or .svg, or - for Markdown on stdout. Repeatable.",
)
allow_code_option = click.option(
    "--allow-code", is_flag=True, help="Load your own code although it has changed since the run was made."
)


def target_argument(metavar: str) -> Callable[[Any], Any]:
    """Return the decorator for a target and its overrides; `split_target` takes them apart."""
    return click.argument("arguments", nargs=-1, metavar=metavar, shell_complete=completion.targets)


def split_targets(arguments: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Split a command's arguments into its targets and its key=value overrides, in any order."""
    overrides = [argument for argument in arguments if "=" in argument and not os.path.isfile(argument)]
    return [argument for argument in arguments if argument not in overrides], overrides


def split_target(arguments: tuple[str, ...], default: str | None) -> tuple[str, list[str]]:
    """Split a command's arguments into its target and its key=value overrides, in any order.

    Raises:
        click.UsageError: there are two targets, or none and no default.
    """
    targets, overrides = split_targets(arguments)
    if len(targets) > 1:
        raise click.UsageError(f"one target at a time: got {' and '.join(targets)} (overrides have the form key=value)")
    if not targets and default is None:
        raise click.UsageError("which one? Give a target: `optrun list presets` shows what there is")
    return (targets[0] if targets else str(default)), overrides
