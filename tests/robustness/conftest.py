"""What the tests of this folder share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def fast_folder(tmp_path_factory):
    """A folder in memory where there is one: these tests flush thousands of files."""
    if os.access("/dev/shm", os.W_OK):
        import tempfile

        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            yield Path(folder)
    else:
        yield tmp_path_factory.mktemp("fast")
