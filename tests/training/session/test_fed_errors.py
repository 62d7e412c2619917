"""What hooks feed and the step cannot take: told at the hook's own key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from optrun.experiments import train
from optrun.experiments.config import ConfigError

FUNCTIONS = """
def unknown(step): return {"momentun": 0.1}
def nan(step): return {"momentum": float("nan")}
def text(step): return {"momentum": "much"}
def raises(step): return {"momentum": lambda own: 1 / 0}
def lacks(step): return {"momentum": lambda own: {}["x"]}
def batch(step): return {"batch": 3}
def entries(step): return {"batch": {"x": 3}}
def rate(step): return {"lr": 0.1}
"""
SAID = {
    "unknown": "nothing to feed is called 'momentun'. Did you mean 'momentum'?",
    "nan": "what is fed for momentum is nan (float): expected a finite number",
    "text": "what is fed for momentum is the text 'much': expected a finite number",
    "raises": "ZeroDivisionError: division by zero",
    "lacks": "KeyError: 'x'",
    "batch": "a batch is 3 (int), in which nothing says what the target is",
    "entries": "a batch is a dict with 'x', in which nothing says what the target is",
    "rate": "both feed 'lr'",
}


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("name", SAID)
def test_what_a_hook_feeds_is_told_at_its_key(name: str, place: int, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("feeds.py").write_text(FUNCTIONS)
    hooks = ["{name: norms, every: 1}", f"{{name: feed, function: './feeds.py:{name}'}}"]
    lines = ["extends: mom", "data: iris", "model: logistic", "train: {steps: 2, epochs: null}", "hooks:"]
    lines += [f"  - {hook}" for hook in (hooks if place else reversed(hooks))]
    Path("mine.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigError) as caught:
        train("mine.yaml", root=tmp_path / "runs")
    (problem,) = caught.value.problems
    assert problem.key == f"hooks.{place}"
    assert (problem.origin.file, problem.origin.line) == ("mine.yaml", 6 + place)
    assert problem.message.startswith(SAID[name]) or SAID[name] in problem.message
    assert "what hook 'feed' feeds for " in problem.message
