"""What exceptions are told as, whatever they are, and what the process may not be ended by."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading

import pytest

from optrun.experiments.errors import Interrupted, UsageError, UserExitError
from optrun.experiments.system import signals
from optrun.experiments.system.raised import message_of, place_of, refusing_exits, type_and_text


class Mute(Exception):
    def __str__(self):
        sys.exit(0)


class NoText(Exception):
    def __str__(self):
        return 3  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("plain ü"), "ValueError: plain ü"),
        (ValueError(), "ValueError"),
        (Mute(), "Mute: (its text cannot be had: SystemExit)"),
        (NoText(), "NoText: (its text cannot be had: TypeError)"),
        (ValueError("a\udc80b"), "ValueError: a\\udc80b"),
        (ValueError("a\x1b[2Jb\x07\r\x9b"), "ValueError: a\\x1b[2Jb\\x07\\r\\x9b"),
        (ValueError("two\n\tlines"), "ValueError: two\n\tlines"),
        (KeyError("x"), "KeyError: 'x'"),
        (type("Bad\x1b", (Exception,), {})("t"), "Bad\\x1b: t"),
    ],
)
def test_any_exception_is_told(error, text):
    assert type_and_text(error) == text
    assert type_and_text(error).encode()


def test_a_long_text_is_cut_and_one_of_ours_later():
    assert type_and_text(ValueError("x" * 10_000_000)) == f"ValueError: {'x' * 2000}… (10,000,000 characters)"
    assert message_of(UsageError("x" * 5000)) == "x" * 5000


def _raises(error):
    raise error


def test_the_place_is_the_innermost_of_the_users_own():
    with pytest.raises(ZeroDivisionError) as caught:
        __import__("statistics").mean(1 / 0 for _ in range(3))
    assert place_of(caught.value).startswith(f"{__file__}:")
    assert place_of(caught.value).endswith(" in <genexpr>")
    assert place_of(ValueError()) == "an unknown place"


@pytest.mark.parametrize(
    "error", [SystemExit(0), SystemExit("text"), SystemExit(None), GeneratorExit(), BaseException(1)]
)
def test_what_ends_a_process_becomes_an_error_with_its_place_and_notes(error):
    error.add_note("in a hook")
    with pytest.raises(UserExitError, match=r"test_raised\.py:\d+ in _raises: ") as caught, refusing_exits():
        _raises(error)
    assert caught.value.__cause__ is error
    assert caught.value.__notes__ == ["in a hook"]


@pytest.mark.parametrize("error", [ValueError("x"), StopIteration(), UsageError("x"), Interrupted(2)])
def test_errors_and_signals_pass_as_they_are(error):
    with pytest.raises(type(error)) as caught, refusing_exits():
        raise error
    assert caught.value is error


def test_ctrl_c_passes_unless_signals_are_handled_or_this_is_another_thread():
    with pytest.raises(KeyboardInterrupt), refusing_exits():
        raise KeyboardInterrupt
    with signals.graceful(), pytest.raises(UserExitError), refusing_exits():
        raise KeyboardInterrupt
    found = []

    def work():
        try:
            with refusing_exits():
                raise KeyboardInterrupt
        except UserExitError as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(found) == 1


FORKED = """
with guarded_process_end():
    pid = os.fork()
    if not pid:
        os._exit(5)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.parametrize(
    ("code", "ends", "says"),
    [
        ("with guarded_process_end():\n    os._exit(0)", 1, "os._exit(0)"),
        (
            "with guarded_process_end():\n    t = threading.Thread(target=os._exit, args=(0,)); t.start(); t.join()",
            70,
            "thread",
        ),
        (
            "with guarded_process_end():\n    t = threading.Thread(target=os._exit, args=(9,)); t.start(); t.join()",
            9,
            "thread",
        ),
        (
            FORKED,
            5,
            "",
        ),
        ("keep_exit_code(6); atexit.register(os._exit, 0); atexit.register(lambda: sys.exit(0)); sys.exit(6)", 6, ""),
        ("keep_exit_code(6); atexit.register(lambda: os._exit(0)); sys.exit(6)", 6, ""),
        ("keep_exit_code(0); sys.exit(0)", 0, ""),
    ],
)
def test_no_end_of_the_process_turns_a_failure_into_a_success(code, ends, says):
    head = "import atexit, os, sys, threading\nfrom optrun.experiments.system.raised import *\n"
    done = subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(code)], capture_output=True, text=True, timeout=60, env=os.environ
    )
    assert done.returncode == ends, done.stderr
    assert says in done.stderr
