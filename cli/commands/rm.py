"""`optrun rm`: runs into the trash, from where they can be taken back."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ...experiments.errors import ExitCode, RunInUseError
from ...experiments.report.style import listing, many
from ...experiments.system.places import shown
from .. import command as shared
from .. import completion
from ..terminal.console import result, result_json, say


@shared.command(
    "rm",
    section="Read",
    examples="""
    optrun rm mom-0001
    optrun rm @1 --dry-run  # what would go
    optrun rm -y compare-sgd-mom-1a2b3c  # a comparison, with its runs
    """,
)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", shell_complete=completion.runs_and_groups)
@click.option("-y", "--yes", is_flag=True, help="Do not ask; needed where no terminal is.")
@click.option("--used", is_flag=True, help="Take runs that other comparisons use, too; without it they stay.")
@click.option("--dry-run", is_flag=True, help="Say what would be moved, and move nothing.")
@shared.json_option
def command(runs: tuple[str, ...], yes: bool, used: bool, dry_run: bool, as_json: bool) -> int:
    """Move runs and comparisons into the trash.

    RUN is a name, the beginning of one, a path, or @1 for the latest. A run
    that another comparison uses stays where it is.
    """
    from ...experiments.run_directory.group_dir import trash
    from ...experiments.system import storage

    folders = _folders(runs)
    users = _users(folders)
    for path, names in users.items():
        say(f"{shown(path)} is used by {listing(names)}: {'it goes too' if used else 'it stays (--used takes it too)'}")
    kept = {} if used else users
    folders = [path for path in folders if path not in kept]
    facts = [{"run": shown(path), "used_by": names} for path, names in users.items()]
    if dry_run:
        if as_json:
            moved = [{"from": shown(path), "to": None} for path in folders]
            result_json("optrun/rm@1", dry_run=True, moved=moved, used=facts)
        else:
            result([f"would be moved: {_described(path, kept)}" for path in folders])
        return ExitCode.DONE if folders else ExitCode.NO
    if not folders:
        say("nothing was moved")
        return ExitCode.NO
    if not yes and not _agreed(folders, kept):
        say("nothing was moved")
        return ExitCode.NO
    moved = []
    for path in folders:
        if path.is_symlink():
            target = path.resolve()
            storage.remove(path)
            moved.append({"from": shown(path), "to": None})
            if not as_json:
                result(f"{shown(path)}: the link is removed; {shown(target)}, which it meant, is as it was")
            continue
        stay = [run.name for run in kept if run.parent.resolve() == path.resolve()]
        moved.append({"from": shown(path), "to": shown(trash(path, stay))})
        if not as_json:
            result(f"{shown(path)} -> {moved[-1]['to']}")
            what = f"{shlex.quote(moved[-1]['to'])}{'/*' if stay else ''}"
            say(f"to get it back: mv {what} {shlex.quote(shown(path))}{'/' if stay else ''}")
    if as_json:
        result_json("optrun/rm@1", dry_run=False, moved=moved, used=facts)
    return ExitCode.DONE


def _folders(runs: tuple[str, ...]) -> list[Path]:
    """Return what the names mean, each once; refuse all of them when one is in use."""
    from ...experiments.run_directory.lookup import find_run_or_group

    found: dict[Path, list[Any]] = {}
    for name in runs:
        thing = find_run_or_group(name)
        found[thing if isinstance(thing, Path) else thing.path] = _runs_in(thing)
    for inside in found.values():
        for run_dir in inside:
            if (status := run_dir.status()).get("state") == "running":
                pid = status.get("pid")
                raise RunInUseError(
                    f"{shown(run_dir.path)} is in use by process {pid} on {status.get('host')}: wait for it, or stop "
                    "it with "
                    f"`kill {pid}`. Nothing was moved"
                )
    outer = [path.resolve() for path in found]
    return [path for path in found if not any(parent in outer for parent in path.resolve().parents)]


def _users(folders: list[Path]) -> dict[Path, list[str]]:
    """Return which comparisons that stay use each of the runs that are to go."""
    from ...experiments.run_directory.comparison_file import users_of
    from ...experiments.run_directory.run_dir import default_root, is_run

    folders = [path for path in folders if not path.is_symlink()]  # of which the link alone goes
    runs = [path for path in folders if is_run(path)]
    runs += [run.path for path in folders if not is_run(path) for run in _runs_in(path)]
    return users_of(default_root(), runs, folders)


def _runs_in(thing: Any) -> list[Any]:
    from ...experiments.run_directory.group_dir import runs_in
    from ...experiments.run_directory.run_dir import RunDir

    return [RunDir(path) for path in runs_in(thing)] if isinstance(thing, Path) else [thing]


def _described(path: Path, kept: Mapping[Path, Any]) -> str:
    from ...experiments.run_directory.run_dir import is_run

    if is_run(path):
        return shown(path)
    return f"{shown(path)} ({many(sum(run.path not in kept for run in _runs_in(path)), 'run')})"


def _agreed(folders: list[Path], kept: Mapping[Path, Any]) -> bool:
    """Ask whoever sits at the terminal."""
    if not sys.stdin.isatty():
        raise click.UsageError("nobody is there to ask: add -y to move without asking, or --dry-run to look first")
    names = ", ".join(_described(path, kept) for path in folders)
    try:
        return click.confirm(f"Move {names} into the trash?", err=True)
    except click.Abort:  # the end of input is no agreement
        return False
