"""Configurations that are wrong in every way: mutants of good ones, and files made to do harm.

Each is loaded or refused, and a refusal has a place: `file:line:column`, or the override. Nothing else may happen,
within 0.1 s of CPU time (on a machine that does nothing else) and 64 MB. What becomes of mutant 1234 shows
`python -m tests.robustness.test_mutated_yaml 1234`.
"""

from __future__ import annotations

import os
import random
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from . import watched
from .processes import Case, ForkServer

NUM_QUICK, NUM_ALL = 400, 20_000
MAX_SECS, MAX_BYTES = 0.1, 64 << 20
FAIL_SECS = 3 * MAX_SECS  # other programs on the machine take from the cache, too
SEED = 6
_BATCH = 100  # mutants loaded by one child

_PLACE = re.compile(r"[^\n]+?:\d+:\d+: ")
_OVERRIDE = re.compile(r"command line: ")

# ---- mutants ---------------------------------------------------------------------------------------------------------

COMPLETE = """\
extends: [other, digits]
name: rich
seed: 3
data: {name: digits, batch_size: 32, val: 0.2, test: 0.2, subset: 200, augment: [{name: flip, p: 0.5}]}
model:
  name: mlp
  hidden: [64, 32]
  activation: tanh
init: null
loss: {name: cross_entropy, label_smoothing: 0.1}
metrics: [accuracy]
optimizer:
  name: mom
  lr: 0.1
  momentum: 0.9
  weight_decay: {rate: 0.0001, exclude: [bias, norm]}
  groups:
    - {match: linear, lr: 0.01}
    - match: ["*.bias", norm]
      weight_decay: 0
schedule: {name: piecewise, boundaries: [50%, 3 epochs], factors: [1, 0.1, 0.01], warmup: 5%}
updates: [ema, {name: batch_norm}]
hooks:
  - logging
  - {name: csv}
eval: {every: 1 epoch, metric: val/accuracy, mode: max, target: 0.96, weights: ema}
stop: {on_nan: skip, loss_above: 1e4, patience: 3, at_target: true}
train: {epochs: 6, device: cpu, precision: fp32, accumulate: 2, threads: 1}
checkpoint: {every: 10m, keep: 3, best: true}
log: {every: 10 steps, to: [jsonl, tensorboard]}
"""
OTHER = "train: {accumulate: 2}\n"

_BITS = [
    "\t", "\n", " ", ":", ": ", "[", "]", "{", "}", ",", "&a ", "*a", "!!x ", "- ", "? ", "'", '"', "|", ">", "#", "%",
    "@", "`", "\\", "\0", "\x07", "\x1b[31m", "\x7f", "\x85", "\u2028", "\u202e", "\ufeff", "\ufffe", "é", "é", "日本",
    "😀", "\ud800", "---\n", "...\n", "<<: ", "extends: ", "name: ", "./a.py:B", "os:system", "\r", "\r\n", "::",
    "!!python/object/apply:os.system ", "\"\\x00\"", "\"\\ud800\"", "\"\\U00110000\"", "%YAML 9999999999.1\n---\n",
]  # fmt: skip
_SCALARS = [
    "null", "~", "true", "no", "on", "''", '""', "0", "-0", "-1", "1", "0.5", "010", "0o17", "0x1F", "1_000", "1:30:00",
    "9" * 25, "9" * 400, "9" * 5000, "0x" + "f" * 5000, "1e999", "-1e999", "1e-999", ".inf", "-.inf", ".nan",
    "2024-13-45", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "4294967296", "1e308", "5e-324",
    "50%", "1e400%", "999999999999999999999 epochs", "1e400 steps", "-5 steps", "10m", "99999999999999h", "[]", "{}",
    "[[[[[]]]]]", "{a: {b: {c: []}}}", "[1, a, null, {}]", "{name: null}", "{name: {name: adam}}", "adam", "x" * 3000,
    "./none.py:X", "a.b.c:D", "os:system", ":", "'a:b:c'", "../../x", "preset:mom", "/dev/zero", "=", "<<", "\"\\0\"",
]  # fmt: skip
_SURROGATES = re.compile("[\ud800-\udfff]")


def mutant(number: int) -> bytes:
    """Return one mutant, always the same: a good file after one to five edits."""
    rng = random.Random(f"{SEED}-{number}")
    text = rng.choice(_originals())
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5))):
        text = rng.choice(_MUTATORS)(text, rng)
    data = text.encode("utf-8", "surrogatepass")
    return _edit_bytes(data, rng) if rng.random() < 0.05 else data


