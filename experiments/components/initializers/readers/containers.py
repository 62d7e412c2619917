"""Containers: which part of a training checkpoint is the weights, by rule where there is one, else by `part`.

A mapping is walked from the top. What belongs to an optimizer, a schedule or the state of a process is set aside by
its form or name. What is left is taken where there is one part, or one under a name that stands for the weights beside
loose tensors. Where several parts could be meant, they are listed and nothing is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from torch import Tensor

from ....errors import UsageError, nearest
from ....system.places import shown
from .contents import Contents, count, described_value, why_unusable

WHOLE = "."  # the part that is the whole file, names within parts joined with dots

#: Names under which people save the weights of their one model.
_WEIGHTS = {"state_dict", "model", "model_state_dict", "model_state", "weights", "params", "net", "network", "module"}
#: Names of what is no weights even where tensors are in it.
_OTHERS = re.compile(
    r"(\w+_)?(optim\w*|lr_sched\w*|schedulers?|scheduler_state\w*|grad_scaler|scaler|amp|rng\w*|\w+_rng_states?|callbacks|"
    r"loops|averaging_state|hyper_parameters|hparams\w*|config\w*|args)",
    re.IGNORECASE,
)
_LIGHTNING = "pytorch-lightning_version"
_MOST = 8  # candidates that are listed
_DEEPEST = 16


@dataclass(frozen=True)
class _Part:
    """A part of a container.

    Args:
        path: the keys that lead to it, joined with dots; empty for the whole.
        value: what stands there.
    """

    path: str
    value: Mapping[Any, Any]

    def inner(self, key: Any) -> str:
        return f"{self.path}.{key}" if self.path else str(key)


def contents_of(path: Path, content: Any, wanted: str | None) -> Contents:
    """Return the weights in what a file of pickled containers holds.

    Args:
        path: the file.
        content: of it.
        wanted: the part that the user has named.

    Raises:
        UsageError: nothing in it is weights, there are several candidates, or none of that name.
    """
    if not isinstance(content, Mapping):
        what = "one tensor without a name" if isinstance(content, Tensor) else described_value(content)
        raise UsageError(f"{shown(path)} holds {what}, and no tensors by name: save model.state_dict()")
    root = _Part("", content)
    if _is_optimizer(content):
        raise UsageError(f"{shown(path)} holds the state of an optimizer, and no weights")
    part = _chosen(path, root) if wanted is None else _named(path, root, wanted)
    tensors, unusable = _flat(part.value)
    if not tensors:
        raise UsageError(f"{shown(path)} holds no tensors by name{_listed_beside(_beside(root, part))}")
    is_lightning = _LIGHTNING in content and part.path in ("state_dict", "current_model_state")
    notes = []
    if _LIGHTNING in content and "current_model_state" in content and wanted is None:
        notes.append(
            "state_dict is the average of the weights that a callback kept; the weights that were trained are "
            "`part: current_model_state`"
        )
    return Contents(
        path, tensors, unusable, part.path, _beside(root, part), _owner(tensors) if is_lightning else "", tuple(notes)
    )


def _chosen(path: Path, part: _Part) -> _Part:
    """Return the one part that is weights.

    Raises:
        UsageError: there are several candidates.
    """
    mapping = part.value
    if not part.path and _LIGHTNING in mapping and _has_tensors(mapping.get("state_dict")):
        return _Part("state_dict", mapping["state_dict"])
    loose = [key for key, value in mapping.items() if isinstance(value, Tensor) and not _is_other(key)]
    parts = [_Part(part.inner(key), value) for key, value in _parts(mapping)]
    known = [each for each in parts if each.path.rpartition(".")[2] in _WEIGHTS]
    if not parts:
        return part
    if len(parts) == 1 and (not loose or known):
        return _chosen(path, parts[0])
    raise UsageError(
        f"{shown(path)} holds several sets of tensors: {_listed_parts(part, parts, loose)}. Name one of them with "
        f"`part`, such as `part: {(known or parts)[0].path}`; `part: {part.path or WHOLE}` is all of them, under names "
        "joined with dots"
    )


def _named(path: Path, root: _Part, wanted: str) -> _Part:
    """Return the part that the user has named; keys may have dots themselves.

    Raises:
        UsageError: there is none, or it is no weights.
    """
    if wanted == WHOLE:
        return root
    part, rest = root, wanted
    while rest:
        keys = [key for key in part.value if rest == str(key) or rest.startswith(f"{key}.")]
        key = max(keys, key=lambda key: len(str(key)), default=None)
        value = part.value[key] if key is not None else None
        if not isinstance(value, Mapping) or not _has_tensors(value):
            known = [each for each, _ in _all_parts(root)]
            guess = nearest(wanted, known)
            hint = f"did you mean '{guess}'? " if guess else ""
            has = f"it has {', '.join(known[:_MOST])}" if known else "it has no parts: leave `part` out"
            raise UsageError(f"part: {shown(path)} has no part '{wanted}' with tensors: {hint}{has}")
        part, rest = _Part(part.inner(key), value), rest[len(str(key)) + 1 :]
    if _is_optimizer(part.value):
        raise UsageError(f"part: '{wanted}' of {shown(path)} is the state of an optimizer, and no weights")
    return part


def _parts(mapping: Mapping[Any, Any]) -> Iterator[tuple[Any, Mapping[Any, Any]]]:
    """Yield what may be weights among the values of a mapping."""
    for key, value in mapping.items():
        if _has_tensors(value) and not _is_other(key) and not _is_optimizer(value):
            yield key, value


def _all_parts(part: _Part, depth: int = 2) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    for key, value in _parts(part.value):
        yield part.inner(key), value
        if depth > 1:
            yield from _all_parts(_Part(part.inner(key), value), depth - 1)


def _has_tensors(value: Any, depth: int = _DEEPEST) -> TypeGuard[Mapping[Any, Any]]:
    if not isinstance(value, Mapping) or depth == 0:
        return False
    return any(isinstance(each, Tensor) or _has_tensors(each, depth - 1) for each in value.values())


def _is_other(key: Any) -> bool:
    return _OTHERS.fullmatch(str(key)) is not None


def _is_optimizer(value: Any) -> bool:
    return isinstance(value, Mapping) and {"state", "param_groups"} <= value.keys()


def _flat(mapping: Mapping[Any, Any], prefix: str = "", depth: int = _DEEPEST) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the tensors below a mapping under names joined with dots, and why its other values are none."""
    tensors: dict[str, Tensor] = {}
    unusable: dict[str, str] = {}
    for key, value in mapping.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and depth > 1 and _has_tensors(value) and not _is_optimizer(value):
            inner, others = _flat(value, f"{name}.", depth - 1)
            tensors |= inner
            unusable |= others
        elif isinstance(value, Tensor) and why_unusable(value) is None:
            tensors[name] = value.detach()
        else:
            reason = why_unusable(value) or ""
            unusable[name] = "the state of an optimizer" if _is_optimizer(value) else reason
    return tensors, unusable


