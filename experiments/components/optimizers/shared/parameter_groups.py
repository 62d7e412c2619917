"""Parameter groups: which parameters get which hyperparameters, chosen by name or by the kind of their layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Required

import torch
from torch import nn
from typing_extensions import TypedDict  # pydantic asks for this one below Python 3.12

from ....errors import ArgumentsError, UsageError, nearest
from ....registry import Component
from ....registry.arguments import NonNegative
from ...trained import Trained
from .layer_words import LAYERS, WORDS


class SelectiveDecay(TypedDict, total=False):
    """Weight decay for a part of the parameters.

    Args:
        rate: the weight decay of the chosen parameters; all others get 0.
        include: selectors of the parameters to decay; all if left out.
        exclude: selectors of the parameters to leave alone.
    """

    __pydantic_config__ = {"extra": "forbid"}  # type: ignore[misc]  # noqa: RUF012

    rate: Required[NonNegative]
    include: list[str]
    exclude: list[str]


WeightDecay = NonNegative | SelectiveDecay


def decay_rate(weight_decay: WeightDecay) -> float:
    """Return the number that torch wants.

    Raises:
        UsageError: the weight decay is selective, which takes names and layers: `make_optimizer` has them.
    """
    if isinstance(weight_decay, Mapping):
        raise UsageError("weight_decay with include or exclude needs the names of the parameters: use make_optimizer")
    return weight_decay


@dataclass(frozen=True)
class Named:
    """A trainable parameter, with its name and the module that owns it where they are known.

    Args:
        parameter: the tensor.
        name: `loss.…` for one of the loss.
        owner: the module that it belongs to itself.
        of_loss: whether it is the loss's, and not the model's.
    """

    parameter: torch.Tensor
    name: str | None = None
    owner: nn.Module | None = None
    of_loss: bool = False


def trainable(params: nn.Module | Trained | Iterable[Any]) -> list[Named]:
    """List the parameters that require a gradient, each once.

    Raises:
        UsageError: there is none, or `params` is something else than parameters.
    """
    found = all_parameters(params)
    chosen = [named for named in found if named.parameter.requires_grad]
    if not chosen:
        raise UsageError(f"nothing to train: none of the {len(found)} parameters requires a gradient")
    return chosen


def all_parameters(params: nn.Module | Trained | Iterable[Any]) -> list[Named]:
    """List all parameters, frozen ones too, each once.

    Raises:
        UsageError: there is none, or `params` is something else than parameters.
    """
    if isinstance(params, nn.Module | Trained):
        modules = dict(params.named_modules())
        owners = {name: modules[_unparametrized(name).rpartition(".")[0]] for name, _ in params.named_parameters()}
        of_loss = set(dict(params.loss_parameters())) if isinstance(params, Trained) else set()
        found = [Named(value, name, owners[name], name in of_loss) for name, value in params.named_parameters()]
    elif isinstance(params, torch.Tensor):
        raise UsageError("params must be a module or an iterable of parameters, got a single tensor")
    else:
        found = [_named(item) for item in params]
    if not found:
        raise UsageError("there are no parameters: the model has none, or an iterator over them was used up before")
    return found


def _named(item: Any) -> Named:
    if isinstance(item, torch.Tensor):
        return Named(item)
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str) and isinstance(item[1], torch.Tensor):
        return Named(item[1], item[0])
    raise UsageError(
        f"expected parameters or (name, parameter) pairs, got a {type(item).__name__}; for groups use `groups`"
    )


def _is_selected(selector: str, named: Named) -> bool:
    assert named.name is not None
    if selector == "bias":
        leaf = _unparametrized(named.name).rpartition(".")[2]
        return leaf == "bias" or leaf.startswith("bias_") or leaf.endswith("_bias")
    if selector in LAYERS:
        return named.owner is not None and LAYERS[selector](named.owner)
    return fnmatchcase(named.name, selector)


def _unparametrized(name: str) -> str:
    """Return `layer.weight` for `layer.parametrizations.weight.original0`, as torch names what it computes one from."""
    layer, found, own = name.partition("parametrizations.")
    return layer + own.partition(".")[0] if found else name


def selected(
    selectors: Sequence[str],
    all_named: Sequence[Named],
    where: str,
    noun: str = "trainable parameters",
    argument: str = "",
) -> set[int]:
    """Return the positions of the parameters that any of the selectors chooses.

    Args:
        selectors: globs over parameter names (`layer1.*.weight`), or the words bias, norm, conv, linear and
            embedding, which go by the kind of layer.
        all_named: the parameters to choose from.
        where: what the selectors are for, named in errors.
        noun: what these parameters are, named in errors.
        argument: that has the selectors, for whoever knows where it was written; empty for nobody.

    Raises:
        UsageError: a glob matches nothing, or names or layers are needed and not known.
    """
    positions: set[int] = set()
    for selector in selectors:
        if any(named.name is None for named in all_named):
            raise UsageError(f"{where} '{selector}' needs parameter names: pass the model instead of its parameters()")
        if selector in LAYERS and any(named.owner is None for named in all_named):
            raise UsageError(f"{where} '{selector}' needs the layers: pass the model instead of its named_parameters()")
        found = {position for position, named in enumerate(all_named) if _is_selected(selector, named)}
        if not found and selector not in WORDS:
            names = [named.name or "" for named in all_named]
            guess = nearest(selector, names)
            hint = f"; the nearest is '{guess}'" if guess else f"; they are {_shortened(names)}"
            message = f"{where} '{selector}' matches none of the {len(names)} {noun}{hint}"
            raise ArgumentsError(message, argument) if argument else UsageError(message)
        positions |= found
    return positions


def _shortened(names: Sequence[str], limit: int = 8) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def assign(
    all_named: Sequence[Named], args: Mapping[str, Any], groups: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Sort the parameters into groups, each `{"params": [Named, …], <hyperparameters>}`.

    The parameters that no group takes come first, under the optimizer's own arguments; then the groups in order.
    A group whose weight decay is selective becomes two.
    """
    free = set(range(len(all_named)))
    members = []
    for place, group in enumerate(groups):
        match = [group["match"]] if isinstance(group["match"], str) else list(group["match"])
        found = selected(match, all_named, "group", argument=f"groups.{place}.match")
        if not found & free:
            reason = "earlier groups have taken all that it matches" if found else "it matches no parameter"
            raise ArgumentsError(f"group {', '.join(match)} is empty: {reason}", f"groups.{place}.match")
        settings = {key: value for key, value in group.items() if key != "match"}
        members.append((sorted(found & free), {**args, **settings}))
        free -= found
    if free:
        members.insert(0, (sorted(free), dict(args)))
    return [part for positions, settings in members for part in _split_by_decay(positions, settings, all_named)]


