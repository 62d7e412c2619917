"""optrun as a process among others: signals, pipes that break, streams that are closed, runs that are in use."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from optrun.experiments.run_directory.run import Run

LONG = "train.epochs=100000"
WAIT_SECS = 60
SLOW_HOOK = """\
import time
from optrun.experiments import Hook


class Slow(Hook):
    def after_run(self, ctx, values):
        open("reached", "w").close()
        time.sleep(600)
"""


def wait_for(condition, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + WAIT_SECS
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def read_until(process: subprocess.Popen[bytes], words: bytes) -> bytes:
    assert process.stderr is not None
    seen = b""
    while words not in seen:
        line = process.stderr.readline()
        assert line, seen.decode()
        seen += line
    return seen


def control_codes(output: bytes) -> list[bytes]:
    return [code for code in (b"\x1b", b"\r", b"\x08") if code in output]


def test_a_run_in_use_is_refused_and_sigterm_saves_it_for_resume(shell, optrun, folder):
    first = shell("train", "tiny.yaml", LONG, "--name", "a")
    read_until(first, b"epoch=")
    second = optrun("train", "tiny.yaml", LONG, "--name", "a")
    assert second.code == 73
    assert f"process {first.pid}" in second.err
    assert "a " in optrun("runs", "--status", "running").out
    first.send_signal(signal.SIGTERM)
    out, err = first.communicate(timeout=WAIT_SECS)
    assert first.returncode == 143
    assert b"stopped by SIGTERM after step" in err
    assert b"resume: optrun resume a\n" in err
    assert out == b""
    saved = Run(folder / "runs/a")
    assert saved.state == "interrupted"
    step = saved.checkpoint().step
    assert step == saved.status["step"] > 0
    longer = optrun("resume", "a", f"train.steps={step + 5}", "train.epochs=null", "--allow-change")
    assert longer.code == 0, longer.err
    assert f"going on from step {step} of {step + 5}" in longer.err
    assert f"a: done after {step + 5:,} steps" in longer.out
    rows = [(row["step"], "loss" in row) for row in saved.rows]
    assert len(rows) == len(set(rows))
    assert [step for step, _ in rows] == sorted(step for step, _ in rows)


def test_sigint_ends_with_130_and_one_json_document(shell, folder):
    process = shell("train", "tiny.yaml", LONG, "--json")
    read_until(process, b"epoch=")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=WAIT_SECS)
    assert process.returncode == 130
    assert json.loads(out)["outcome"] == "interrupted"
    assert b"resume: optrun resume tiny-0001" in err
    assert Run(folder / "runs/tiny-0001").state == "interrupted"


def test_a_second_sigint_does_not_wait(shell, folder):
    (folder / "slow.py").write_text(SLOW_HOOK)
    process = shell("train", "tiny.yaml", "hooks=[./slow.py:Slow]")
    wait_for((folder / "reached").exists, process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=WAIT_SECS)
    assert process.returncode == 130
    assert b"second SIGINT" in err
    assert b"Traceback" not in err
    assert Run(folder / "runs/tiny-0001").state == "interrupted"


BACKGROUND = """
    import signal
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from optrun.cli import main
    main()