_read: list[str] = []


def _originals() -> list[str]:
    """Return the complete example, more often than each of the presets, which resemble each other."""
    if not _read:
        from optrun.experiments.config.targets import preset_folder

        presets = [path.read_text() for path in sorted(preset_folder().glob("*.yaml"))]
        _read.extend([*presets, *[COMPLETE] * len(presets)])
    return _read


def _spot(text: str, rng: random.Random) -> int:
    return rng.randint(0, len(text))


def _insert(text: str, rng: random.Random) -> str:
    at = _spot(text, rng)
    return text[:at] + rng.choice(_BITS) + text[at:]


def _delete(text: str, rng: random.Random) -> str:
    at = _spot(text, rng)
    return text[:at] + text[at + rng.randint(1, 12) :]


def _swap_characters(text: str, rng: random.Random) -> str:
    at = _spot(text, rng)
    return text[:at] + text[at : at + 2][::-1] + text[at + 2 :]


def _any_character(text: str, rng: random.Random) -> str:
    at = _spot(text, rng)
    limit = rng.choice((0x20, 0x80, 0x100, 0x3000, 0x110000))
    return text[:at] + chr(rng.randrange(limit)) + text[at + rng.randint(0, 1) :]


def _lines(edit: Callable[[list[str], int, random.Random], None]) -> Callable[[str, random.Random], str]:
    def mutate(text: str, rng: random.Random) -> str:
        lines = text.split("\n")
        edit(lines, rng.randrange(len(lines)), rng)
        return "\n".join(lines)

    return mutate


def _drop_line(lines: list[str], at: int, rng: random.Random) -> None:
    del lines[at]


def _double_line(lines: list[str], at: int, rng: random.Random) -> None:
    lines.insert(rng.randrange(len(lines)), lines[at])


def _indent(lines: list[str], at: int, rng: random.Random) -> None:
    lines[at] = rng.choice((" ", "  ", "   ", "\t", "      ", "- ")) + lines[at]


def _outdent(lines: list[str], at: int, rng: random.Random) -> None:
    lines[at] = lines[at][rng.randint(1, 3) :]


def _swap_lines(lines: list[str], at: int, rng: random.Random) -> None:
    other = rng.randrange(len(lines))
    lines[at], lines[other] = lines[other], lines[at]


def _tokens(text: str, pattern: str, rng: random.Random, new: Callable[[str], str]) -> str:
    found = list(re.finditer(pattern, text))
    if not found:
        return text
    match = rng.choice(found)
    return text[: match.start()] + new(match[0]) + text[match.end() :]


def _swap_tokens(text: str, rng: random.Random) -> str:
    words = re.findall(r"[\w.%/-]+", text)
    return _tokens(text, r"[\w.%/-]+", rng, lambda word: rng.choice(words))


def _other_value(text: str, rng: random.Random) -> str:
    return _tokens(text, r"(?<=: )[^,{}\[\]\n]+|(?<=[\[,] )[^,{}\[\]\n:]+", rng, lambda value: rng.choice(_SCALARS))


def _extreme_number(text: str, rng: random.Random) -> str:
    numbers = [scalar for scalar in _SCALARS if re.match(r"[-.]?[0-9in]", scalar)]
    return _tokens(text, r"(?<![\w.])[0-9][0-9.e-]*", rng, lambda number: rng.choice(numbers))


def _other_key(text: str, rng: random.Random) -> str:
    def rename(key: str) -> str:
        at = rng.randrange(len(key))
        longer = [key[:at] + key[at] + key[at:], key + "s", key.upper(), f"'{key}'", f'"{key}"', f"optimizer.{key}"]
        return rng.choice([*longer, key[::-1], "name", "extends", "<<", "?", "~", "1", "", "x" * 300, "é"])

    return _tokens(text, r"\w+(?=:)", rng, rename)


def _truncate(text: str, rng: random.Random) -> str:
    return text[: _spot(text, rng)]


def _double(text: str, rng: random.Random) -> str:
    start = _spot(text, rng)
    piece = text[start : start + rng.randint(1, 200)]
    at = _spot(text, rng)
    return text[:at] + piece * rng.choice((1, 2, 50)) + text[at:]


