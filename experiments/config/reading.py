"""Reads YAML text into nodes.

The language is a safe part of YAML: one document; no anchors, aliases, merge keys or tags; text keys, each once.
Reading collects everything that is wrong and does not stop at the first.
"""

from __future__ import annotations

import bisect
import codecs
import itertools
from array import array
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from .limits import FORBIDDEN, MAX_BYTES, MAX_DEPTH, MAX_NODES, MAX_PROBLEMS, refusal
from .nodes import Node, Source, join
from .problems import Origin, Problem, shorten
from .scalars import resolve

_SYNTAX = {
    "mapping values are not allowed": "a ':' that does not fit here: quote the text, or begin a new line",
    "could not find expected ':'": "expected `key: value`",
    "expected <block end>": "this does not line up with the lines above: check the indentation",
    "found unexpected end of stream": "a quote that is never closed",
    "expected ',' or ']'": "expected ',' or ']': is the list closed?",
    "expected ',' or '}'": "expected ',' or '}': is the mapping closed?",
    "found duplicate anchor": "anchors are not allowed: write the value out, or use `extends`",
    "did not find expected ',' or ']'": "expected ',' or ']': is the list closed?",
    "did not find expected ',' or '}'": "expected ',' or '}': is the mapping closed?",
    "did not find expected key": "this does not line up with the lines above: check the indentation",
}
_MANY_CHARACTERS, _MANY_BRACKETS = 1 << 13, 200  # of what PyYAML's scanner, written in Python, takes long for


class _StopReadingError(Exception):
    """Reading cannot go on; the problem has been noted."""


