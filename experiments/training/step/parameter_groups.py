"""An optimizer's parameter groups as hooks change them: a layer that is freed joins, one that is done leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...components.trained import Trained
from ...errors import CheckpointError


class ParameterGroups:
    """Notes which groups an optimizer was built with, and says by parameter name what has become of them.

    Args:
        optimizer: freshly built.
        model: alone or with the loss, whose parameters it holds; parameters from elsewhere are numbered.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, model: nn.Module | Trained):
        self._optimizer, self._model = optimizer, model
        self._built = [(group, list(group["params"])) for group in optimizer.param_groups]
        self._is_noted = False  # whether groups that were not built are known to a checkpoint

    def parameters(self) -> dict[str, Tensor]:
        """Return the parameters that the groups hold now, by name."""
        names = {id(parameter): name for name, parameter in self._model.named_parameters()}
        held = [p for group in self._optimizer.param_groups for p in group["params"]]
        return {names.get(id(p), f"parameter {place}"): p for place, p in enumerate(held)}

    def changes(self) -> list[dict[str, Any]] | None:
        """Return what each group is now: `built`, its place among those that were built, or None, and its parameters.

        `params` has names, or None where they are those that it was built with. Where nothing has changed there is
        nothing to say: None.
        """
        self._is_noted = True
        names = {id(p): name for name, p in self.parameters().items()}
        places = {id(group): place for place, (group, _) in enumerate(self._built)}
        found = []
        for group in self._optimizer.param_groups:
            place = places.get(id(group))
            same = place is not None and _are_same(group["params"], self._built[place][1])
            listed = None if same else [names[id(p)] for p in group["params"]]
            found.append({"built": place, "params": listed, "named": "param_names" in group})
        is_as_built = [each["built"] for each in found if each["params"] is None] == list(range(len(self._built)))
        return None if is_as_built and len(found) == len(self._built) else found

    def restore(self, changes: Sequence[Mapping[str, Any]] | None, settings: Sequence[Mapping[str, Any]]) -> None:
        """Make the groups what `changes` said.

        A group that a hook has added before anything was restored, and that the checkpoint knows nothing of, stays.

        Args:
            changes: from a checkpoint; None for the groups as they were built.
            settings: the hyperparameters of each group.

        Raises:
            CheckpointError: a name is no parameter's, or a parameter would be in two groups.
        """
        as_built: list[dict[str, Any]] = [{"built": place, "params": None} for place in range(len(self._built))]
        wanted = as_built if changes is None else changes
        chosen = [self._chosen(each) for each in wanted]
        held = [id(p) for params in chosen for p in params]
        if len(held) != len(set(held)):
            raise CheckpointError(
                "the checkpoint is of another optimizer or model: two of its groups share a parameter"
            )
        known = {id(group) for group, _ in self._built}
        more = [group for group in self._optimizer.param_groups if id(group) not in known]
        kept = [] if self._is_noted else [g for g in more if not {id(p) for p in g["params"]} & set(held)]
        self._is_noted = True
        groups = self._optimizer.param_groups
        groups[:] = []
        made = []
        for place, (each, params) in enumerate(zip(wanted, chosen, strict=True)):
            if each["built"] is not None:
                group = self._built[each["built"]][0]
                group["params"] = params
                made.append(group)
                continue
            settings_here = dict(settings[place]) if settings else {}
            pairs = list(zip(each["params"], params, strict=True)) if each["named"] else params
            self._optimizer.add_param_group({**settings_here, "params": pairs})
            made.append(groups.pop())
        groups[:] = [*made, *kept]

    def _chosen(self, change: Mapping[str, Any]) -> list[Tensor]:
        """Return the parameters of a group."""
        place, names = change["built"], change["params"]
        if place is not None and not 0 <= place < len(self._built):
            raise CheckpointError(f"the checkpoint is of another optimizer or model: it has a group built as {place}")
        if names is None and place is not None:
            return list(self._built[place][1])
        known = dict(self._model.named_parameters()) | {
            name: p for name, p in self.parameters().items() if name.startswith("parameter ")
        }
        if unknown := [name for name in names or () if name not in known]:
            raise CheckpointError(
                f"the checkpoint has a parameter group, made by a hook, with {unknown[0]}, which the model has not"
            )
        return [known[name] for name in names or ()]


class TrainableFlags:
    """Notes which parameters required a gradient when the train op was built, and which are frozen or freed since.

    Args:
        trained: model and loss.
    """

    def __init__(self, trained: Trained):
        self._trained = trained
        self._built = {name: parameter.requires_grad for name, parameter in trained.named_parameters()}
        self._is_noted = False  # whether what has changed is known to a checkpoint

    def changes(self) -> dict[str, bool]:
        """Return, of the parameters for which that has changed, whether they require a gradient."""
        self._is_noted = True
        named = self._trained.named_parameters()
        return {name: p.requires_grad for name, p in named if p.requires_grad is not self._built.get(name, True)}

    def restore(self, changes: Mapping[str, bool]) -> None:
        """Make it what `changes` said; what a hook has changed before anything was restored stays otherwise."""
        wanted = changes if not self._is_noted else {**self._built, **changes}
        self._is_noted = True
        for name, parameter in self._trained.named_parameters():
            if name in wanted:
                parameter.requires_grad_(wanted[name])


def _are_same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))