def _nest(text: str, rng: random.Random) -> str:
    depth = rng.choice((3, 49, 50, 51, 60, 300, 2000))
    opening, closing = rng.choice((("[", "]"), ("{a: ", "}"), ("[{b: ", "}]"), ("- ", ""), ("? ", ""), ("((", "))")))
    return _tokens(text, r"(?<=: )[^,{}\[\]\n]+", rng, lambda value: opening * depth + value + closing * depth)


def _append(text: str, rng: random.Random) -> str:
    sections = "name seed data model init loss metrics optimizer schedule updates train eval stop checkpoint log hooks"
    return f"{text}\n{rng.choice([*sections.split(), 'extends', 'entries', 'zzz'])}: {rng.choice(_SCALARS)}\n"


_MUTATORS: list[Callable[[str, random.Random], str]] = [
    _insert, _delete, _swap_characters, _any_character, *map(_lines, (_drop_line, _double_line, _indent, _outdent)),
    _lines(_swap_lines), _swap_tokens, _swap_tokens, _other_value, _other_value, _other_value, _extreme_number,
    _other_key, _other_key, _truncate, _double, _nest, _append,
]  # fmt: skip


def _edit_bytes(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    match rng.randrange(4):
        case 0:
            return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        case 1:
            return data[:at] + bytes([rng.randrange(256)]) + data[at:]
        case 2:
            return rng.choice((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")) + data
        case _:
            return data.decode("utf-8", "replace").encode(rng.choice(("utf-16", "utf-32", "utf-7")), "replace")


# ---- bombs and pitfalls ----------------------------------------------------------------------------------------------

GOOD = """\
data: digits
model: logistic
loss: cross_entropy
metrics: [accuracy]
optimizer: sgd
train: {epochs: 2}
"""


def _billion_laughs() -> str:
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    return "a0: &a0 lol\n" + "\n".join(levels) + "\n" + GOOD


def _merge_bomb() -> str:
    levels = [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}], k{n}: 1}}" for n in range(1, 8)]
    return "a0: &a0 {x: 1}\n" + "\n".join(levels) + "\n" + GOOD