def _split_by_decay(positions: list[int], settings: dict[str, Any], all_named: Sequence[Named]) -> list[dict[str, Any]]:
    decay = settings.get("weight_decay")
    if not isinstance(decay, Mapping):
        return [{"params": [all_named[position] for position in positions], **settings}]
    chosen = set(range(len(all_named)))
    if "include" in decay:
        name = "weight_decay.include"
        chosen = selected(decay["include"], all_named, name, argument=name)
    name = "weight_decay.exclude"
    chosen -= selected(decay.get("exclude", ()), all_named, name, argument=name)
    if not chosen:
        raise UsageError("weight_decay: include and exclude leave no parameter to decay; for that, set it to 0")
    parts = []
    for rate, wanted in ((decay["rate"], True), (0.0, False)):
        params = [all_named[position] for position in positions if (position in chosen) is wanted]
        if params:
            parts.append({"params": params, **settings, "weight_decay": rate})
    return parts


def _split_by_settings(
    part: dict[str, Any],
    settings_of_each: Callable[[Sequence[Named], Mapping[str, Any]], Sequence[Mapping[str, Any]]],
    all_named: Sequence[Named],
) -> list[dict[str, Any]]:
    """Split a group where the optimizer itself wants other settings for some parameters than for the rest."""
    chosen = dict(zip(map(id, all_named), settings_of_each(all_named, _settings(part)), strict=True))
    pieces: list[dict[str, Any]] = []
    for named in part["params"]:
        settings = {**_settings(part), **chosen[id(named)]}
        piece = next((piece for piece in pieces if _settings(piece) == settings), None)
        if piece is None:
            pieces.append(piece := {"params": [], **settings})
        piece["params"].append(named)
    return pieces


