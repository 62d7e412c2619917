"""MLflow and W&B: the calls, against stand-ins; and MLflow itself, where it is installed."""

from __future__ import annotations

import os
import sys

import pytest

from optrun.experiments import Every, Hook, LoggingHook, build, load_config, train
from optrun.experiments.components.hooks.mlflow import MlflowHook
from optrun.experiments.components.hooks.wandb import WandbHook
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import StorageError, TransientError, UsageError

from ...helpers import run_steps, small_train_op
from .recorded import Mlflow, Wandb


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "WANDB_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def mlflow(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", module := Mlflow())
    return module


@pytest.fixture
def wandb(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", module := Wandb())
    return module


def steps(num_steps, hook, folder=None, *more, **options):
    logging = LoggingHook(Every(steps=2), lines=False)
    return run_steps(small_train_op(), num_steps, logging, hook, *more, checkpoint_dir=folder, **options)


class Fault(Hook):
    """Raise a passing error after step 5, once."""

    done = False

    def after_run(self, ctx, values):
        if ctx.step == 5 and not self.done:
            self.done = True
            raise TransientError("once")


def logged(session, name="loss"):
    return [(row["step"], row[name]) for row in session.rows.rows()]


# ---- MLflow ----------------------------------------------------------------------------------------------------------


def test_mlflow_gets_rows_final_values_and_status(mlflow, tmp_path):
    class Final(Hook):
        def after_run(self, ctx, values):
            ctx.session.final["test/accuracy"] = 0.75

    hook = MlflowHook(params={"a": {"b": 1, "c": [1, 2]}, "d": None})
    session = steps(6, hook, tmp_path / "mom-0001", Final())
    ((_, run),) = mlflow.runs.items()
    points = mlflow.points()
    assert points.pop("test/accuracy") == [(6, 0.75)]
    assert points == {name: logged(session, name) for name in ("loss", "lr", "batch", "examples", "epoch")}
    assert (run["name"], run["status"], run["params"]) == ("mom-0001", "FINISHED", {"a.b": "1", "a.c": "[1, 2]"})
    folder = (tmp_path / "mom-0001").as_posix()
    assert mlflow.calls == [
        ("MlflowClient", f"sqlite:///{folder}/mlflow.db"),
        ("create_experiment", "optrun", f"file://{folder}/mlflow-artifacts"),
    ]


def test_mlflow_uses_the_server_and_experiment_of_its_variables(mlflow, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker:5000")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    steps(2, MlflowHook(), tmp_path)
    assert mlflow.calls == [("MlflowClient", "http://tracker:5000"), ("create_experiment", "mine", None)]
    mlflow.calls.clear()
    steps(2, MlflowHook("other"))
    assert ("create_experiment", "other", None) in mlflow.calls, "an argument wins, and no folder is needed"


def test_a_resumed_run_is_the_same_mlflow_run_and_holds_no_point_twice(mlflow, tmp_path):
    steps(5, MlflowHook(), tmp_path)
    kept = {path.name: path.read_bytes() for path in tmp_path.glob("step-*")}
    steps(9, MlflowHook(), tmp_path)
    for path in tmp_path.glob("step-*"):  # as if the second process had been killed before it saved
        path.unlink()
    for name, content in kept.items():
        (tmp_path / name).write_bytes(content)
    session = steps(12, MlflowHook(), tmp_path)
    assert len(mlflow.runs) == 1
    assert mlflow.points()["loss"] == logged(session)
    assert [step for step, _ in logged(session)] == [2, 4, 6, 8, 10, 12]


def test_a_run_that_takes_another_turn_sends_its_own_points(mlflow, tmp_path):
    """What was lost with a killed process differs from what replaces it: both are there, the new one later."""
    steps(5, MlflowHook(), tmp_path)
    mlflow.runs["run0"]["metrics"].append(mlflow.entities.Metric("loss", 99.0, 0, 6))
    session = steps(6, MlflowHook(), tmp_path)
    assert mlflow.points()["loss"] == [*logged(session)[:2], (6, 99.0), logged(session)[2]]


def test_rows_of_one_step_share_their_position(mlflow, tmp_path):
    class Another(Hook):
        def after_run(self, ctx, values):
            ctx.session.write_row(other=1.0)
            ctx.session.final["other"] = 1.0

    steps(3, MlflowHook(), tmp_path, Another())
    assert mlflow.points()["batch"] == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert mlflow.points()["other"] == [(1, 1.0), (2, 1.0), (3, 1.0)]


def test_a_hook_that_joins_later_brings_the_rows_from_before(mlflow, tmp_path):
    run_steps(small_train_op(), 5, LoggingHook(Every(steps=2), lines=False), checkpoint_dir=tmp_path)
    session = steps(8, MlflowHook(), tmp_path)
    assert mlflow.points()["loss"] == logged(session)


def test_a_recovery_sends_nothing_twice(mlflow, tmp_path):
    session = steps(8, MlflowHook(), tmp_path, Fault(), save_checkpoint_steps=3, retry_wait_secs=0.0)
    assert mlflow.points()["loss"] == logged(session)


def test_large_rows_are_sent_in_parts(mlflow, tmp_path):
    class Wide(Hook):
        def after_run(self, ctx, values):
            ctx.session.write_row(**{f"norm/{number}": number for number in range(2500)})

    run_steps(small_train_op(), 1, Wide(), MlflowHook(params={str(n): n for n in range(250)}), checkpoint_dir=tmp_path)
    ((_, run),) = mlflow.runs.items()
    assert len(mlflow.points()) == 2500 + 3  # and batch, examples, epoch
    assert len(run["params"]) == 250


def test_what_is_no_number_is_left_out(mlflow, tmp_path):
    class Odd(Hook):
        def after_run(self, ctx, values):
            ctx.session.write_row(nan=float("nan"), text="a", many=[1], good=1)

    run_steps(small_train_op(), 1, Odd(), MlflowHook(), checkpoint_dir=tmp_path)
    assert set(mlflow.points()) == {"batch", "examples", "epoch", "good"}


def test_a_server_that_fails_later_ends_no_training(mlflow, tmp_path, caplog):
    class Outage(Hook):
        def after_run(self, ctx, values):
            mlflow.broken = 3 <= ctx.step < 11

    session = steps(12, MlflowHook(), tmp_path, Outage())
    assert session.outcome == "done"
    assert mlflow.points()["loss"] == logged(session), "at the end, what was missing is sent"
    (warning,) = [record.message for record in caplog.records if "mlflow" in record.message]
    assert warning == (
        "mlflow: OSError: the server is gone; rows that wait for the end of the run: 1 (metrics.jsonl has all)"
    )


def test_a_recovery_while_the_server_is_away_ends_no_training(mlflow, wandb, tmp_path):
    class Outage(Hook):
        def after_run(self, ctx, values):
            mlflow.broken = wandb.broken = 3 <= ctx.step < 8

    options = {"save_checkpoint_steps": 3, "retry_wait_secs": 0.0}
    session = steps(8, MlflowHook(), tmp_path, Outage(), WandbHook(), Fault(), **options)
    assert (session.outcome, session.recoveries) == ("done", 0)
    assert mlflow.points()["loss"] == logged(session)
    assert wandb.runs[0].rows == session.rows.rows()


def test_a_server_that_stays_away_is_said_again_at_the_end(mlflow, tmp_path, caplog):
    class Outage(Hook):
        def after_run(self, ctx, values):
            mlflow.broken = True

    assert steps(6, MlflowHook(), tmp_path, Outage()).outcome == "done"
    warnings = [record.message for record in caplog.records if "mlflow" in record.message]
    assert [warning.partition("; ")[2] for warning in warnings] == [
        "rows that wait for the end of the run: 1 (metrics.jsonl has all)",
        "rows that were not sent: 3 (metrics.jsonl has all)",
    ], "and no third attempt"


def test_a_server_that_is_not_there_at_the_start_is_an_error(mlflow, tmp_path):
    mlflow.broken = True
    with pytest.raises(StorageError, match=r"mlflow cannot open its run: OSError: the server is gone.* log\.to"):
        steps(2, MlflowHook(params={"a": 1}), tmp_path)


def test_nowhere_to_write_is_an_error(mlflow):
    with pytest.raises(UsageError, match="needs MLFLOW_TRACKING_URI"):
        steps(2, MlflowHook())


# ---- W&B -------------------------------------------------------------------------------------------------------------


def test_wandb_gets_rows_final_values_and_outcome(wandb, tmp_path):
    session = steps(6, WandbHook(params={"a": {"b": 1}}), tmp_path / "mom-0001")
    (init,), (run,) = wandb.inits, wandb.runs
    assert run.rows == session.rows.rows()
    assert run.defined == [("*", "step")]
    assert (run.summary, run.exit_code) == ({"outcome": "done"}, 0)
    assert init["mode"] == "offline", "nothing leaves the machine unasked"
    assert (init["project"], init["name"], init["config"]) == ("optrun", "mom-0001", {"a.b": 1})
    assert init["dir"] == str(tmp_path / "mom-0001")


def test_wandb_uses_its_variables(wandb, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    steps(1, WandbHook(), tmp_path)
    steps(1, WandbHook("other", mode="disabled"), tmp_path)
    assert [(init["mode"], init["project"]) for init in wandb.inits] == [("online", "mine"), ("disabled", "other")]


def test_a_resumed_run_has_the_same_wandb_id(wandb, tmp_path):
    steps(5, WandbHook(), tmp_path)
    session = steps(8, WandbHook(), tmp_path)
    first, second = wandb.inits
    assert first["id"] == second["id"]
    assert second["resume"] == "allow"
    assert [row["step"] for row in wandb.runs[0].rows + wandb.runs[1].rows] == [2, 4, 6, 8]
    assert wandb.runs[0].rows + wandb.runs[1].rows == session.rows.rows()


def test_wandb_learns_of_a_bad_end(wandb, tmp_path):
    class Failing(Hook):
        def after_run(self, ctx, values):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        steps(5, WandbHook(), tmp_path, Failing())
    (run,) = wandb.runs
    assert (run.summary, run.exit_code) == ({"outcome": "failed"}, 1)


# ---- both ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", [MlflowHook, WandbHook])
def test_a_missing_package_names_the_extra(hook, monkeypatch):
    monkeypatch.setitem(sys.modules, hook.package, None)  # which makes the import fail
    with pytest.raises(UsageError, match=rf"{hook.package} cannot be imported.*pip install 'optrun\[{hook.package}\]'"):
        hook()


def config(*to):
    return {
        "name": "tracked",
        "data": {"name": "digits", "subset": 128},
        "model": "logistic",
        "loss": "cross_entropy",
        "optimizer": {"name": "sgd", "lr": 0.25},
        "train": {"steps": 4},
        "log": {"every": "2 steps", "to": list(to)},
    }


def test_log_to_sets_them_up_with_the_configuration(mlflow, wandb):
    run = train(config("mlflow", "wandb"))
    ((_, remote),) = mlflow.runs.items()
    assert remote["params"]["optimizer.lr"] == "0.25"
    assert wandb.inits[0]["config"]["optimizer.lr"] == 0.25
    assert mlflow.points()["test/loss"] == [(4, run.summary["final"]["test/loss"])]
    assert wandb.runs[0].summary["test/loss"] == run.summary["final"]["test/loss"]
    assert [row["step"] for row in wandb.runs[0].rows] == [row["step"] for row in run.rows]


def test_a_missing_package_is_an_error_at_its_key(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"log\.to: the package wandb cannot be imported"):
        build(load_config(config("wandb")))


def test_a_session_that_keeps_nothing_sends_nothing(mlflow):
    made = build(load_config(config("mlflow", "csv", "tensorboard")))
    with made.session() as session:
        while not session.should_stop():
            session.run(made.train_op)
    assert mlflow.runs == {}


# ---- the packages themselves -----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("default")  # theirs
def test_mlflow_itself(tmp_path):
    mlflow = pytest.importorskip("mlflow")
    steps(5, MlflowHook(), tmp_path)
    session = steps(8, MlflowHook(params={"lr": 0.1}), tmp_path)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("optrun").experiment_id])
    assert run.info.status == "FINISHED"
    points = client.get_metric_history(run.info.run_id, "loss")
    assert sorted((point.step, point.value) for point in points) == logged(session)


@pytest.mark.filterwarnings("default")
def test_wandb_itself(tmp_path):
    pytest.importorskip("wandb")
    steps(5, WandbHook(), tmp_path)
    steps(8, WandbHook(), tmp_path)
    folders = sorted(path.name for path in (tmp_path / "wandb").glob("offline-run-*"))
    assert len(folders) == 2
    assert len({name.rpartition("-")[2] for name in folders}) == 1, "one id"