#: Files, by what they are: what is in them, and whether they are good all the same.
BOMBS: dict[str, tuple[str | bytes, bool]] = {
    "billion laughs": (_billion_laughs(), False),
    "merge keys": (_merge_bomb(), False),
    "an alias to itself": ("a: &a [*a]\n" + GOOD, False),
    "a merge key alone": ("<<: {seed: 1}\n" + GOOD, False),
    "a quoted merge key": ("'<<': {seed: 1}\n" + GOOD, False),
    "a scalar of 1 MiB": ("name: " + "x" * (1 << 20) + "\n", False),
    "a scalar just below 1 MiB": (GOOD + "name: " + "x" * ((1 << 20) - 200) + "\n", False),
    "a quoted scalar just below 1 MiB": (GOOD + 'name: "' + "\\n" * 520_000 + '"\n', False),
    "a block of text just below 1 MiB": (GOOD + "name: |\n" + "  x\n" * 250_000, False),
    "a folded text just below 1 MiB": (GOOD + "name: >\n" + "  x\n\n" * 190_000, False),
    "a key just below 1 MiB": (GOOD + "x" * ((1 << 20) - 200) + ": 1\n", False),
    "a quoted key just below 1 MiB": (GOOD + "'" + "x" * ((1 << 20) - 200) + "': 1\n", False),
    "a comment just below 1 MiB": (GOOD + "#" + "x" * ((1 << 20) - 200) + "\n", True),
    "comments just below 1 MiB": (GOOD + "#\n" * 500_000, True),
    "blank lines just below 1 MiB": (GOOD + "\n" * 1_040_000, True),
    "spaces just below 1 MiB": (GOOD + "seed: " + " " * 1_040_000 + "3\n", True),
    "8 MiB": (b"#" * (8 << 20), False),
    "10,000 lists in each other": (GOOD + "hooks: " + "[" * 10_000 + "]" * 10_000, False),
    "10,000 lists never closed": (GOOD + "hooks: " + "[" * 10_000, False),
    "10,000 mappings in each other": (GOOD + "hooks: " + "{a: " * 10_000 + "}" * 10_000, False),
    "10,000 block lists in each other": (GOOD + "hooks:\n  " + "- " * 10_000 + "1\n", False),
    "1,000 levels of indentation": ("\n".join(" " * n + "a:" for n in range(1_000)), False),
    "10,000 keys that ask": (GOOD + "? " * 10_000, False),
    "500,000 brackets": ("[" * 500_000, False),
    "500,000 brackets closed": ("]" * 500_000, False),
    "mixed nesting": (GOOD + "hooks: " + "[{a: " * 5_000, False),
    "100,000 keys": ("\n".join(f"k{n}:" for n in range(100_000)), False),
    "4,900 unknown keys": (GOOD + "\n".join(f"k{n}:" for n in range(4_900)), False),
    "4,900 unknown keys of an optimizer": (
        GOOD.replace("sgd", f"{{name: sgd, {', '.join(f'k{n}: 1' for n in range(4_900))}}}"), False
    ),
    "4,900 times one key": (GOOD + "seed: 1\n" * 4_900, False),
    "100,000 entries": (GOOD + "hooks: [" + "1," * 100_000 + "]", False),
    "4,900 entries": (GOOD + "hooks: [" + "x," * 4_900 + "]", False),
    "4,900 metrics": (GOOD.replace("[accuracy]", "[" + "accuracy," * 4_900 + "]"), False),
    "4,900 hidden layers of a wrong type": (
        GOOD.replace("logistic", "{name: mlp, hidden: [" + "a," * 4_900 + "]}"), False
    ),
    "190 names that resemble": (GOOD + "hooks: [" + "loggin," * 190 + "]", False),
    "a long name that resembles": (GOOD.replace("sgd", "adam" * 100_000), False),
    "a NUL byte": (GOOD.encode() + b"name: a\0b\n", False),
    "an escaped NUL": (GOOD + 'name: "a\\0b"\n', False),
    "NUL bytes only": (b"\0" * 1000, False),
    "control characters": (GOOD + "name: a\x07b\n", False),
    "escape codes": (GOOD + "\x1b[2J\x1b]0;title\x07\n", False),
    "escape codes as an escape": (GOOD + 'name: "\\e[2J"\n', False),
    "a right-to-left override": (GOOD + "name: a\u202eb\n", False),
    "an escaped right-to-left override": (GOOD + 'name: "a\\u202eb"\n', False),
    "a zero-width space in a key": (GOOD.replace("optimizer", "opt\u200bimizer"), False),
    "a Greek letter that looks Latin": (GOOD.replace("optimizer", "οptimizer"), False),
    "full-width digits": (GOOD + "seed: １２\n", False),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD.encode(), True),
    "two byte order marks": (b"\xef\xbb\xbf" * 2 + GOOD.encode(), False),
    "a byte order mark inside": (GOOD + "\ufeffseed: 1\n", False),
    "UTF-16": (GOOD.encode("utf-16"), False),
    "UTF-16 without a mark": (GOOD.encode("utf-16-le"), False),
    "UTF-32": (GOOD.encode("utf-32"), False),
    "Latin-1": ((GOOD + "name: é\n").encode("latin-1"), False),
    "an overlong encoding": (GOOD.encode() + b"name: \xc0\xae\xc0\xae/x\n", False),
    "a surrogate as UTF-8": (GOOD.encode() + b"name: \xed\xa0\x80\n", False),
    "an escaped surrogate": (GOOD + 'name: "\\ud800"\n', False),
    "an escaped surrogate pair": (GOOD + 'name: "\\ud83d\\ude00"\n', False),
    "an escape beyond Unicode": (GOOD + 'name: "\\U00110000"\n', False),
    "a half escape": (GOOD + 'name: "\\x4"\n', False),
    "line ends of Windows": (GOOD.replace("\n", "\r\n"), True),
    "line ends of old Macs": (GOOD.replace("\n", "\r"), True),
    "mixed line ends": (GOOD.replace("\n", "\r\n", 3).replace("\nopt", "\ropt"), True),
    "next-line characters": (GOOD.replace("\n", "\x85"), False),
    "tabs": (GOOD.replace("train: {epochs: 2}", "train:\n\tepochs: 2"), False),
    "a tab after a colon": (GOOD + "seed:\t1\n", True),
    "a Python object": (GOOD + "seed: !!python/object/apply:os.system ['touch executed']\n", False),
    "a Python name": (GOOD + "seed: !!python/name:os.system\n", False),
    "a new Python object": (GOOD + "- !!python/object/new:subprocess.Popen [[touch, executed]]\n", False),
    "a Python module": (GOOD + "seed: !!python/module:antigravity\n", False),
    "a binary tag": (GOOD + "seed: !!binary aGk=\n", False),
    "a set": (GOOD + "hooks: !!set {a, b}\n", False),
    "a tag of one's own": ("%TAG ! tag:evil,2000:\n---\n" + GOOD, False),
    "a timestamp": (GOOD + "seed: 2024-13-45\n", False),
    "a timestamp by tag": (GOOD + "seed: !!timestamp x\n", False),
    "a version too new": ("%YAML 1.99999999999999999999\n---\n" + GOOD, False),
    "a version of 5,000 digits": ("%YAML 1." + "9" * 5_000 + "\n---\n" + GOOD, False),
    "octal with a zero is ten": (GOOD + "seed: 010\n", True),
    "octal": (GOOD + "seed: 0o17\n", True),
    "sexagesimal": (GOOD + "seed: 1:30\n", False),
    "underscores in a number": (GOOD + "seed: 1_000\n", False),
    "on": (GOOD + "checkpoint: {best: on}\n", False),
    "no": (GOOD + "checkpoint: {best: no}\n", False),
    "on as a key": (GOOD + "on: 1\n", False),
    "an int of 4,000 digits": (GOOD + f"seed: {'9' * 4_000}\n", False),
    "an int of 5,000 digits": (GOOD + f"seed: {'9' * 5_000}\n", False),
    "an int of 1,000,000 digits": (GOOD + f"seed: {'9' * 1_000_000}\n", False),
    "a hexadecimal of 1,000,000 digits": (GOOD + f"seed: 0x{'f' * 1_000_000}\n", False),
    "a float of 1,000,000 digits": (GOOD + f"stop: {{loss_above: 1.{'9' * 1_000_000}}}\n", True),
    "a float beyond all": (GOOD + "stop: {loss_above: 1e999999999}\n", False),
    "a length beyond all": (GOOD + f"log: {{every: {'9' * 400} steps}}\n", False),
    "a length of 100,000 digits": (GOOD + f"log: {{every: {'9' * 100_000} steps}}\n", False),
    "a length of 100,000 decimals": (GOOD + f"eval: {{every: 0.{'0' * 100_000}1 epochs}}\n", False),
    "many percent": (GOOD + "log: {every: 1e400%}\n", False),
    "a run of 1e400 epochs": (GOOD.replace("epochs: 2", "epochs: 1e400"), False),
    "a regular expression's nightmare": (GOOD + f"log: {{every: {' ' * 5}{'1 ' * 50_000}x}}\n", False),
    "digits and dots": (GOOD + f"log: {{every: '{'1.' * 100_000}'}}\n", False),
    "a pattern of stars": (GOOD.replace("sgd", "{name: sgd, groups: [{match: '" + "*a" * 5_000 + "'}]}"), True),
    "two documents": (GOOD + "---\n" + GOOD, False),
    "10,000 documents": ("--- 1\n" * 10_000, False),
    "an empty file": ("", False),
    "null": ("null", False),
    "a list": ("- a\n- b\n", False),
    "a number": ("3", False),
    "a key that is a list": ("? [a, b]\n: 1\n" + GOOD, False),
    "a key that is a mapping of 4,500": ("? {" + ", ".join(f"a{n}" for n in range(4_500)) + "}\n: 1\n" + GOOD, False),
    "extends itself": ("extends: bomb.yaml\n" + GOOD, False),
    "extends in a circle": ("extends: circle.yaml\n" + GOOD, False),
    "extends a device": ("extends: /dev/zero\n" + GOOD, False),
    "extends another device": ("extends: /dev/stdin\n" + GOOD, False),
    "extends a pipe": ("extends: pipe.yaml\n" + GOOD, False),
    "extends a folder": ("extends: folder.yaml\n" + GOOD, False),
    "extends a socket": ("extends: ./socket.yaml\n" + GOOD, False),
    "extends a link to itself": ("extends: link.yaml\n" + GOOD, False),
    "extends a link to a device": ("extends: zero.yaml\n" + GOOD, False),
    "extends a file that nobody may read": ("extends: /proc/self/mem\n" + GOOD, False),
    "extends a huge sparse file": ("extends: sparse.yaml\n" + GOOD, False),
    "extends a name of 100,000 characters": ("extends: " + "x" * 100_000 + "\n" + GOOD, False),
    "extends a path of 100,000 folders": ("extends: " + "a/" * 100_000 + "b\n" + GOOD, False),
    "extends a name with a NUL": ('extends: "a\\0b"\n' + GOOD, False),
    "extends a URL": ("extends: https://example.org/x.yaml\n" + GOOD, False),
    "extends 5,000 files": ("extends: [" + "digits, " * 5_000 + "]\n" + GOOD, False),
    "extends a tree": ("extends: [tree0, tree0]\n" + GOOD, False),
    "extends the home folder": ("extends: ~/x.yaml\n" + GOOD, False),
    "extends a list of lists": ("extends: [[mom]]\n" + GOOD, False),
    "code of the standard library": (GOOD + "hooks: ['os:system']\n", False),
    "code that is not there": (GOOD + "hooks: ['no_such_package.x:Y']\n", False),
    "code below a file": (GOOD + "hooks: ['./bomb.yaml/x.py:Y']\n", False),
    "code in a device": (GOOD + "hooks: ['/dev/zero.py:Y']\n", False),
    "code in a pipe": (GOOD + "hooks: ['./pipe.py:Y']\n", False),
    "a code reference of colons": (GOOD + f"hooks: ['{':' * 10_000}']\n", False),
    "a code reference of dots": (GOOD + f"hooks: ['{'a.' * 10_000}b:C']\n", False),
    "a parent module": (GOOD + "hooks: ['..:A']\n", False),
    "entries": (GOOD + "entries: [" + "a, " * 5_000 + "]\n", False),
}  # fmt: skip