def build_optimizer(
    component: Component,
    params: nn.Module | Trained | Iterable[Any],
    args: Mapping[str, Any],
    groups: Sequence[Mapping[str, Any]],
) -> torch.optim.Optimizer:
    """Group the trainable parameters and build the optimizer over them."""
    all_named = trainable(params)
    _refuse_complex(component, args, all_named)
    parts = assign(all_named, args, groups)
    if (settings_of_each := component.facts.get("settings_of_each")) is not None:
        parts = [piece for part in parts for piece in _split_by_settings(part, settings_of_each, all_named)]
    if len(parts) == 1:
        (part,) = parts
        optimizer = _call(component, _tensors(part), _settings(part))
    else:
        optimizer = _build_grouped(component, parts)
    scalar = {**args, "weight_decay": 0.0} if isinstance(args.get("weight_decay"), Mapping) else dict(args)
    own_lr = _own_lr(component, scalar, optimizer)
    for part, group in zip(parts, optimizer.param_groups, strict=True):
        group["initial_lr"] = group["lr"]
        group["lr_scale"] = group["lr"] / own_lr
        if all(named.name is not None for named in part["params"]):
            group["param_names"] = [named.name for named in part["params"]]  # torch's own key, kept by its state_dict
    return optimizer


def _refuse_complex(component: Component, args: Mapping[str, Any], all_named: Sequence[Named]) -> None:
    """Refuse complex parameters of a rule that is made for real ones; the user's own is asked nothing."""
    found = next((named for named in all_named if named.parameter.is_complex()), None)
    if found is not None and not takes_complex(component, args):
        name = found.name or f"one of shape {tuple(found.parameter.shape)}"
        flavor = f" (flavor {component.flavor})" if component.variants else ""
        raise UsageError(
            f"optimizer '{component.name}'{flavor} cannot train complex parameters, such as {name} "
            f"({str(found.parameter.dtype).removeprefix('torch.')}): let the model hold real and imaginary part "
            "(torch.view_as_real), or take adam, mom, rmsprop or another one of torch's"
        )


def takes_complex(component: Component, args: Mapping[str, Any]) -> bool:
    """Return True if an optimizer is made for complex weights too, or is not optrun's, so that nobody knows."""
    said = component.facts.get("complex", component.code is not None or bool(component.modules))
    return bool(said(args) if callable(said) else said)


def _build_grouped(component: Component, parts: Sequence[dict[str, Any]]) -> torch.optim.Optimizer:
    """Build one optimizer whose groups differ.

    Each group is first built alone, so that the component itself translates its arguments to the optimizer's own
    entries, the constructor checks them, and state that a constructor makes (Adagrad's sums) starts as the group says.
    """
    alone = [_call(component, _tensors(part), _settings(part)) for part in parts]
    param_groups = [dict(optimizer.param_groups[0]) for optimizer in alone]
    together = _call(component, param_groups, _settings(parts[0]))
    for optimizer in alone:
        together.state.update(optimizer.state)
    return together


def _own_lr(component: Component, args: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> float:
    defaults = {argument.name: argument.default for argument in component.signature.arguments}
    lr = args.get("lr", defaults.get("lr"))
    return optimizer.defaults["lr"] if lr is None else lr


def _tensors(part: Mapping[str, Any]) -> list[torch.Tensor]:
    return [named.parameter for named in part["params"]]


def _settings(part: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key != "params"}


def _call(component: Component, params: list[Any], args: Mapping[str, Any]) -> torch.optim.Optimizer:
    try:
        optimizer = component.make(params, **args)
    except (TypeError, ValueError) as error:
        raise UsageError(f"optimizer '{component.name}': {error}") from error
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise UsageError(f"optimizer '{component.name}' made a {type(optimizer).__name__}, not a torch.optim.Optimizer")
    if any("lr" not in group for group in optimizer.param_groups):
        raise UsageError(
            f"optimizer '{component.name}' has no `lr` in its param_groups, so that no schedule can set it"
        )
    return optimizer