class Reading:
    """One pass over one source.

    Args:
        source: what is read.
        problems: gets what is wrong; `fatal` tells whether the values can be used all the same.
    """

    def __init__(self, source: Source, problems: list[Problem]):
        self.source = source
        self.problems = problems
        self.fatal = False
        self._text = ""
        self._lines: list[str] = []
        self._starts = array("Q")
        self._num_nodes = 0
        self._last = 0  # where the last node ended

    def read_bytes(self, data: bytes) -> Node | None:
        """Read a whole file."""
        if len(data) > MAX_BYTES:
            self._note(self.source.origin(1, 1), "", "limit", f"{len(data)} bytes: a config has at most {MAX_BYTES}")
            return None
        data = data.removeprefix(codecs.BOM_UTF8)
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            before = _newlines(data[: error.start].decode())
            self._set_text(_newlines(data.decode("utf-8", "replace")))
            message = f"byte 0x{data[error.start]:02x} is not UTF-8: save the file as UTF-8"
            self._note(self._at(len(before)), "", "encoding", message)
            return None
        return self.read_text(text)

    def read_text(self, text: str) -> Node | None:
        """Read YAML text; None when it cannot be read."""
        self._set_text(_newlines(text))
        if bad := FORBIDDEN.search(self._text):
            self._note(self._at(bad.start()), "", "encoding", refusal(bad[0]) or "")
            return None
        loader = _loader_class(self._text)(self._text)
        try:
            return self._document(loader)
        except _StopReadingError:
            pass
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            index = self._last if mark is None else mark.index
            self._note(self._at(index), "", "syntax", self._syntax_message(error.problem or "", index))
        except (ValueError, OverflowError, IndexError):  # escapes and versions that PyYAML converts without a check
            index = loader.get_mark().index if isinstance(loader, yaml.SafeLoader) else self._last
            self._note(self._at(index), "", "syntax", "a number or escape that is out of range")
        finally:
            loader.dispose()
        return None

    def _set_text(self, text: str) -> None:
        self._text = text
        self._lines = text.split("\n")
        self._starts = array("Q", itertools.accumulate(map((1).__add__, map(len, self._lines)), initial=0))

    def _document(self, loader: Any) -> Node:
        loader.get_event()  # the start of the stream
        start = loader.get_event()
        if isinstance(start, StreamEndEvent):
            return Node(None, self._at(0, width=1))
        if start.tags or start.version not in (None, (1, 2)):
            message = "only the directive %YAML 1.2 is allowed"
            self._note(self._at(start.start_mark.index), "", "syntax", message)
        root = self._node(loader, loader.get_event(), "", 1)
        loader.get_event()  # the end of the document
        following = loader.get_event()
        if isinstance(following, DocumentStartEvent):
            self._note(self._at(following.start_mark.index), "", "syntax", "a second document: one file, one config")
        return root

    def _node(self, loader: Any, event: Any, path: str, depth: int) -> Node:
        origin = self._between(event.start_mark.index, event.end_mark.index)
        self._last = event.end_mark.index
        self._num_nodes += 1
        if len(self.problems) >= MAX_PROBLEMS:
            self.fatal = True
            raise _StopReadingError
        if depth > MAX_DEPTH or self._num_nodes > MAX_NODES:
            limit = f"{MAX_DEPTH} levels" if depth > MAX_DEPTH else f"{MAX_NODES} values"
            self._note(origin, path, "limit", f"a config has at most {limit}")
            raise _StopReadingError
        if isinstance(event, AliasEvent):
            self._note(origin, path, "syntax", "aliases are not allowed: write the value out, or use `extends`")
            return Node(None, origin)
        if event.anchor is not None:
            self._note(origin, path, "syntax", "anchors are not allowed: write the value out, or use `extends`")
        if event.tag is not None:
            self._note(origin, path, "syntax", f"tags such as {shorten(event.tag)} are not allowed")
        if isinstance(event, ScalarEvent):
            return Node(self._scalar(event, origin, path), origin)
        if isinstance(event, SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(following := loader.get_event(), SequenceEndEvent):
                items.append(self._node(loader, following, join(path, len(items)), depth + 1))
            return Node(items, self._between(event.start_mark.index, following.end_mark.index))
        assert isinstance(event, MappingStartEvent)
        return self._mapping(loader, event, path, depth)

    def _mapping(self, loader: Any, start: Any, path: str, depth: int) -> Node:
        children: dict[str, Node] = {}
        while not isinstance(event := loader.get_event(), MappingEndEvent):
            key = self._between(event.start_mark.index, event.end_mark.index)
            name = self._key(loader, event, key, path, depth)
            child = self._node(loader, loader.get_event(), join(path, name), depth + 1)
            child.key = key
            if name in children:
                first = children[name].key
                assert first is not None
                message = f"duplicate key '{shorten(name)}': it already stands in line {first.line or 1}"
                self._note(key, join(path, name), "duplicate-key", message, fatal=False)
            else:
                children[name] = child
        return Node(children, self._between(start.start_mark.index, event.end_mark.index))

    def _key(self, loader: Any, event: Any, origin: Origin, path: str, depth: int) -> str:
        if not isinstance(event, ScalarEvent):
            self._note(origin, path, "syntax", "a key must be plain text")
            self._node(loader, event, path, depth + 1)
            return "?"
        if event.anchor is not None or event.tag is not None:
            self._note(origin, path, "syntax", "anchors and tags are not allowed")
        if event.value == "<<" and not event.style:
            self._note(origin, join(path, "<<"), "syntax", "merge keys are not allowed: use `extends`")
        elif not event.value.strip():
            self._note(origin, path, "syntax", "an empty key")
        return str(self._clean(event.value, origin, path))

    def _scalar(self, event: Any, origin: Origin, path: str) -> Any:
        if event.style:  # quoted, or a block of text
            return self._clean(event.value, origin, path)
        try:
            return resolve(event.value)
        except ValueError:
            self._note(origin, path, "limit", "a number with too many digits")
            return None

    def _clean(self, value: str, origin: Origin, path: str) -> str:
        if message := refusal(value):
            self._note(origin, path, "encoding", message)
            return "?"
        return value

    def _between(self, start: int, end: int) -> Origin:
        text = self._text[start:end].rstrip()
        first, _, rest = text.partition("\n")
        return self._at(start, width=max(1, len(first)), written="…" if rest else shorten(first))

    def _at(self, index: int, *, width: int = 1, written: str = "") -> Origin:
        if self.source.argument is not None:
            argument = self.source.argument.replace("\n", " ")
            column = self.source.start + index + 1
            return self.source.origin(None, column, text=written, snippet=argument, width=width)
        line = min(bisect.bisect_right(self._starts, index), len(self._lines))
        column = index - self._starts[line - 1] + 1
        return self.source.origin(line, column, text=written, snippet=self._lines[line - 1], width=width)

    def _syntax_message(self, problem: str, index: int) -> str:
        if self._text[index : index + 1] == "\t":
            return "a tab, which cannot stand here: use spaces"
        for start, message in _SYNTAX.items():
            if problem.startswith(start):
                return message
        return f"not YAML: {problem}" if problem else "not YAML"

    def _note(self, origin: Origin, key: str, code: str, message: str, *, fatal: bool = True) -> None:
        self.problems.append(Problem(origin, key, code, message))
        self.fatal = self.fatal or fatal


def _newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _loader_class(text: str) -> Any:
    """Return libyaml's scanner, where PyYAML has it, for what Python's would spend a tenth of a second and more on."""
    fast = getattr(yaml, "CSafeLoader", None)
    brackets = text.count("[") + text.count("{")
    return fast if fast and (len(text) > _MANY_CHARACTERS or brackets > _MANY_BRACKETS) else yaml.SafeLoader