#: Overrides, by what they are, laid over GOOD.
OVERRIDE_BOMBS: dict[str, list[str]] = {
    "10,000 levels of a key": [".".join(["a"] * 10_000) + "=1"],
    "a value of 10,000 brackets": ["optimizer.lr=" + "[" * 10_000],
    "a value of 100,000 characters": ["name=" + "x" * 100_000],
    "a number of 100,000 digits": ["seed=" + "9" * 100_000],
    "an index beyond all": ["metrics.99999=accuracy"],
    "an index of 5,000 digits": [f"metrics.{'9' * 5_000}=accuracy"],
    "a negative index": ["metrics.-1=accuracy"],
    "billion laughs": ["hooks=[&a [1], *a, *a]"],
    "a tag": ["seed=!!python/object/apply:os.system [touch executed]"],
    "a merge key": ["optimizer={<<: {lr: 1}}"],
    "an empty key": ["=1"],
    "dots only": ["...=1"],
    "a key of equals signs": ["=" * 10_000],
    "no value": ["seed"],
    "a NUL": ["seed=\0"],
    "a surrogate": ["name=\udcff"],
    "a line end in the key": ["a\nb=1"],
    "a line end in the value": ["seed=1\nname: x"],
    "two documents": ["seed=1\n---\n2"],
    "extends": ["extends=/dev/zero"],
    "1,000 overrides of one thing": [f"optimizer.lr={n}" for n in range(1_000)] + ["optimizer.lr=x"],
    "5,000 unknown keys": [f"k{n}=1" for n in range(5_000)],
    "a component of lists": ["optimizer=[[[]]]", "optimizer.lr.x.y=1"],
    "a path into a number": ["seed.a.b.c=1"],
    "a path into text": ["name.0.1=1"],
    "nothing on both sides": ["train=", "train.epochs.x="],
    "code": ["hooks=['subprocess:Popen']"],
}


