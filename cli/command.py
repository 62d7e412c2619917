"""A click command with examples, a section in `optrun --help`, and the options that commands share."""

from __future__ import annotations

import functools
import math
import os
import re
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ..experiments.errors import UserExitError
from ..experiments.system.docstrings import docstring
from ..experiments.system.raised import MUST_NOT_EXIT, place_of, type_and_text
from . import completion
from .terminal.console import Output
from .terminal.streams import apart

if TYPE_CHECKING:
    from ..experiments.registry.permissions import Consent

_SETTINGS = "[KEY=VALUE]..."  # how the arguments of a command end that takes settings
SECTIONS = ("Run", "Read", "Configure")

Function = Callable[..., Any]
Decorator = Callable[[Function], Function]


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

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if not any(param.human_readable_name.endswith(_SETTINGS) for param in self.params):
                raise
            near = [each for each in error.possibilities or () if each != "--help"]  # which `--lr` does not mean
            message = error.message + _as_setting(error.option_name, bool(near))
            raise click.NoSuchOption(error.option_name, message, near, error.ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with apart():
                return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort) as error:  # ours return; it is of code that the command has called
            raise UserExitError(f"click's {type_and_text(error)}, at {place_of(error)}: {MUST_NOT_EXIT}") from error

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(formatter, self.examples)


class Finite(click.types.FloatParamType):
    """A number that is neither NaN nor infinite."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class FiniteRange(click.FloatRange, Finite):
    """A finite number in a range."""


def _as_setting(option: str, is_near: bool) -> str:
    """Return the sentence that says how to give an option of another tool's, or a key, as a setting."""
    from ..experiments.config.other_names import other_key

    name = option.lstrip("-").replace("-", "_")
    here = other_key(name)
    if here is not None:
        return f" Here it is `{here}`." if here.startswith("optrun ") else f" Here it is a setting: `{here}=VALUE`."
    return "" if is_near else f" Settings have no dashes: `{name}=VALUE`."


def write_examples(formatter: click.HelpFormatter, examples: str) -> None:
    """Write the section `Examples`: command lines, the remarks in a column of their own."""
    rows = [re.split(r"  +(?=# )", line) for line in examples.splitlines()]
    longest = max((len(row[0]) for row in rows if len(row) > 1), default=0)
    with formatter.section("Examples"):
        for command_line, *remark in rows:
            formatter.write(f"  {command_line:<{longest}}  {' '.join(remark)}".rstrip() + "\n")


def command(
    name: str, section: str, examples: str, cls: type[Command] = Command
) -> Callable[[Function], click.Command]:
    """Return a decorator that makes a function a command of optrun."""

    def decorate(function: Function) -> click.Command:
        text = docstring(function)
        return click.command(name, cls=cls, section=section, examples=examples, help=text)(function)

    return decorate


run_argument = click.argument("run", shell_complete=completion.runs)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Say nothing but the result.")
allow_change_option = click.option(
    "--allow-change", is_flag=True, help="Go on although the configuration or the data is not what the run began with."
)
jobs_option = click.option("-j", "--jobs", type=click.IntRange(min=1), help="Runs at a time.  [default: one a core]")
engine_option = click.option(
    "--engine",
    type=click.Choice(["auto", "processes", "batched"]),
    default="auto",
    help="Train each run in a process, or many in one batch.  [default: auto]",
)
verify_batched_option = click.option(
    "--verify-batched",
    type=click.IntRange(min=1),
    metavar="K",
    help="Make K runs of a batch again, each by itself, and tell how they differ.",
)
fresh_runs_option = click.option("--fresh", is_flag=True, help="Repeat runs that are there already.")
export_option = click.option(
    "--export",
    "exports",
    multiple=True,
    metavar="FILE",
    help="Write a .md, .csv, .json, .html, .png or .svg, or - for Markdown on stdout. Repeatable.",
)
allow_code_option = click.option(
    "--allow-code", is_flag=True, help="Load your own code although it has changed since, or is new on this machine."
)
profile_option = click.option("--profile", is_flag=True, help="Measure where the time of a step goes; slower on a GPU.")
force_option = click.option("--force", is_flag=True, help="Replace the file if it is there.")
of_option = click.option(
    "--of", metavar="PART", help="Of several outputs, the one to predict: a name, an index, or a path such as heads.0."
)
allow_other_data_option = click.option(
    "--allow-change", is_flag=True, help="Measure on data that has changed since the run was made."
)


def output_options(function: Function) -> Function:
    """Add the options --json, -q and -v to a command, which gets them as one `output`."""

    @functools.wraps(function)
    def call(as_json: bool, quiet: bool, verbose: bool, **others: Any) -> Any:
        return function(output=Output(as_json, quiet, verbose), **others)

    verbose = click.option("-v", "--verbose", is_flag=True, help="Say more: values, restores, every save.")
    return json_option(quiet_option(verbose(call)))


def asks_before_code(function: Function) -> Function:
    """Add --allow-code to a command that looks: without it, only code that was trained with on this machine is run."""
    return allow_code_option(_consenting(function, "known"))


def runs_own_code(function: Function) -> Function:
    """Add --allow-code to a command that trains: it runs what the user's own configurations name, and remembers it."""
    return allow_code_option(_consenting(function, "own"))


def _consenting(function: Function, otherwise: Consent) -> Function:
    @functools.wraps(function)
    def call(*args: Any, allow_code: bool, **others: Any) -> Any:
        from ..experiments.registry.permissions import consenting

        with consenting("all" if allow_code else otherwise):
            return function(*args, **others)

    return call


def targets_argument(metavar: str, **options: Any) -> Decorator:
    """Return the decorator that gives a command its `targets` and its key=value `overrides`, in any order."""

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def call(arguments: tuple[str, ...], **others: Any) -> Any:
            overrides = [each for each in arguments if "=" in each and not os.path.isfile(each)]
            targets = [each for each in arguments if each not in overrides]
            return function(targets=targets, overrides=overrides, **others)

        complete = {"shell_complete": completion.targets, **options}
        return click.argument("arguments", nargs=-1, metavar=metavar, **complete)(call)

    return decorate


def target_argument(metavar: str, default: str | None = None) -> Decorator:
    """Return the decorator that gives a command its one `target` and its key=value `overrides`, in any order.

    Two targets, or none where there is no default, end the command with a `click.UsageError`.
    """

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def call(targets: list[str], **others: Any) -> Any:
            if len(targets) > 1:
                several = " and ".join(targets)
                raise click.UsageError(f"one target at a time: got {several} (overrides have the form key=value)")
            if not targets and default is None:
                raise no_target()
            return function(target=targets[0] if targets else default, **others)

        return targets_argument(metavar)(call)

    return decorate


def no_target() -> click.UsageError:
    """Return the error of a command line that names no target."""
    return click.UsageError("which one? Give a target: `optrun list presets` shows what there is")
