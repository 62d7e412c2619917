import os
import signal
import subprocess
import sys
import threading

import pytest

from optrun.experiments.system import signals

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows cannot send signals to one process")

PRELUDE = """
import os, signal, sys, time
from optrun.experiments.system import signals
def say(text): os.write(1, text.encode() + b"\\n")
def wait():  # in short sleeps: a signal that comes just before one is handled after it
    for _ in range(600): time.sleep(0.05)
"""
SAVING = """
with signals.graceful() as stop:
    say("ready")
    while stop.signum is None: time.sleep(0.002)
    say(f"saving after {stop.signum}")
    sys.stdin.readline()
say("saved")
sys.exit(128 + stop.signum)
"""


class Child:
    def __init__(self, code):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self):
        return self.process.stdout.readline().strip()

    def send(self, *signums):
        for signum in signums:
            self.process.send_signal(signum)

    def finish(self, text=""):
        out, err = self.process.communicate(text, timeout=30)
        return self.process.returncode, out.split("\n")[:-1], err


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_before_there_is_anything_to_save_the_process_ends_at_once(signum, code):
    child = Child("signals.install()\nsay('ready')\nwait()\nsay('not reached')")
    assert child.line() == "ready"
    child.send(signum)
    returned, out, err = child.finish()
    assert (returned, out) == (code, [])
    assert err == f"optrun: {signum.name}: stopped; there was nothing to save\n"


@pytest.mark.parametrize("install", ["signals.install()", ""])
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_lets_the_section_save(install, signum, code):
    child = Child(install + SAVING)
    assert child.line() == "ready"
    child.send(signum)
    assert child.line() == f"saving after {int(signum)}"
    assert child.finish("\n") == (code, ["saved"], "")


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_sigint_while_saving_ends_at_once(first):
    child = Child("signals.install()" + SAVING)
    assert child.line() == "ready"
    child.send(first)
    assert child.line() == f"saving after {int(first)}"
    child.send(signal.SIGINT)
    assert child.process.wait(timeout=30) == 130
    assert "second SIGINT" in child.finish()[2]


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_sigterm_while_saving_is_ignored(first):
    child = Child("signals.install()" + SAVING)
    assert child.line() == "ready"
    child.send(first)
    assert child.line() == f"saving after {int(first)}"
    child.send(signal.SIGTERM, signal.SIGTERM)
    assert child.finish("\n") == (128 + first, ["saved"], "")


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_after_a_section_that_a_signal_ended_a_sigterm_ends_at_once_with_the_code_of_the_first(first):
    ended = "signals.install()\nwith signals.graceful(): signal.raise_signal(FIRST)\nsay('ready')\nwait()"
    child = Child(ended.replace("FIRST", str(int(first))))
    assert child.line() == "ready"
    child.send(signal.SIGTERM)
    assert child.finish() == (128 + first, [], f"optrun: SIGTERM: stopped; {first.name} came before\n")


def test_after_the_next_section_only_its_own_end_counts():
    sections = "with signals.graceful(): signal.raise_signal(signal.SIGINT)\nwith signals.graceful(): pass\n"
    child = Child("signals.install()\n" + sections + "say('ready')\nwait()")
    assert child.line() == "ready"
    child.send(signal.SIGTERM)
    assert child.finish() == (143, [], "optrun: SIGTERM: stopped; there was nothing to save\n")


def test_after_the_section_a_signal_ends_at_once_again():
    child = Child("signals.install()\nwith signals.graceful(): pass\nsay('ready')\nwait()")
    assert child.line() == "ready"
    child.send(signal.SIGTERM)
    assert child.finish()[0] == 143


def test_a_signal_that_the_process_was_started_to_ignore_stays_ignored():
    ignore = "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    child = Child(ignore + "signals.install()\nsay('ready')\nsys.stdin.readline()\nsay('done')")
    assert child.line() == "ready"
    child.send(signal.SIGINT)
    assert child.finish("\n") == (0, ["done"], "")


def test_closed_stderr_does_not_hide_the_exit_code():
    child = Child("os.close(2)\nsignals.install()\nsay('ready')\nwait()")
    assert child.line() == "ready"
    child.send(signal.SIGINT)
    assert child.finish()[0] == 130


BUSY = """
signals.install()
steps = 0
with signals.graceful() as stop:
    say("ready")
    while stop.signum is None: steps += 1
say("saved")
sys.exit(128 + stop.signum)
"""


def test_whenever_the_signal_comes_the_work_ends_with_a_save():
    for number in range(8):
        child = Child(BUSY)
        assert child.line() == "ready"
        threading.Event().wait(0.003 * number)
        child.send(signal.SIGTERM)
        assert child.finish() == (143, ["saved"], "")


@pytest.fixture
def previous():
    def handler(signum, frame):
        pass

    before = {signum: signal.signal(signum, handler) for signum in (signal.SIGINT, signal.SIGTERM)}
    yield handler
    for signum, old in before.items():
        signal.signal(signum, old)


def test_without_install_the_handlers_are_there_for_the_section_only(previous):
    with signals.graceful() as stop:
        assert signal.getsignal(signal.SIGINT) is not previous
        signal.raise_signal(signal.SIGTERM)
        assert stop.signum == signal.SIGTERM
    assert signal.getsignal(signal.SIGINT) is previous
    assert signal.getsignal(signal.SIGTERM) is previous
    with signals.graceful() as fresh:
        assert fresh.signum is None


def test_handlers_are_put_back_after_an_error(previous):
    with pytest.raises(ZeroDivisionError), signals.graceful():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is previous


def test_install_twice_and_uninstall_put_the_first_handlers_back(previous):
    signals.install()
    signals.install()
    with signals.graceful() as stop:
        signal.raise_signal(signal.SIGINT)
    assert stop.signum == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is not previous
    signals.uninstall()
    assert signal.getsignal(signal.SIGINT) is previous


def test_an_inner_section_shares_the_flag_of_the_outer(previous):
    with signals.graceful() as outer:
        with signals.graceful() as inner:
            signal.raise_signal(signal.SIGTERM)
        assert outer is inner
        assert outer.signum == signal.SIGTERM
        assert signal.getsignal(signal.SIGINT) is not previous


def test_in_another_thread_nothing_is_installed(previous):
    seen = []

    def work():
        signals.install()
        with signals.graceful() as stop:
            seen.append((signal.getsignal(signal.SIGINT), stop.signum))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(previous, None)]


def test_only_the_standard_library_is_imported():
    code = (
        "import sys\nbefore = set(sys.modules)\n"
        "import optrun.experiments.system.signals\nprint(*sorted(set(sys.modules) - before))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    outside = {name.split(".")[0] for name in loaded} - sys.stdlib_module_names
    assert outside == {"optrun"}
    assert [name for name in loaded if name.startswith("optrun.")] == [
        "optrun.experiments",
        "optrun.experiments.system",
        "optrun.experiments.system.signals",
    ]