def _beside(root: _Part, chosen: _Part) -> dict[str, str]:
    """Return what stands beside the chosen part at the top, in words."""
    if not chosen.path:
        return {}
    top = chosen.path
    others = {key: value for key, value in root.value.items() if not f"{top}.".startswith(f"{key}.")}
    return {str(key): _word(value) for key, value in others.items()}


def _word(value: Any) -> str:
    if _is_optimizer(value):
        return "the state of an optimizer"
    if isinstance(value, list | tuple) and value and all(map(_is_optimizer, value)):
        return "the state of an optimizer"
    if _has_tensors(value):
        return count(len(_flat(value)[0]))
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else described_value(value)


def _owner(tensors: Mapping[str, Tensor]) -> str:
    """Return the attribute that all names begin with; empty where they do not."""
    first = {name.partition(".")[0] for name in tensors}
    return first.pop() if len(first) == 1 and all("." in name for name in tensors) else ""


def _listed_parts(whole: _Part, parts: list[_Part], loose: list[Any]) -> str:
    words = [f"{each.path} ({_word(each.value)})" for each in parts[:_MOST]]
    words += [f"{len(parts) - _MOST} more"] if len(parts) > _MOST else []
    if loose:
        some = ", ".join(map(str, loose[:2])) + (", …" if len(loose) > 2 else "")
        words.append(f"{count(len(loose))} beside {'them' if len(parts) > 1 else 'it'} ({some})")
    return ", ".join(words)


def _listed_beside(beside: Mapping[str, str]) -> str:
    return f": it has {', '.join(f'{name} ({word})' for name, word in list(beside.items())[:_MOST])}" if beside else ""
