"""Traces: which steps they hold, and that others do not notice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from optrun.experiments import Every, Hook, LoggingHook
from optrun.experiments.components.hooks.profiler import ProfilerHook
from optrun.experiments.errors import TransientError, UsageError

from ...helpers import run_steps, small_train_op


def traces(folder):
    """Return how many optimizer steps each trace holds, by file name."""
    found = {}
    for path in folder.glob("*"):
        events = json.loads(path.read_text())["traceEvents"]
        found[path.name] = sum(event.get("name", "").startswith("Optimizer.step") for event in events)
    return found


def test_a_trace_holds_its_steps(tmp_path):
    run_steps(small_train_op(), 10, ProfilerHook(Every(steps=4), num_steps=2), checkpoint_dir=tmp_path)
    assert traces(tmp_path / "traces") == {"trace-4.json": 2, "trace-8.json": 2}


def test_epochs_and_another_folder(tmp_path):
    run_steps(small_train_op(), 5, ProfilerHook(Every(epochs=1), output_dir=str(tmp_path / "there")))
    assert traces(tmp_path / "there") == {"trace-4.json": 1}  # 4 steps an epoch


def test_seconds_count_from_the_last_trace(tmp_path, monkeypatch):
    from optrun.experiments.components.hooks import profiler

    now = [0.0]

    class Slow(Hook):
        """Let a step take two seconds."""

        def after_run(self, ctx, values):
            now[0] += 2.0

    monkeypatch.setattr(profiler.time, "monotonic", lambda: now[0])
    run_steps(small_train_op(), 11, Slow(), ProfilerHook(Every(secs=5.0)), checkpoint_dir=tmp_path)
    # Steps begin at 0, 2, 4, 6 s: the fourth is the first to begin after 5 s. Its trace ends at 8 s, so that the next
    # one is due at 13 s: step 8 begins at 14 s.
    assert traces(tmp_path / "traces") == {"trace-4.json": 1, "trace-8.json": 1}


@pytest.mark.parametrize("show_memory", [False, True])
def test_memory_on_request(tmp_path, show_memory):
    run_steps(small_train_op(), 2, ProfilerHook(Every(steps=2), show_memory=show_memory), checkpoint_dir=tmp_path)
    assert ("[memory]" in (tmp_path / "traces" / "trace-2.json").read_text()) == show_memory


def test_a_trace_that_the_end_cuts_short_holds_what_was_done(tmp_path):
    run_steps(small_train_op(), 5, ProfilerHook(Every(steps=4), num_steps=4), checkpoint_dir=tmp_path)
    assert traces(tmp_path / "traces") == {"trace-4.json": 2}


def test_a_failure_leaves_no_profiler_running(tmp_path):
    class Failing(Hook):
        def after_gradients(self, ctx):
            if ctx.step == 3:
                raise ZeroDivisionError

    for _ in range(2):  # a second profiler could not start beside one that still runs
        with pytest.raises(ZeroDivisionError):
            run_steps(small_train_op(), 9, ProfilerHook(Every(steps=4)), Failing(), checkpoint_dir=tmp_path)
        assert not (tmp_path / "traces").exists()


def test_a_recovery_begins_the_trace_anew(tmp_path):
    class Fault(Hook):
        done = False

        def after_run(self, ctx, values):
            if ctx.step == 5 and not self.done:
                self.done = True
                raise TransientError("once")

    options = {"checkpoint_dir": tmp_path, "save_checkpoint_steps": 2, "retry_wait_secs": 0.0}
    run_steps(small_train_op(), 8, ProfilerHook(Every(steps=5), num_steps=3), Fault(), **options)
    assert traces(tmp_path / "traces") == {"trace-5.json": 3}


def test_rows_are_the_same_with_and_without(tmp_path):
    def rows(*hooks):
        session = run_steps(small_train_op(), 6, LoggingHook(Every(steps=1), lines=False), *hooks)
        return [{**row, "time": 0} for row in session.rows.rows()]

    assert rows(ProfilerHook(Every(steps=2), output_dir=str(tmp_path))) == rows()


def test_traces_that_overlap_and_nowhere_to_write_are_refused():
    with pytest.raises(UsageError, match="a trace of 5 steps does not fit between traces every 4 steps"):
        ProfilerHook(Every(steps=4), num_steps=5)
    with pytest.raises(UsageError, match="ProfilerHook needs output_dir"):
        run_steps(small_train_op(), 1, ProfilerHook())


@pytest.mark.parametrize("wanted", [None, "0"])
def test_torch_writes_nothing_of_it_to_the_terminal_unless_the_user_wants_it(server, wanted):
    """The library behind it reads the variable once, so that this takes a process of its own."""
    program = (
        "import tempfile\n"
        "from optrun.experiments import Every\n"
        "from optrun.experiments.components.hooks.profiler import ProfilerHook\n"
        "from tests.helpers import run_steps, small_train_op\n"
        "run_steps(small_train_op(), 4, ProfilerHook(Every(steps=2)), checkpoint_dir=tempfile.mkdtemp())\n"
        "import os; print(os.environ.get('KINETO_LOG_LEVEL'))\n"
    )
    variables = {"PYTHONPATH": str(Path(__file__).parents[3])}
    variables |= {} if wanted is None else {"KINETO_LOG_LEVEL": wanted}
    child = server.new_python(program, variables=variables)
    out, err = (stream.decode() for stream in child.communicate())
    assert child.returncode == 0, err
    assert ("profiler_start" in err) == (wanted is not None)
    assert out.splitlines()[-1] == str(wanted)
