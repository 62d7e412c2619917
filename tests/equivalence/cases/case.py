"""What a case is made of: files, and commands that are run one after another in their folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

TINY = """\
data: {name: gaussian_classes, num_examples: 200, batch_size: 20}
model: logistic
loss: cross_entropy
metrics: [accuracy]
optimizer: {name: sgd, lr: 0.1}
train: {epochs: 2}
log: {every: 1 step, lines: 3 steps}
"""

CONVOLUTIONS = """\
data: {name: digits, batch_size: 16, subset: 48, val: 0.1, test: 0.1}
model: {name: convnet, channels: [4]}
loss: cross_entropy
metrics: [accuracy]
optimizer: {name: mom, lr: 0.05}
train: {steps: 6}
log: {every: 1 step, lines: 2 steps}
"""


@dataclass(frozen=True)
class Command:
    """One command line.

    Args:
        args: after `optrun`; `("freeze",)` sets the clocks of all runs instead.
        code: the exit code that it is to have.
        talk: whether what it says on stderr is compared too; that of a command that fails always is.
        env: variables.
        script: a file of Python to run instead of `optrun`.
    """

    args: tuple[str, ...]
    code: int = 0
    talk: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    script: str | None = None


FREEZE = Command(("freeze",))


@dataclass(frozen=True)
class Case:
    """Commands in a folder of their own, after which the folder is compared.

    Args:
        name: for `--only`.
        commands: in this order.
        files: what the folder holds before, by path.
    """

    name: str
    commands: tuple[Command, ...]
    files: Mapping[str, str] = field(default_factory=dict)


def optrun(line: str, *more: str, code: int = 0, talk: bool = False, **env: str) -> Command:
    """Return a command line, written as in a shell without quotes; `more` are arguments with spaces in them."""
    return Command((*line.split(), *more), code, talk, env)


def python(script: str, *, code: int = 0) -> Command:
    """Return a run of a script of the user's."""
    return Command((), code, script=script)


def own_file(name: str) -> str:
    """Return a file of `files/`, which a case has beside its configurations."""
    return (Path(__file__).parents[1] / "files" / name).read_text()
