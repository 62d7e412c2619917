"""What is around an answer: it is the same where nothing has changed, and another where something that counts has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata

import pytest
import torch

from optrun.experiments.system import surroundings as module
from optrun.experiments.system.surroundings import surroundings, telling_variables


def changed(before: dict, after: dict) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_it_is_plain_data_and_the_same_again():
    first = surroundings()
    assert json.loads(json.dumps(first)) == first == surroundings()
    assert first["packages"]["torch"] == torch.__version__
    assert first["packages"]["scipy"] == metadata.version("scipy")
    assert first["machine"][3] == os.cpu_count()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("OPTRUN_THREADS", {"variables", "all variables"}),
        ("OMP_NUM_THREADS", {"variables", "all variables"}),
        ("CUDA_VISIBLE_DEVICES", {"variables", "all variables"}),
        ("ONES_OWN", {"all variables"}),
        ("COLUMNS", set()),
        ("SSH_CONNECTION", set()),
        ("GITHUB_STEP_SUMMARY", set()),
    ],
)
def test_variables(monkeypatch, name, expected):
    monkeypatch.delenv(name, raising=False)
    before = surroundings()
    monkeypatch.setenv(name, "7")
    assert changed(before, surroundings()) == expected


def test_variables_that_tell_are_kept_as_they_are():
    assert telling_variables({"OPTRUN_DEVICE": "cpu", "EDITOR": "vi"}) == {"OPTRUN_DEVICE": "cpu"}


def test_what_is_installed_and_where_modules_come_from(monkeypatch, tmp_path):
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    before = surroundings()
    os.utime(site, ns=(10**18, 10**18))
    assert changed(before, surroundings()) == {"installed"}
    monkeypatch.syspath_prepend(str(tmp_path))
    assert changed(before, surroundings()) == {"installed", "paths"}


def test_this_programs_own_files(monkeypatch, tmp_path):
    (tmp_path / "module.py").write_text("a = 1\n")
    monkeypatch.setattr(module, "OWN_FOLDERS", [tmp_path])
    before = surroundings()
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "module.pyc").touch()
    assert surroundings() == before
    os.utime(tmp_path / "module.py", ns=(10**18, 10**18))
    touched = surroundings()
    assert changed(before, touched) == {"own files"}
    (tmp_path / "other.yaml").touch()
    assert changed(touched, surroundings()) == {"own files"}


def test_another_processor_is_another_machine(monkeypatch):
    before = surroundings()
    text = "processor : 0\nmodel name : A\ncpu MHz : {}\nflags : fpu avx2{}\n\nprocessor : 1\n"
    monkeypatch.setattr(module, "_text", lambda path: text.format(1000, "") if "cpuinfo" in path else None)
    first = surroundings()
    monkeypatch.setattr(module, "_text", lambda path: text.format(2000, "") if "cpuinfo" in path else None)
    assert surroundings() == first  # the clock of the processor is no part of it
    monkeypatch.setattr(module, "_text", lambda path: text.format(1000, " avx512f") if "cpuinfo" in path else None)
    assert changed(first, surroundings()) == {"machine"}
    assert "machine" in changed(before, first)


def test_drivers_and_devices(monkeypatch):
    texts = {"/proc/driver/nvidia/version": "580.1"}
    monkeypatch.setattr(module, "_text", texts.get)
    before = surroundings()
    assert before["gpus"][-1] == "580.1"
    texts["/proc/driver/nvidia/version"] = "590.2"
    assert changed(before, surroundings()) == {"gpus"}


def test_it_needs_no_torch():
    code = "import sys; from optrun.experiments.system.surroundings import surroundings; surroundings(); "
    code += "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