# ---- what must hold --------------------------------------------------------------------------------------------------


def wrong_with(case: dict[str, Any], may_load: bool = True) -> str | None:
    """Say what must not be, of one case that `watched.configs` tells of; None where all is well."""
    if "bug" in case:
        return case["bug"]
    if "message" not in case:
        return None if may_load else "it was taken for a good configuration"
    if not case["places"]:
        return f"refused without a problem: {case['message']}"
    for kind, _file, line, column, headline in case["places"]:
        has_place = _OVERRIDE.match(headline) if kind == "override" else line and column and _PLACE.match(headline)
        if not has_place:
            return f"no place: {headline!r} (of {kind})"
    if case["bytes"] > MAX_BYTES:
        return f"{case['bytes'] >> 20} MiB"
    return None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with what the files extend."""
    furnish(tmp_path)
    return tmp_path


def furnish(folder: Path) -> None:
    (folder / "other.yaml").write_text(OTHER)
    (folder / "circle.yaml").write_text("extends: bomb.yaml\n")
    os.mkfifo(folder / "pipe.yaml")
    os.mkfifo(folder / "pipe.py")
    (folder / "folder.yaml").mkdir()
    (folder / "link.yaml").symlink_to("link.yaml")
    (folder / "zero.yaml").symlink_to("/dev/zero")
    with (folder / "sparse.yaml").open("wb") as sparse:
        sparse.truncate(1 << 40)
    for level in range(20):
        (folder / f"tree{level}.yaml").write_text(f"extends: [tree{level + 1}, tree{level + 1}]\n")


def check_mutants(server: ForkServer, folder: Path, numbers: range) -> tuple[int, int, float, int]:
    """Load mutants; return how many were refused and loaded, the longest time and the most memory."""
    refused, late, slowest, largest = 0, 0, (0.0, -1), 0
    for first in range(numbers.start, numbers.stop, _BATCH):
        batch = range(first, min(first + _BATCH, numbers.stop))
        for number in batch:
            (folder / f"m{number}.yaml").write_bytes(mutant(number))
        cases = load(server, folder, [f"m{number}.yaml" for number in batch])
        for number, case in zip(batch, cases, strict=True):
            replay = f"mutant {number}: python -m tests.robustness.test_mutated_yaml {number}"
            assert (wrong := wrong_with(case)) is None, f"{replay}\n{wrong}"
            if case["secs"] > MAX_SECS:
                case["secs"] = min(case["secs"], *(again(server, folder, f"m{number}.yaml") for _ in range(4)))
            assert case["secs"] < FAIL_SECS, f"{replay}\n{case['secs']:.3f} s"
            late += case["secs"] > MAX_SECS
            refused += "message" in case
            slowest, largest = max(slowest, (case["secs"], number)), max(largest, case["bytes"])
        for number in batch:
            (folder / f"m{number}.yaml").unlink()
    sys.stdout.write(f"\n{len(numbers)} mutants of seed {SEED}, {refused} refused, {late} above {MAX_SECS} s; ")
    sys.stdout.write(f"slowest: {slowest[1]}, {slowest[0]:.3f} s; most memory: {largest >> 20} MiB\n")
    return refused, len(numbers) - refused, slowest[0], largest


def load(server: ForkServer, folder: Path, files: list[str], overrides: list[str] | None = None) -> list[dict]:
    """Load files in a child, each with the overrides; return what `watched.configs` tells of them."""
    given = [overrides or []] * len(files)
    ended = server.run(watched.configs, folder=folder, files=files, overrides=given, **watched.LIMITS)
    assert ended.code == 0, f"{files}: {ended}"
    return ended.result


def again(server: ForkServer, folder: Path, file: str, overrides: list[str] | None = None) -> float:
    """Measure a case again: other programs on this machine take time from it."""
    return load(server, folder, [file], overrides)[0]["secs"]


@pytest.mark.sample
def test_mutants_are_loaded_or_refused_with_a_place(server, folder):
    refused, loaded, _, _ = check_mutants(server, folder, range(NUM_QUICK))
    assert refused > NUM_QUICK / 3
    assert loaded > 20


@pytest.mark.slow
def test_all_mutants_are_loaded_or_refused_with_a_place(server, folder):
    refused, loaded, _, _ = check_mutants(server, folder, range(NUM_ALL))
    assert refused > NUM_ALL / 3
    assert loaded > 1000


@dataclass(frozen=True)
class Bomb:
    """A file, the overrides that are laid over it, and whether it is good all the same."""

    content: str | bytes
    overrides: list[str]
    may_load: bool

    def lay(self, folder: Path) -> None:
        is_text = isinstance(self.content, str)
        (folder / "bomb.yaml").write_bytes(self.content.encode("utf-8", "surrogatepass") if is_text else self.content)


#: Those that take a second, of which others like them are tried every day.
LONG = {
    "blank lines just below 1 MiB",
    "a folded text just below 1 MiB",
    "4,900 unknown keys of an optimizer",
    "4,900 hidden layers of a wrong type",
    "extends a path of 100,000 folders",
}


ALL_BOMBS = {what: Bomb(content, [], is_good) for what, (content, is_good) in BOMBS.items()}
ALL_BOMBS |= {f"override: {what}": Bomb(GOOD, overrides, False) for what, overrides in OVERRIDE_BOMBS.items()}
_SHORT = [what for what in ALL_BOMBS if what not in LONG]
_TOGETHER = 12  # bombs loaded by one child


@pytest.fixture(scope="module")
def tried(server, tmp_path_factory) -> Callable[[str], tuple[Path, dict[str, Any]]]:
    """Return a function that gives a bomb's folder, and what became of it; each child loads some of them in turn."""
    found: dict[str, tuple[Path, dict[str, Any]]] = {}

    def load_some(whats: list[str]) -> None:
        root = tmp_path_factory.mktemp("bombs")
        folders = [root / str(number) for number in range(len(whats))]
        for folder, what in zip(folders, whats, strict=True):
            folder.mkdir()
            furnish(folder)
            ALL_BOMBS[what].lay(folder)
        arguments = {
            "places": folders, "file": "bomb.yaml", "overrides": [ALL_BOMBS[what].overrides for what in whats]
        }  # fmt: skip
        ended = server.begin(Case(watched.folders, (), arguments, root, **watched.LIMITS)).outcome()
        # Where one of them has ended the child, each is tried again in a child of its own.
        cases = ended.result if ended.code == 0 else [{}] * len(whats)
        found.update(zip(whats, zip(folders, cases, strict=True), strict=True))

    def case(what: str) -> tuple[Path, dict[str, Any]]:
        if what not in found:
            place = _SHORT.index(what) // _TOGETHER * _TOGETHER if what in _SHORT else None
            load_some([what] if place is None else _SHORT[place : place + _TOGETHER])
        folder, known = found[what]
        return folder, known or load(server, folder, ["bomb.yaml"], ALL_BOMBS[what].overrides)[0]

    return case


