"""A model is called on the inputs of a batch as its forward asks: on the whole, on each item, or by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

from torch import Tensor, nn

from ..components.data.batch_parts import TARGET_NAMES
from ..components.data.tree import children, entries
from ..errors import SessionError
from ..registry.calls import described

Call = Literal["auto", "inputs", "unpack", "keywords"]
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_Parameters = Sequence[inspect.Parameter]


class ModelCall:
    """Calls a model on batches, in a way that is settled by its signature and the first of them.

        inputs: model(inputs)   unpack: model(*inputs)   keywords: model(**inputs)

    `auto` calls on a tensor as it is; by keywords where a mapping has nothing but names of the forward's parameters;
    unpacked where a tuple has as many items as the forward takes, or the forward needs several; on the whole otherwise.

    Args:
        how: one of these.
        target_names: names of the forward's parameters that the targets are handed to, if it has one of them; empty for
            a model that does not compute the loss itself. A dict of targets is handed on entry by entry.

    Raises:
        SessionError: no such way.
    """

    def __init__(self, how: Call = "auto", target_names: Sequence[str] = ()):
        if how not in get_args(Call):
            raise SessionError(f"no way {how!r} to call a model: use {', '.join(get_args(Call))}")
        self.how: Call = how
        self.target_names = tuple(target_names)
        self._way: Call = "auto"
        self._targets_go: tuple[str, ...] = ()

    def settle(self, model: nn.Module, inputs: Any, targets: Any = None) -> None:
        """Settle how this model is called on batches such as this one; what is settled stays.

        Raises:
            SessionError: its forward takes such inputs in no way, or in several.
        """
        if self._way == "auto":
            parameters = _parameters(model)
            self._targets_go = _targets_for(parameters, self.target_names, inputs, targets)
            self._way = _settled(self.how, type(model).__name__, parameters, inputs, self._targets_go)

    def is_on_the_whole(self, inputs: Any) -> bool:
        """Return True if a model is called on inputs as one that consist of several."""
        return self._way == "inputs" and bool(children(inputs))

    def __call__(self, model: Callable[..., Any], inputs: Any, targets: Any = None) -> Any:
        """Return the outputs of a model, or of one that stands for it: a copy, or the same compiled.

        Raises:
            SessionError: see `settle`.
        """
        if self._way == "inputs" and not self._targets_go:  # at each step of most runs
            return model(inputs)
        if self._way == "auto":
            self.settle(getattr(model, "_orig_mod", model), inputs, targets)  # type: ignore[arg-type]
        more = {name: _target(targets, name) for name in self._targets_go} if self._targets_go else {}
        if self._way == "inputs":
            return model(inputs, **more)
        if self._way == "unpack":
            return model(*inputs, **more)
        return model(**entries(inputs), **more)


def hands_targets(loss: Any, targets_from: Any = None) -> tuple[str, ...]:
    """Return the names by which targets are handed to a model: none, unless the loss is what the model computed itself.

    Args:
        loss: one that is taken from the outputs says so by an attribute `is_of_model`.
        targets_from: the name of the targets in a batch, or several, if it was given.
    """
    while not hasattr(loss, "is_of_model") and hasattr(loss, "func"):
        loss = loss.func
    if not getattr(loss, "is_of_model", False):
        return ()
    own = [targets_from] if isinstance(targets_from, str) else [] if isinstance(targets_from, int) else targets_from
    return tuple(dict.fromkeys([*(name for name in own or () if isinstance(name, str)), *TARGET_NAMES]))


def _parameters(model: nn.Module) -> _Parameters | None:
    """Return what the forward of a model takes; None where Python cannot tell."""
    try:
        return list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):
        return None


def _targets_for(parameters: _Parameters | None, names: Sequence[str], inputs: Any, targets: Any) -> tuple[str, ...]:
    if not names or targets is None or parameters is None:
        return ()
    taken = {each.name for each in parameters if each.kind in _NAMED} - set(entries(inputs))
    several = set(entries(targets))
    if several:
        return tuple(name for name in names if name in taken & several)
    return next(((name,) for name in names if name in taken), ())


def _target(targets: Any, name: str) -> Any:
    return targets if isinstance(targets, Tensor) else entries(targets).get(name, targets)


def _settled(how: Call, model: str, parameters: _Parameters | None, inputs: Any, more: Sequence[str]) -> Call:
    names, items = entries(inputs), children(inputs)
    is_sequence = isinstance(inputs, tuple | list)
    if (how == "keywords" and not names) or (how == "unpack" and not is_sequence):
        wanted = "a mapping, a data class or a named tuple" if how == "keywords" else "a tuple or a list"
        raise SessionError(f"`call: {how}` needs {wanted} of inputs, not {described(inputs)}")
    if how != "auto":
        return how
    if isinstance(inputs, Tensor) or not items or parameters is None:
        return "inputs"
    left = [each for each in parameters if each.name not in more]
    if not is_sequence:
        return _settled_by_name(model, left, inputs, names)
    return _settled_by_place(model, left, inputs, len(items))


def _settled_by_name(model: str, parameters: _Parameters, inputs: Any, names: dict[Any, Any]) -> Call:
    taken = {each.name for each in parameters if each.kind in _NAMED}
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)
    missing = [each.name for each in _needed(parameters) if each.name not in names]
    unknown = [str(name) for name in names if name not in taken]
    if not missing and (takes_any or not unknown) and all(isinstance(name, str) for name in names):
        return "keywords"
    if len(unknown) == len(names) and _takes(parameters, 1):
        return "inputs"  # none is a parameter: it looks its entries up itself
    lacks = f"there is no {', '.join(missing)}" if missing else f"it does not take {', '.join(unknown)}"
    raise SessionError(
        f"the forward of {model} takes ({_shown(parameters)}), and inputs are {described(inputs)}: {lacks}. Choose the "
        f'entries by data.inputs_from (in Python `inputs_from=`), or say data.call: inputs (`call="inputs"`) if it '
        "takes them all as one"
    )


def _settled_by_place(model: str, parameters: _Parameters, inputs: Any, count: int) -> Call:
    positional = [each for each in parameters if each.kind in _POSITIONAL]
    needed = [each for each in positional if each.default is inspect.Parameter.empty]
    # A parameter with a default such as False is an option, and no place for a tensor.
    roomy = [each for each in positional if each.default in (inspect.Parameter.empty, None)]
    takes_any = any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in parameters)
    if (takes_any and len(needed) <= count) or (count == len(roomy) and count > 1):
        return "unpack"
    if len(needed) > 1:
        if len(needed) <= count <= len(positional):
            return "unpack"
        raise SessionError(
            f"the forward of {model} takes ({_shown(parameters)}), and inputs are {described(inputs)}: {count} items "
            f"for {len(needed)} parameters. Choose the items by data.inputs_from (in Python `inputs_from=`)"
        )
    if not _takes(parameters, 1):
        raise SessionError(f"the forward of {model} takes ({_shown(parameters)}), but not {described(inputs)} as one")
    if 1 < count <= len(roomy):
        raise SessionError(
            f"the forward of {model} takes ({_shown(parameters)}), and inputs are {described(inputs)}: is it called on "
            "the whole or on each item? Say data.call: inputs, or data.call: unpack (in Python `call=`)"
        )
    return "inputs"


def _needed(parameters: _Parameters) -> list[inspect.Parameter]:
    kinds = (*_POSITIONAL, inspect.Parameter.KEYWORD_ONLY)
    return [each for each in parameters if each.kind in kinds and each.default is inspect.Parameter.empty]


def _takes(parameters: _Parameters, count: int) -> bool:
    """Return True if a forward can be called on so many values by their places."""
    takes_any = any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in parameters)
    positional = [each for each in parameters if each.kind in _POSITIONAL]
    return len(_needed(parameters)) <= count and (takes_any or len(positional) >= count)


def _shown(parameters: _Parameters) -> str:
    texts = [str(each.replace(annotation=inspect.Parameter.empty)) for each in parameters]
    return ", ".join(texts[:6]) + (", …" if len(texts) > 6 else "")