"""


def test_a_background_job_of_a_script_ignores_sigint_and_hears_sigterm(server, folder):
    """As `optrun train … &` in a script: the shell starts it with SIGINT ignored."""
    process = server.python(BACKGROUND, "train", "tiny.yaml", LONG, "log.lines=0.3s", "--name", "a")
    try:
        read_until(process, b"epoch=")
        process.send_signal(signal.SIGINT)
        read_until(process, b"epoch=")
        read_until(process, b"epoch=")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=WAIT_SECS)
    finally:
        process.kill()
    assert process.returncode == 143
    assert b"stopped by SIGTERM after step" in err
    assert Run(folder / "runs/a").state == "interrupted"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc to see that the handler is there")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_during_the_imports_ends_at_once(interpreter, signum, code):
    process = interpreter("train", "tiny.yaml", LONG)

    def handles_sigterm() -> bool:
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        return bool(caught >> (signal.SIGTERM - 1) & 1)

    wait_for(handles_sigterm, process)
    process.send_signal(signum)
    _, err = process.communicate(timeout=WAIT_SECS)
    assert process.returncode == code
    assert b"Traceback" not in err
    assert not Path("runs").exists()


def test_a_pipe_gets_plain_lines_whatever_the_environment_says(shell):
    env = {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1", "TTY_COMPATIBLE": "1", "TTY_INTERACTIVE": "1", "TERM": "xterm"}
    process = shell("train", "tiny.yaml", env={**env, "PYTHONIOENCODING": "ascii"})
    out, err = process.communicate(timeout=WAIT_SECS)
    assert process.returncode == 0, err
    assert control_codes(out + err) == []
    assert (out + err).isascii()
    assert b"tiny-0001 - tiny.yaml" in err  # the dot in the middle is not ASCII
    assert b"epoch=2/2 step=12" in err


def test_training_imports_no_more_than_it_uses(server):
    code = (
        "import sys\nfrom optrun.cli import app\nassert app.run(['train', 'tiny.yaml', '-q']) == 0\n"
        "unused = {'rich', 'matplotlib', 'jinja2', 'tensorboard', 'sklearn', 'scipy', 'pandas'} & set(sys.modules)\n"
        "sys.exit(f'imported {unused}' if unused else 0)"
    )
    process = server.new_python(code)
    _, err = process.communicate()
    assert process.returncode == 0, err


def test_what_ascii_does_not_have_is_spelt_out(shell):
    process = shell("describe", "adam", env={"PYTHONIOENCODING": "ascii:strict"})
    out, err = process.communicate(timeout=WAIT_SECS)
    assert process.returncode == 0, err
    assert b"sqrt(v / (1 - beta2^t))" in out
    as_json = shell("describe", "adam", "--json", env={"PYTHONIOENCODING": "ascii:strict"})
    assert "√" in json.loads(as_json.communicate(timeout=WAIT_SECS)[0])["text"]


@pytest.mark.parametrize("variables", [{}, {"CI": "true"}, {"TERM": "dumb"}])
def test_a_terminal_gets_one_live_line_unless_nobody_watches(shell, folder, variables):
    leader, follower = pty.openpty()
    # Longer than the tenth of a second after which a line is drawn.
    process = shell("train", "tiny.yaml", "train.epochs=600", env={"TERM": "xterm", **variables}, stderr=follower)
    os.close(follower)
    shown = b""
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(leader)
    assert process.wait(timeout=WAIT_SECS) == 0
    text = shown.replace(b"\r\n", b"\n").decode()
    if variables:
        assert control_codes(text.encode()) == []
        assert "epoch=600/600" in text
    else:
        plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
        drawn = [part for part in plain.split("\r\x1b[2K") if part.startswith("epoch ")]
        assert drawn
        assert max(map(len, drawn)) <= 80
        assert "\r\x1b[2K" in text  # taken away at the end
        assert "\x1b[?25l" not in text  # the cursor is never hidden


def closed_reader() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def test_a_list_that_nobody_reads_ends_with_141(interpreter):
    process = interpreter("list", stdout=closed_reader())
    _, err = process.communicate(timeout=WAIT_SECS)
    assert process.returncode == 141
    assert err == b""


def test_training_goes_on_when_nobody_reads_its_talk(shell, folder):
    process = shell("train", "tiny.yaml", stderr=closed_reader())
    out, _ = process.communicate(timeout=WAIT_SECS)
    assert process.returncode == 0
    assert b"tiny-0001: done after 12 steps" in out
    assert Run(folder / "runs/tiny-0001").state == "done"


def test_closed_streams_harm_nothing(folder):
    command = f"exec '{sys.executable}' -m optrun.cli train tiny.yaml <&- >&- 2>&-"
    assert subprocess.run(["bash", "-c", command], check=False).returncode == 0
    run = Run(folder / "runs/tiny-0001")
    assert run.state == "done"
    assert [row["step"] for row in run.rows]
    for file in (run.dir.config_path, run.dir.log_path):
        assert "tiny-0001" not in file.read_text()  # no talk went into a file by mistake


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_an_io_error(interpreter):
    with open("/dev/full", "wb") as full:
        process = interpreter("list", "presets", stdout=full)
        _, err = process.communicate(timeout=WAIT_SECS)
    assert process.returncode == 74
    assert b"No space left" in err
    assert b"Traceback" not in err
