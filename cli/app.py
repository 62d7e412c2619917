"""The command group, and what each kind of ending means: message, exit code."""

from __future__ import annotations

import functools
import importlib
import itertools
import os
import pkgutil
import textwrap
from collections.abc import Sequence
from typing import Any

import click

from ..experiments.errors import ExitCode, Interrupted, OptrunError, UsageError, nearest
from ..experiments.system.docstrings import docstring
from ..experiments.system.imports import KEEP_IMPORTS, Imports
from ..experiments.system.places import held_places
from ..experiments.system.raised import message_of, place_of, refusing_exits, type_and_text
from .command import SECTIONS, Command, write_examples
from .terminal import github
from .terminal.console import ARGUMENTS, result_json, say, say_error
from .terminal.streams import kept, results, silence_stdout

_COMPLETE = "_OPTRUN_COMPLETE"  # set by the shell while it completes a word

_EXAMPLES = """\
optrun train  # train the preset `mom` on digits
optrun train configs/mom.yaml optimizer.lr=0.05
optrun runs  # what has been run here
optrun describe optimizer/adam  # formula, arguments, YAML to paste"""


class CommandFolder(click.Group):
    """The commands are the modules of `commands/` without `_`; each has its click command under the name `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from . import commands

        names = (module.name for module in pkgutil.iter_modules(commands.__path__))
        return sorted(name.replace("_", "-") for name in names if not name.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        return importlib.import_module(f".commands.{cmd_name.replace('-', '_')}", __package__).command

    def resolve_command(self, ctx: click.Context, args: list[str]):
        if args and args[0] not in self.list_commands(ctx) and not args[0].startswith("-"):
            guess = nearest(args[0], self.list_commands(ctx))
            hint = f" Did you mean '{guess}'?" if guess else " `optrun --help` lists the commands."
            raise click.UsageError(f"no command '{args[0]}'.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = [self.get_command(ctx, name) for name in self.list_commands(ctx)]
        for section in SECTIONS:
            rows = [
                (command.name or "", command.get_short_help_str(60))
                for command in commands
                if isinstance(command, Command) and command.section == section
            ]
            if rows:
                with formatter.section(section):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit codes"):
            formatter.write(_exit_codes())
        write_examples(formatter, _EXAMPLES)


@click.group(
    cls=CommandFolder,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "OPTRUN", "max_content_width": 80},
)
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", help="Colour in the output.")
@click.option(
    "--style",
    type=click.Choice(["auto", "full", "plain"]),
    default="auto",
    help="A live display (full) or lines (plain); auto looks whether stderr is a terminal.",
)
@click.option(
    "--no-fsync",
    is_flag=True,
    help="Flush nothing to the disk, where that cannot be done.",
)
@click.option("--no-lock", is_flag=True, help="Lock no run directory, where that cannot be done.")
@click.version_option(package_name="optrun", prog_name="optrun")
@click.pass_context
def cli(ctx: click.Context, color: str, style: str, no_fsync: bool, no_lock: bool) -> None:
    """Which optimizer, which schedule, and how sure are we?

    optrun trains PyTorch models from YAML files that name the optimizer, the
    learning-rate schedule, the model and the data.
    """
    ctx.obj = {"color": color, "style": style}
    for variable, wanted in (("OPTRUN_NO_FSYNC", no_fsync), ("OPTRUN_NO_LOCK", no_lock)):
        if wanted and os.environ.get(variable) != "1":  # workers see it too
            ctx.call_on_close(functools.partial(_restore, variable, os.environ.get(variable)))
            os.environ[variable] = "1"


def _restore(variable: str, value: str | None) -> None:
    """Put a variable of the environment back."""
    if value is None:
        del os.environ[variable]
    else:
        os.environ[variable] = value


cli.help = docstring(cli.callback)


def _exit_codes() -> str:
    """Return all exit codes for the help; those of errors and those of signals begin lines of their own."""
    lines = []
    for _, codes in itertools.groupby(ExitCode, lambda code: (code >= ExitCode.BUG, code > 128)):
        items = [f"{code} {code.meaning}".replace(" ", "\N{NO-BREAK SPACE}") for code in codes]
        lines += textwrap.wrap(", ".join(items), 80, initial_indent="  ", subsequent_indent="  ")
    return ",\n".join(line.rstrip(",") for line in lines).replace("\N{NO-BREAK SPACE}", " ") + "\n"


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        with held_places():
            return _run(args)
    except OptrunError as error:  # there is no folder to come from, or to come back to
        return _report(error, "--json" in args) or ExitCode.BUG
    except BrokenPipeError:
        silence_stdout()
        return ExitCode.BROKEN_PIPE
    except OSError as error:  # stdout cannot be written: a full disk
        say_error(error)
        _say_traceback(error)
        silence_stdout()
        return ExitCode.STORAGE


def _run(args: Sequence[str]) -> int:
    as_json, imports = "--json" in args, Imports.now()
    try:
        code = _invoke(args)
        results().flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        return _report_usage(error, as_json) or ExitCode.BUG
    except Interrupted as stop:
        return stop.exit_code
    except OptrunError as error:
        if lost := _lost_imports(imports):
            error.add_note(lost)
        return _report(error, as_json) or ExitCode.BUG
    except OSError:
        raise
    except KeyboardInterrupt:  # of Python's own handler, which the user's code has put back
        return ExitCode.SIGINT
    except Exception as error:  # noqa: BLE001 (the last line of defence: what arrives here is our bug)
        if lost := _lost_imports(imports):
            return _report(UsageError(f"{type_and_text(error)}: {lost}"), as_json)
        return _report_bug(error, as_json)


def _lost_imports(imports: Imports) -> str:
    """Put back what the user's code has taken from what imports need; return what that was, in a sentence."""
    taken = imports.taken()
    imports.put_back()
    return f"code that was called took {taken}: {KEEP_IMPORTS}" if taken else ""


