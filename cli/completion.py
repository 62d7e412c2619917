"""Completion of TARGET and RUN in the shell; click asks, and nothing here imports torch.

Switched on by `eval "$(_OPTRUN_COMPLETE=bash_source optrun)"`; zsh and fish likewise.
"""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem


def targets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the configs in ./configs, the presets, and files."""
    from ..experiments.config.targets import names_in, preset_folder

    names = dict.fromkeys([*names_in(Path("configs")), *names_in(preset_folder())])
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return [*found, CompletionItem(incomplete, type="file")]


def runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the names of the runs here."""
    from ..experiments.run_directory.lookup import find_runs

    return [CompletionItem(run.path.name) for run in find_runs() if run.path.name.startswith(incomplete)]


def runs_and_groups(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the names of the comparisons and of the runs here."""
    from ..experiments.run_directory.comparison_file import find_groups
    from ..experiments.run_directory.run_dir import default_root

    names = [path.name for path in find_groups(default_root()) if path.name.startswith(incomplete)]
    return [*(CompletionItem(name) for name in names), *runs(ctx, param, incomplete)]