def check_bomb(server: ForkServer, tried: Callable[[str], tuple[Path, dict[str, Any]]], what: str) -> None:
    bomb = ALL_BOMBS[what]
    folder, case = tried(what)
    assert (wrong := wrong_with(case, bomb.may_load)) is None, f"{what}: {wrong}"
    secs = case["secs"]
    if secs > MAX_SECS:
        secs = min(secs, *(again(server, folder, "bomb.yaml", bomb.overrides) for _ in range(4)))
    assert secs < FAIL_SECS, f"{what}: {secs:.3f} s"
    assert not (folder / "executed").exists()


@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=pytest.mark.sample if what in LONG else ()) for what in BOMBS]
)
def test_a_bomb_is_refused_at_once(server, tried, what):
    check_bomb(server, tried, what)


@pytest.mark.parametrize("what", OVERRIDE_BOMBS)
def test_an_override_bomb_is_refused_at_once(server, tried, what):
    check_bomb(server, tried, f"override: {what}")


def test_the_good_file_is_good(server, folder):
    (folder / "bomb.yaml").write_text(GOOD)
    assert "message" not in load(server, folder, ["bomb.yaml"])[0]
    assert len(BOMBS) + len(OVERRIDE_BOMBS) >= 60


def test_the_check_can_fail():
    """What the sweeps look for would be found."""
    place = ["file", "a.yaml", 1, 2, "a.yaml:1:2: x"]
    fine = {"message": "a.yaml:1:2: x", "places": [place], "secs": 0.0, "bytes": 0}
    assert wrong_with(fine) is None
    assert wrong_with({**fine, "bug": "Traceback"}) == "Traceback"
    assert wrong_with({**fine, "places": []})
    assert wrong_with({**fine, "places": [place, ["file", "a.yaml", None, None, "a.yaml: x"]]})
    assert wrong_with({**fine, "places": [["default", "default", 1, 1, "default: x"]]})
    assert wrong_with({**fine, "bytes": MAX_BYTES + 1})
    assert wrong_with({"secs": 0.0, "bytes": 0}, may_load=False)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as place:
            (Path(place) / "other.yaml").write_text(OTHER)
            (Path(place) / "mutant.yaml").write_bytes(mutant(int(argument)))
            sys.stdout.write(f"{mutant(int(argument)).decode('utf-8', 'replace')}\n")
            os.chdir(place)
            for key, value in watched.configs(["mutant.yaml"], [[]])[0].items():
                sys.stdout.write(f"{key}: {value}\n")
