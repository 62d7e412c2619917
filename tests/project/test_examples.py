"""The scripts of docs/examples do what they say, on the command line or called with less to do."""

from __future__ import annotations

import ast
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import optrun.experiments
from optrun.experiments import (
    Batches,
    Comparison,
    MonitoredTrainingSession,
    Run,
    StopAtStepHook,
    build_train_op,
    make_data,
    make_optimizer,
)

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


@pytest.fixture(autouse=True)
def _no_window(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def names_of(script: str, run_as: str = "example") -> dict[str, Any]:
    """Execute a script in this process, and return its names."""
    return runpy.run_path(str(EXAMPLES / f"{script}.py"), run_name=run_as)


# ---- all of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_is_short_and_uses_public_names_alone(script):
    text = script.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("optrun") for alias in node.names)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("optrun"):
            assert node.module == "optrun.experiments"
            assert {alias.name for alias in node.names} <= set(optrun.experiments.__all__)


def test_the_page_of_the_library_leads_to_each_example():
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    assert [path.name for path in SCRIPTS if f"(examples/{path.name})" not in page] == []


# ---- own_tensors.py --------------------------------------------------------------------------------------------------


def test_own_tensors_finds_the_rule_and_goes_on_where_it_was():
    main = names_of("own_tensors")["main"]
    model = main(last_step=200)
    torch.testing.assert_close(model.weight, torch.tensor([[1.0, -2.0, 0.5, 3.0]]), atol=0.03, rtol=0)
    rows = Path("runs/own-tensors/metrics.jsonl").read_bytes()
    again = main(last_step=200)
    torch.testing.assert_close(again.weight, model.weight, atol=0, rtol=0)
    assert Path("runs/own-tensors/metrics.jsonl").read_bytes() == rows


# ---- own_optimizer.py ------------------------------------------------------------------------------------------------


def test_own_optimizer_is_lion_with_one_beta():
    """Lion steps along sign(beta1 * m + (1 - beta1) * g), and keeps m by beta2: with equal betas the same rule."""
    rule = names_of("own_optimizer")["SignMomentum"]
    weights = []
    for make in (
        lambda model: rule(model.parameters(), lr=0.01, beta=0.8),
        lambda model: make_optimizer(model, "lion", lr=0.01, betas=(0.8, 0.8), weight_decay=0.0),
    ):
        torch.manual_seed(0)
        model = nn.Linear(5, 3)
        batches = Batches(torch.randn(40, 5), torch.randn(40, 3), batch_size=8, num_epochs=3)
        train_op = build_train_op(model, nn.functional.mse_loss, make(model), data=batches)
        with MonitoredTrainingSession(train_op) as session:
            while not session.should_stop():
                session.run(train_op)
        weights.append(model.weight)
    torch.testing.assert_close(weights[0], weights[1])


def test_own_optimizer_is_compared_by_a_paired_t_test(capsys):
    from scipy.stats import ttest_rel

    names = names_of("own_optimizer")
    assert not Path("runs").exists(), "workers that import the script must not compare in their turn"
    code = names["main"](["model=logistic", "train.epochs=1"], seeds=4, tune=None, jobs=1)
    (path,) = Path("runs").glob("compare-adam-own_optimizer-*")
    comparison = Comparison(path)
    pair, values = comparison.analysis.pair("adam", "own_optimizer"), comparison.values()
    assert capsys.readouterr().out == f"{comparison.sentence}\n"
    assert code == (1 if pair.verdict.winner == "adam" else 0)
    own, adam = ([values[name][seed] for seed in range(4)] for name in ("own_optimizer", "adam"))
    assert own != adam
    assert pair.result.p == pytest.approx(ttest_rel(own, adam).pvalue)


# ---- own_hook.py -----------------------------------------------------------------------------------------------------


