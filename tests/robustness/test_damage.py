"""Damaged checkpoints: none is loaded in silence, the message names file and section, the run uses the one before."""

from __future__ import annotations

import json
import random
import re
import shutil

import pytest
import torch

from optrun.experiments.errors import CheckpointError
from optrun.experiments.run_directory.checkpoint_files import list_checkpoints
from optrun.experiments.run_directory.checkpoints import load, save

from .sweep import Sweep, report, the_seed

sample, slow = pytest.mark.sample, pytest.mark.slow
REPLAY = "tests/robustness/test_damage.py -m ''"
WHERE = re.compile(r"is damaged \((.*?)\): ")
PAGE = 4096


@pytest.fixture(scope="module")
def interrupted(server, fast_folder):
    """A run that was killed after its second checkpoint."""
    swept = Sweep(server, fast_folder / "damage")
    swept.start = swept.new_root()
    assert swept.live(swept.start, dies_after_save=4).killed
    return swept


@pytest.fixture(scope="module")
def small(interrupted, fast_folder):
    """A real checkpoint, of its own folder."""
    file = list_checkpoints(interrupted.start / "run" / "checkpoints")[-1]
    folder = fast_folder / "small"
    folder.mkdir(exist_ok=True)
    shutil.copy(file.path, folder)
    (copy,) = list_checkpoints(folder)
    return copy


@pytest.fixture(scope="module")
def large(fast_folder):
    """A checkpoint of some hundred pages, none of which is zero."""
    generator = torch.Generator().manual_seed(0)
    sections = ("model", "optimizer", "updates")
    tensors = {f"{section}/weight": torch.randn(40_000, generator=generator) for section in sections}
    return save(fast_folder / "large", 7, tensors, {"lr": 0.1})


def sections_by_byte(content):
    """Return [(first byte, byte after the last, section)] from the table of a safetensors file."""
    data = 8 + int.from_bytes(content[:8], "little")
    table = json.loads(content[8:data])
    spans = [(0, data, "header")]
    for name, entry in table.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            spans.append((data + begin, data + end, name.partition("/")[0]))
    return spans


def misses(file, content, damages):
    """Return what is wrong with the answers to damages: (text, damaged content, first byte, byte after the last)."""
    found, spans = [], sections_by_byte(content)
    for text, damaged, begin, end in damages:
        file.path.write_bytes(damaged)
        try:
            load(file)
        except CheckpointError as error:
            where = WHERE.search(str(error))
            touched = {section for first, after, section in spans if first < end and begin < after}
            if str(file.path) not in str(error) or not where:
                found.append(f"{text}: {error}")
            elif "header" not in touched and not set(where[1].removeprefix("section ").split(", ")) <= touched:
                found.append(f"{text} in {touched}: {error}")
            elif "header" in touched and "header" not in where[1] and not where[1].startswith("section"):
                found.append(f"{text} in the header: {error}")
        else:
            found.append(f"{text}: loaded in silence")
    file.path.write_bytes(content)
    load(file)
    return found


@pytest.mark.parametrize("count", [pytest.param(200, marks=sample), pytest.param(10_000, marks=slow)])
def test_no_bit_flip_is_loaded_and_the_section_is_named(small, count):
    content, numbers = small.path.read_bytes(), random.Random(the_seed(REPLAY))

    def flipped():
        for _ in range(count):
            at, bit = numbers.randrange(len(content)), numbers.randrange(8)
            changed = bytearray(content)
            changed[at] ^= 1 << bit
            yield f"bit {bit} of byte {at}", changed, at, at + 1

    report("bit flips", count, misses(small, content, flipped()))


@pytest.mark.parametrize("count", [pytest.param(50, marks=sample), pytest.param(1000, marks=slow)])
def test_no_truncated_file_is_loaded(small, count):
    content, numbers = small.path.read_bytes(), random.Random(the_seed(REPLAY))
    lengths = [0, 1, 7, 8, 9, len(content) - 1, *(numbers.randrange(len(content)) for _ in range(count - 6))]
    found = misses(small, content, ((f"cut to {n} bytes", content[:n], 0, len(content)) for n in lengths))
    report("truncations", count, found)


@pytest.mark.parametrize("count", [pytest.param(30, marks=sample), pytest.param(1000, marks=slow)])
def test_no_file_with_a_zeroed_page_is_loaded(large, count):
    content, numbers = large.path.read_bytes(), random.Random(the_seed(REPLAY))
    assert len(content) > 100 * PAGE

    def zeroed():
        for _ in range(count):
            begin = numbers.randrange(len(content)) // PAGE * PAGE
            end = min(begin + PAGE, len(content))
            yield f"page at {begin}", content[:begin] + bytes(end - begin) + content[end:], begin, end

    report("zeroed pages", count, misses(large, content, zeroed()))


def flip(content, numbers):
    at = numbers.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << numbers.randrange(8)]) + content[at + 1 :]


DAMAGES = {
    "flipped": flip,
    "cut": lambda content, numbers: content[: numbers.randrange(len(content))],
    "zeroed": lambda content, numbers: content[:PAGE] + bytes(len(content) - PAGE),
    "empty": lambda content, numbers: b"",
}


@pytest.mark.parametrize("count", [1, pytest.param(15, marks=slow)])
@pytest.mark.parametrize("kind", DAMAGES)
def test_a_run_uses_the_checkpoint_before_and_says_so(interrupted, kind, count):
    numbers, found = random.Random(the_seed(REPLAY)), []
    for _ in range(count):
        root = interrupted.new_root()
        shutil.copytree(interrupted.start, root, dirs_exist_ok=True)
        newest = list_checkpoints(root / "run" / "checkpoints")[-1]
        newest.path.write_bytes(DAMAGES[kind](newest.path.read_bytes(), numbers))
        found += interrupted.finish(root, quarantined=1)
        said = (root / "run" / "log.txt").read_text()
        if not re.search(rf"checkpoint step 4 is damaged \(.+\), kept as {newest.path.name}\.bad: using step 2", said):
            found.append(f"not a word: {said}")
    report(f"runs whose newest checkpoint is {kind}", count, found)
