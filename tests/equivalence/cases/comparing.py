"""Comparisons and sweeps: their folders, their verdicts, and everything that is read from them."""

from __future__ import annotations

from .case import FREEZE, TINY, Case, Command, optrun

_OTHER = TINY.replace("sgd, lr: 0.1", "adam, lr: 0.01")

_STUDY = """\
base: tiny.yaml
entries:
  plain: {optimizer: {name: sgd, lr: 0.2}}
  heavy: {extends: other, optimizer: {name: mom, lr: 0.1, momentum: 0.95}}
  wild: {optimizer: {name: sgd, lr: 1.0e+38}, train: {clip_norm: null}}
seeds: 4
tune: null
baseline: plain
margin: 0.02
metric: test/loss
target: 0.7
gate: heavy not worse than plain
"""


def _reading(group: str, *, entries: bool = True) -> tuple[Command, ...]:
    """Return the commands that read a group, once its clocks are set."""
    exports = ("md", "csv", "json", "html", "svg")
    return (
        FREEZE,
        optrun(f"show {group}"),
        optrun(f"show {group} --json"),
        *(optrun(f"report {group} -o result.{suffix}") for suffix in exports),
        optrun(f"report {group} -o -"),
        optrun("runs"),
        optrun("runs --json"),
        optrun(f"plot {group} --json"),
        *([optrun(f"plot {group} --x epoch --y val/loss")] if entries else []),
    )


CASES = (
    Case(
        "compare-tuned",
        (
            optrun("compare tiny.yaml other.yaml --seeds 3 --tune 3 -j 1 --json", talk=True),
            optrun("compare tiny.yaml other.yaml --seeds 3 --tune 3 -j 1 --no-train --json"),
            optrun(
                "compare tiny.yaml other.yaml --seeds 4 --tune 3 -j 1 --json",
                "--gate",
                "other better than tiny",
                code=1,
            ),
            *_reading("compare-tiny"),
        ),
        {"tiny.yaml": TINY, "other.yaml": _OTHER},
    ),
    Case(
        "compare-study",
        (
            optrun("compare study.yaml -j 1 --json"),
            optrun("compare run:nobody tiny.yaml", code=5),
            optrun("compare tiny.yaml", code=2),
            *_reading("compare-plain"),
        ),
        {"tiny.yaml": TINY, "other.yaml": _OTHER, "study.yaml": _STUDY},
    ),
    Case(
        "compare-runs",
        (
            *(
                optrun(f"train {name}.yaml seed={seed} --name {name}-{seed} -q")
                for name in ("tiny", "other")
                for seed in (0, 1)
            ),
            optrun("compare run:tiny-0 run:other-0 -j 1 --json"),
            *_reading("compare-"),
            optrun("report tiny-0 other-0 -o two.html"),
            optrun("diff tiny-0 other-0"),
            optrun("diff tiny-0 other-0 --json --exit-code", code=1),
            optrun("plot tiny-0 other-0 --y loss -o curves.svg"),
            optrun("plot tiny-0"),
            optrun("show tiny-0"),
            optrun("show tiny-0 --json"),
        ),
        {"tiny.yaml": TINY, "other.yaml": _OTHER},
    ),
    Case(
        "sweep-grid",
        (
            optrun("sweep tiny.yaml optimizer.lr=log:0.01:1 --trials 3 -j 1 --json", talk=True),
            *_reading("sweep-tiny", entries=False),
        ),
        {"tiny.yaml": TINY},
    ),
    Case(
        "sweep-values",
        (
            optrun("sweep other.yaml optimizer.betas.0=0,0.9 --seeds 1 -j 1 --json", code=2),
            optrun("sweep other.yaml data.batch_size=10,20 --seeds 1 -j 1 --json"),
            optrun("sweep other.yaml optimizer.lr=log:0.001:0.1 --method random --trials 2 --seeds 1 -j 1 --json"),
            *_reading("sweep-other-lr", entries=False),
        ),
        {"other.yaml": _OTHER},
    ),
)
