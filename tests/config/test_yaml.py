"""The language: core schema scalars of YAML 1.2, what is refused, limits, and the place of every refusal."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from optrun.experiments.config.limits import MAX_BYTES, MAX_NODES
from optrun.experiments.config.nodes import Source
from optrun.experiments.config.problems import Problem
from optrun.experiments.config.reading import Reading
from optrun.experiments.config.scalars import resolve

# Section 10.3.2 of the YAML 1.2.2 specification, with what YAML 1.1 makes of the same text where that differs.
SCALARS = [
    ("", None), ("~", None), ("null", None), ("Null", None), ("NULL", None), ("nUll", "nUll"), ("None", "None"),
    ("true", True), ("True", True), ("TRUE", True), ("false", False), ("False", False), ("FALSE", False),
    ("tRue", "tRue"), ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"), ("N", "N"),
    ("0", 0), ("-0", 0), ("3", 3), ("-19", -19), ("+12", 12), ("010", 10), ("0o7", 7), ("0o17", 15), ("0o8", "0o8"),
    ("0x3A", 58), ("0x1F", 31), ("0xg", "0xg"), ("-0x1F", "-0x1F"), ("0b101", "0b101"), ("1_000", "1_000"),
    ("1:30", "1:30"), ("190:20:30", "190:20:30"), ("2024-01-02", "2024-01-02"), ("1,000", "1,000"),
    ("0.", 0.0), ("-0.0", 0.0), (".5", 0.5), ("+12e03", 12000.0), ("-2E+05", -200000.0), ("12.3e1", 123.0),
    ("1e-3", 0.001), ("1e3", 1000.0), ("3E-4", 0.0003), ("1.0e+3", 1000.0), ("e3", "e3"), (".", "."), ("1e", "1e"),
    (".inf", math.inf), ("-.Inf", -math.inf), ("+.INF", math.inf), (".iNf", ".iNf"), ("inf", "inf"), ("nan", "nan"),
    ("=", "="), ("<<", "<<"), ("50%", "50%"), ("1 epoch", "1 epoch"), ("١٢", "١٢"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_core_schema(text, value):
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


@pytest.mark.parametrize("text", [".nan", ".NaN", ".NAN"])
def test_not_a_number(text):
    assert math.isnan(resolve(text))


def read(data: bytes | str) -> tuple[object, list[Problem]]:
    problems: list[Problem] = []
    source = Source("file", "a.yaml", Path())
    node = Reading(source, problems).read_bytes(data if isinstance(data, bytes) else data.encode())
    return (None if node is None else node.plain), problems


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1\n", {"a": 1}),
        ("\ufeffa: 1\n", {"a": 1}),
        ("a: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
        ("a: 1\rb: 2", {"a": 1, "b": 2}),
        ("%YAML 1.2\n---\na: 1\n...\n", {"a": 1}),
        ("---\na: 1\n", {"a": 1}),
        ("", None),
        ("# nothing\n", None),
        ("~", None),
        ("a: '1'\nb: \"1\"\nc: |\n  1\n", {"a": "1", "b": "1", "c": "1\n"}),
        ("on: off\nno: yes\n1: 2\ntrue: x\n", {"on": "off", "no": "yes", "1": 2, "true": "x"}),
        ("a: [1, [2, {b: 3}]]", {"a": [1, [2, {"b": 3}]]}),
        ("a: ./x.py:Net\nb: [pkg.mod:Class]", {"a": "./x.py:Net", "b": ["pkg.mod:Class"]}),
        ("ü: 'ß 日本'\n", {"ü": "ß 日本"}),
        ("'<<': 1", {"<<": 1}),
    ],
)
def test_reads(text, value):
    assert read(text) == (value, [])


@pytest.mark.parametrize(
    ("data", "line", "column", "phrase"),
    [
        ("a: &x 1\nb: 2", 1, 4, "anchors"),
        ("a: 1\nb: *x", 2, 4, "aliases"),
        ("a: !!int 1", 1, 4, "tags"),
        ("a: ! 1", 1, 4, "tags"),
        ("a: !x/y 1", 1, 4, "tags"),
        ("!!map\na: 1", 1, 1, "tags"),
        ("%TAG ! tag:x,2000:\n---\na: 1", 1, 1, "directive"),
        ("%YAML 1.1\n---\na: 1", 1, 1, "directive"),
        ("b: {a: 1}\nc:\n  <<: {a: 1}", 3, 3, "merge keys"),
        ("a: 1\n---\nb: 2", 2, 1, "second document"),
        ("? [a, b]\n: 1", 1, 3, "plain text"),
        ("{[a]: 1}", 1, 2, "plain text"),
        ("? {a: 1}\n: 1", 1, 3, "plain text"),
        ("'': 1", 1, 1, "empty key"),
        (": 1", 1, 1, "line up"),
        ("a:\tb", 1, 3, "tab"),
        ("a: 1\nb: 2\na: 3", 3, 1, "line 1"),
        ("x:\n  a: 1\n  b:\n    c: 1\n  a: 3", 5, 3, "line 2"),
        ("{a: 1, 'a': 2}", 1, 8, "line 1"),
        ("a: [1, 2", 1, 9, "list closed"),
        ("a: {b: 1", 1, 9, "mapping closed"),
        ("a: 'x", 1, 6, "never closed"),
        ("a:\n\tb: 1", 2, 1, "tab"),
        ("a: b: c", 1, 5, "':'"),
        ("a: 1\n b: 2", 2, 3, "':'"),
        ("a:\n  b: 1\n c: 2", 3, 2, "indentation"),
        ("a: 1\nb", 2, 2, "key: value"),
        ("a: %x", 1, 4, "not YAML"),
        ("a: @x", 1, 4, "not YAML"),
        ("a: `x`", 1, 4, "not YAML"),
        ("a: \"\\U00110000\"", 1, 7, "out of range"),
        ("a: \"\\UFFFFFFFF\"", 1, 7, "out of range"),
        ("a: \"\\q\"", 1, 6, "not YAML"),
        ("a: \"\\0\"", 1, 4, "U+0000"),
        ("a: \"\\ud800\"", 1, 4, "U+D800"),
        ("%YAML " + "9" * 5000 + ".1\n---\n", 1, 7, "out of range"),
        ("a: " + "1" * 5000, 1, 4, "too many digits"),
        ("a: 1\nb: \x07", 2, 4, "U+0007"),
        ("a: \x00", 1, 4, "U+0000"),
        ("a: \x85", 1, 4, "U+0085"),
        ("a: x\u2028y", 1, 5, "U+2028"),
        ("a: \u202ex", 1, 4, "U+202E"),
        ("a: x\ufeff", 1, 5, "U+FEFF"),
        (b"a: 1\nb: \xff", 2, 4, "0xff is not UTF-8"),
        (b"\xef\xbb\xbfa: \xe4", 1, 4, "0xe4 is not UTF-8"),
        ("ü: ö\n\nä: ".encode() + b"\xc3", 3, 4, "not UTF-8"),
        ("a: 1".encode("utf-16"), 1, 1, "not UTF-8"),
        (b"\x80\x04\x95.", 1, 1, "not UTF-8"),
    ],
)  # fmt: skip
def test_refuses(data, line, column, phrase):
    _, problems = read(data)
    assert [(p.line, p.column) for p in problems][:1] == [(line, column)]
    assert phrase in problems[0].message


def merge_key_bomb(levels: int = 9) -> str:
    lines = ["a0: &a0 {x: 1}"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 10)}]}}")
    return "\n".join(lines)


BOMBS = {
    "merge keys": merge_key_bomb(),
    "aliases": "a: &a [x]\n" + "\n".join(f"b{i}: [*a, *a, *a, *a]" for i in range(100)),
    "flow depth": "[" * 5000,
    "flow mappings": "a: " + "{a: " * 5000,
    "block depth": "\n".join(" " * i + "a:" for i in range(500)),
    "sequence depth": "- " * 5000,
    "question marks": "? " * 5000,
    "many values": "[" + "1," * (MAX_NODES + 1) + "]",
    "many keys": "\n".join(f"k{i}: 1" for i in range(MAX_NODES)),
    "large file": "# " + "x" * MAX_BYTES,
    "digits": "a: " + "9" * 100_000,
    "quotes": "a: '" + "''" * 100_000,
    "colons": ":" * 100_000,
    "dashes": "-" * 100_000,
    "tabs": "\t" * 100_000,
    "tags": "!" * 100_000,
    "indented comment": " " * 100_000 + "#",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_in_no_time(name):
    start = time.process_time()
    _, problems = read(BOMBS[name])
    assert time.process_time() - start < 2
    assert problems or name in ("colons", "dashes", "indented comment")
    assert all(problem.line and problem.column for problem in problems)


def test_depth_limit_is_exact():
    assert read("[" * 50 + "]" * 50)[1] == []
    _, problems = read("[" * 51 + "]" * 51)
    assert [(p.line, p.column, p.code) for p in problems] == [(1, 51, "limit")]


def test_node_limit_is_exact():
    assert read("[" + "1," * (MAX_NODES - 1) + "]")[1] == []
    assert [p.code for p in read("[" + "1," * MAX_NODES + "]")[1]] == ["limit"]


def test_byte_limit_is_exact():
    assert read("#" * (MAX_BYTES - 1) + "\n")[1] == []
    assert [p.code for p in read("#" * MAX_BYTES + "\n")[1]] == ["limit"]


def test_all_misuses_are_reported_at_once():
    _, problems = read("a: &x 1\nb: *x\nc: !t 2\na: 3\n<<: 4\n")
    assert [p.line for p in problems] == [1, 2, 3, 4, 5]


def test_places_of_values():
    problems: list[Problem] = []
    root = Reading(Source("file", "a.yaml", Path()), problems).read_text("a:\n  - x: [1, 'b c']\n    y: |\n      t\n")
    assert root is not None
    at = {path: (node.origin.line, node.origin.column, node.origin.text) for path, node in root.walk()}
    assert at["a.0.x"] == (2, 8, "[1, 'b c']")
    assert at["a.0.x.1"] == (2, 12, "'b c'")
    assert at["a.0.y"] == (3, 8, "…")
    keys = {path: node.key and (node.key.line, node.key.column) for path, node in root.walk()}
    assert keys["a"] == (1, 1)
    assert keys["a.0.y"] == (3, 5)