def travel(
    num_steps: int, folder: str = "runs/whole", *, lr: float = 0.1, every: int = 2
) -> tuple[list[dict[str, float]], float]:
    """Descend a bowl that is equally steep on all sides; return the hook's rows, and how far the bottom was away."""
    names = names_of("own_hook")
    torch.manual_seed(0)
    model = nn.Linear(4, 1, bias=False)
    start = model.weight.detach().clone()
    targets = torch.tensor([[1.0], [-2.0], [0.5], [3.0]])
    batches = Batches(torch.eye(4), targets, batch_size=4)
    train_op = build_train_op(model, nn.functional.mse_loss, make_optimizer(model, "sgd", lr=lr), data=batches)
    hooks = [names["TravelHook"](names["Every"](steps=every)), StopAtStepHook(last_step=num_steps)]
    with MonitoredTrainingSession(hooks=hooks, checkpoint_dir=folder) as session:
        while not session.should_stop():
            session.run(train_op)
    lines = Path(folder, "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [{key: row[key] for key in ("step", "distance", "way")} for row in map(json.loads, lines)]
    return rows, float((start.flatten() - targets.flatten()).norm())


def test_own_hook_measures_a_straight_way_in_a_round_bowl():
    """There w(t) - w* = (1 - lr / 2)^t (w(0) - w*), for a mean over four examples."""
    rows, radius = travel(10)
    assert [row["step"] for row in rows] == [2, 4, 6, 8, 10]
    for row in rows:
        assert row["distance"] == pytest.approx(radius * (1 - 0.95 ** row["step"]), rel=1e-5)
        assert row["way"] == pytest.approx(row["distance"], rel=1e-5)


def test_own_hook_adds_up_the_pieces_of_a_way_that_overshoots():
    """At lr 3 each step leads to the other side of the bottom, half as far from it as before."""
    rows, radius = travel(10, lr=3.0, every=1)
    for row in rows:
        assert row["distance"] == pytest.approx(radius * (1 - (-0.5) ** row["step"]), rel=1e-5)
        assert row["way"] == pytest.approx(radius * 3 * (1 - 0.5 ** row["step"]), rel=1e-5)


def test_own_hook_survives_a_restart():
    travel(6, "runs/halves")
    assert travel(10, "runs/halves") == travel(10)


def test_own_hook_can_be_named_in_a_configuration():
    names_of("own_hook", "__main__")
    run = Run("runs/mom-0001")
    distance, way = run.metrics["distance"], run.metrics["way"]
    assert list(distance.steps) == list(range(17, 171, 17))
    assert (distance.values <= way.values * (1 + 1e-6)).all()


# ---- own_schedule.py -------------------------------------------------------------------------------------------------


def test_own_schedule_trains_at_the_rates_of_its_formula():
    names = names_of("own_schedule")
    value = names["sawtooth"]
    points = [value(step, length=10, decay=0.5) for step in (0, 5, 9, 10, 15, 20)]
    assert points == pytest.approx([1.0, 0.5, 0.1, 0.5, 0.25, 0.25])
    run = names["main"]()
    first = run.config["optimizer"]["lr"]
    assert 1e-4 < first < 10
    rates = run.metrics["lr"]
    assert list(rates.values) == pytest.approx([first * value(step - 1, length=34) for step in rates.steps])
    assert run.summary["final"]["test/accuracy"] > 0.9
    assert Path("own_schedule.png").read_bytes().startswith(b"\x89PNG")


# ---- fine_tune.py ----------------------------------------------------------------------------------------------------


def test_fine_tune_begins_ahead():
    names = names_of("fine_tune", "__main__")
    scans = names["scans"](0, 5, shift=1)
    assert torch.equal(scans.inputs[..., 1:], make_data("digits").inputs[:5, ..., :-1])
    fresh, tuned = (Run(f"runs/{name}").metrics["val/loss"].values for name in ("fresh", "tuned"))
    assert tuned[0] < 0.75 * fresh[0]
    assert "tensors from runs/scanner/checkpoints/" in Path("runs/tuned/log.txt").read_text(encoding="utf-8")
    assert Path("fine_tune.png").read_bytes().startswith(b"\x89PNG")


# ---- hugging_face.py -------------------------------------------------------------------------------------------------


def test_hugging_face_trains_a_model_that_computes_its_loss(capsys):
    pytest.importorskip("transformers", reason="the extra `hf` is not installed")
    names = names_of("hugging_face")
    assert names["train_op"].global_step == 8
    assert capsys.readouterr().out.startswith("64 examples, loss 0.")


# ---- gan.py ----------------------------------------------------------------------------------------------------------


def test_gan_trains_each_player_by_its_own_loss():
    """The gradients of the sum are those of two losses taken apart, as two optimizers in turn would have them."""
    names = names_of("gan")
    model, real = names["Gan"](), torch.randn(50, 1)
    torch.manual_seed(1)
    model(real).mean().backward()
    torch.manual_seed(1)
    softplus, generated = nn.functional.softplus, model.generator(torch.randn(50, 2))
    of_critic = (softplus(-model.critic(real)) + softplus(model.critic(generated))).mean()
    of_generator = softplus(-model.critic(generated)).mean()
    for player, loss in ((model.critic, of_critic), (model.generator, of_generator)):
        expected = torch.autograd.grad(loss, list(player.parameters()), retain_graph=True)
        torch.testing.assert_close([parameter.grad for parameter in player.parameters()], list(expected))


def test_gan_moves_towards_the_data():
    fakes = names_of("gan")["train"](num_passes=3).generator(torch.randn(1000, 2))
    assert abs(float(fakes.detach().mean()) - 3) < 1