@refusing_exits()
def _invoke(args: Sequence[str]) -> Any:
    """Do what click's own `main` does, which has exit codes of its own for signals and broken pipes."""
    if instruction := os.environ.get(_COMPLETE):
        from click.shell_completion import shell_complete

        return shell_complete(cli, {}, "optrun", _COMPLETE, instruction)
    with kept(), cli.make_context("optrun", list(args)) as ctx:
        ctx.meta[ARGUMENTS] = list(args)
        return cli.invoke(ctx)


def _report_usage(error: click.ClickException, as_json: bool) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
    else:
        ctx = getattr(error, "ctx", None)
        say_error(error.format_message())
        say(f"usage: {ctx.get_usage().removeprefix('Usage: ')}; see --help" if ctx else "see `optrun --help`")
    if as_json:
        _json_error(error, error.format_message(), error.exit_code)
    return error.exit_code


def _report(error: OptrunError, as_json: bool) -> int:
    problems = getattr(error, "problems", ())
    github.annotate(problems, message_of(error))
    (say if problems else say_error)(str(error) if problems else message_of(error))
    _say_notes(error)
    _say_traceback(error)
    if as_json:
        _json_error(error, message_of(error), error.exit_code, problems=[problem.as_dict() for problem in problems])
    return error.exit_code


def _report_bug(error: Exception, as_json: bool) -> int:
    github.annotate((), type_and_text(error))
    if not _say_traceback(error):
        say_error(type_and_text(error))
        _say_notes(error)
        say(f"  at {place_of(error)}; OPTRUN_DEBUG=1 shows the whole way there")
    if as_json:
        _json_error(error, message_of(error), ExitCode.BUG)
    return ExitCode.BUG


def _json_error(error: Exception, message: str, exit_code: int, **more: Any) -> None:
    result_json("optrun/error@1", error=type(error).__name__, message=message, exit_code=exit_code, **more)


def _say_notes(error: BaseException) -> None:
    for note in getattr(error, "__notes__", ()):
        say(f"  {note}")


def _say_traceback(error: BaseException) -> bool:
    """Write the traceback if OPTRUN_DEBUG is set, and return True if it is."""
    from ..experiments.system.storage import is_set

    if not is_set("OPTRUN_DEBUG"):
        return False
    import traceback

    say("".join(traceback.format_exception(error)).rstrip())
    return True
