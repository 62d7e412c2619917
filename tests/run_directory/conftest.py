"""A run directory that another process holds."""

import subprocess
import sys

import pytest

from optrun.experiments.run_directory.run_dir import RunDir

HOLD = """
import os, sys, time
from optrun.experiments.run_directory.run_dir import RunDir
run = RunDir(sys.argv[1])
run.acquire()
run.set_status("running", step=7)
print("held", flush=True)
sys.stdin.readline()
run.set_status("done", step=9)
run.release()
"""


@pytest.fixture
def holder(tmp_path):
    """A run directory and another process that holds it."""
    run = RunDir.create(tmp_path, "mom")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield run, process
    process.kill()
    process.communicate()
