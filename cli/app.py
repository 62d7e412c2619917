"""The command group, and what each kind of ending means: message, exit code."""

from __future__ import annotations

import importlib
import logging
import os
import pkgutil
import sys
from collections.abc import Sequence

import click

from ..experiments.errors import Interrupted, OptrunError, nearest
from .command import SECTIONS, Command

BROKEN_PIPE = 141  # what a shell reports for a program that SIGPIPE ended


class CommandFolder(click.Group):
    """The commands are the modules of `commands/`; each has its click command under the name `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from . import commands

        return sorted(module.name for module in pkgutil.iter_modules(commands.__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        return importlib.import_module(f".commands.{cmd_name}", __package__).command

    def resolve_command(self, ctx: click.Context, args: list[str]):
        if args and args[0] not in self.list_commands(ctx) and not args[0].startswith("-"):
            guess = nearest(args[0], self.list_commands(ctx))
            hint = f" Did you mean '{guess}'?" if guess else " `optrun --help` lists the commands."
            raise click.UsageError(f"no command '{args[0]}'.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        for section in SECTIONS:
            rows = [
                (name, command.get_short_help_str(60))
                for name, command in commands.items()
                if isinstance(command, Command) and command.section == section
            ]
            if rows:
                with formatter.section(section):
                    formatter.write_dl(rows)


@click.group(
    cls=CommandFolder,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "OPTRUN", "max_content_width": 80},
    epilog="""\b
Examples:
  optrun train                                 train the preset `mom` on digits
  optrun train configs/mom.yaml optimizer.lr=0.05
  optrun runs                                  what has been run here
\b
Exit codes: 0 done, 1 the answer is no, 2 usage or configuration, 3 diverged,
4 data missing or corrupt, 5 nothing matched, 6 part of a set failed, 70 a bug,
73 run directory in use, 74 I/O error, 130 SIGINT, 143 SIGTERM (state saved).""",
)
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", help="Colour in the output.")
@click.option(
    "--style",
    type=click.Choice(["auto", "full", "plain"]),
    default="auto",
    help="A live display (full) or lines (plain); auto looks whether stderr is a terminal.",
)
@click.version_option(package_name="optrun", prog_name="optrun")
@click.pass_context
def cli(ctx: click.Context, color: str, style: str) -> None:
    """Which optimizer, which schedule, and how sure are we?

    optrun trains PyTorch models from YAML files that name the optimizer, the
    learning-rate schedule, the model and the data.
    """
    ctx.obj = {"color": color, "style": style}


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        result = cli.main(list(args), prog_name="optrun", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show(sys.stderr)
        return error.exit_code
    except (Interrupted, click.Abort) as stop:
        return stop.exit_code if isinstance(stop, Interrupted) else 130
    except OptrunError as error:
        return _report(error)
    except BrokenPipeError:
        _silence_stdout()
        return BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 (the last line of defence: what arrives here is our bug)
        return _report_bug(error)


def _report(error: OptrunError) -> int:
    problems = getattr(error, "problems", ())
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for problem in problems[:10]:  # GitHub shows ten of a kind
            place = problem.as_dict()
            sys.stderr.write(f"::error file={place['file']},line={place['line']},col={place['column']}::{place['message']}\n")
    sys.stderr.write(f"{'' if problems else 'error: '}{error}\n")
    for note in getattr(error, "__notes__", ()):
        sys.stderr.write(f"  {note}\n")
    if os.environ.get("OPTRUN_DEBUG"):
        logging.getLogger("optrun").error("", exc_info=error)
    return error.exit_code


def _report_bug(error: Exception) -> int:
    import traceback

    if os.environ.get("OPTRUN_DEBUG"):
        traceback.print_exception(error, file=sys.stderr)
    else:
        where = traceback.extract_tb(error.__traceback__)[-1]
        sys.stderr.write(f"error: {type(error).__name__}: {error}\n")
        for note in getattr(error, "__notes__", ()):
            sys.stderr.write(f"  {note}\n")
        sys.stderr.write(f"  at {where.filename}:{where.lineno}; OPTRUN_DEBUG=1 shows the whole way there\n")
    return 70


def _silence_stdout() -> None:
    """Point stdout at nothing, so that Python's flush at exit does not fail a second time."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
