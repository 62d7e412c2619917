"""Muon, with AdamW for the parameters that it is not meant for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw as adamw_step

from ...registry.arguments import Count, Decay, NonNegative, Positive
from . import register_optimizer
from .shared.foreach import ForeachOptimizer, decay_weights
from .shared.parameter_groups import Named, WeightDecay

Rule = Literal["auto", "muon", "adamw"]
_COEFFICIENTS = (3.4445, -4.775, 2.0315)  # of the quintic polynomial in Jordan et al., steepest at 0
_TINY = 1e-7


def orthogonalised(matrix: Tensor, num_iterations: int) -> Tensor:
    """Return a matrix with the same singular vectors, and singular values near 1, by Newton-Schulz iterations.

    Args:
        matrix: shape (number, rows, columns): matrices of one shape are done at once.
        num_iterations: five bring the singular values to between about 0.7 and 1.2.

    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; in bfloat16, as there.
    """
    a, b, c = _COEFFICIENTS
    tall = matrix.size(-2) > matrix.size(-1)
    x = (matrix.mT if tall else matrix).bfloat16()
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=_TINY)
    for _ in range(num_iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def rules(all_named: Sequence[Named], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rule of each parameter: hidden matrices Muon; embeddings, the head, vectors and the loss's AdamW."""
    if settings.get("rule", "auto") != "auto":
        return [{}] * len(all_named)
    matrices = [place for place, named in enumerate(all_named) if named.parameter.dim() >= 2 and not named.of_loss]
    known = all(named.owner is not None for named in all_named)
    head = matrices[-1:] if known else []  # without layers nothing tells a head from other matrices
    embeddings = [p for p in matrices if isinstance(all_named[p].owner, nn.Embedding | nn.EmbeddingBag)]
    hidden = set(matrices) - {*head, *embeddings}
    return [{"rule": "muon" if place in hidden else "adamw"} for place in range(len(all_named))]


@register_optimizer(
    "muon",
    source="Jordan et al., 2024, kellerjordan.github.io/posts/muon; Liu et al., 2025, arXiv:2502.16982",
    centre_lr=0.03,
    centre_source="best on digits, of a grid by factors of √10: 0.03 to 0.1 with a resnet (170 steps)",
    settings_of_each=rules,
)
class Muon(ForeachOptimizer):
    """Muon for the hidden matrices, with every singular value of the step made 1, and AdamW for everything else.

        m = momentum * m + (1 - momentum) * gradient
        d = momentum * m + (1 - momentum) * gradient         without nesterov: d = m
        o = U Vᵀ, for the singular value decomposition d = U S Vᵀ, nearly
        w = w - lr * weight_decay * w
        w = w - lr * 0.2 * √(max(rows, columns)) * o         original: √(max(1, rows / columns)) in place of 0.2 * √…

    The factor by the shape gives a step the size of one of AdamW's, so that one rate serves both. A convolution's
    matrix is (channels out, all else). AdamW has embeddings, the head (the last matrix), biases and norms; the
    layers are known where the optimizer is made from a model. A group may choose: `{match: fc.weight, rule: muon}`.

    Args:
        params: the parameters to train, or torch's param groups.
        lr: the step length of both rules, as for adamw.
        momentum: how much of the past the mean of a matrix's gradient keeps.
        nesterov: whether to look ahead along the momentum.
        ns_steps: Newton-Schulz iterations for o.
        adjust_lr: how the rate of a matrix follows its shape.
        betas: of AdamW.
        eps: of AdamW.
        weight_decay: the part of each weight that goes per step is lr * weight_decay.
        rule: which of the two is used; `auto` is as above, `muon` leaves only vectors to AdamW.

    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; the factor from Liu et al.,
    "Muon is scalable for LLM training", 2025.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.zeros(2, 2))
        >>> w.grad = torch.tensor([[5.0, 0.0], [0.0, 1.0]])
        >>> make_optimizer([w], "muon", lr=0.1, adjust_lr="original").step()
        >>> singular = torch.linalg.svdvals(w.detach()) / 0.1  # those of the gradient are 5 and 1
        >>> bool((singular - 1).abs().max() < 0.35)
        True
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: Positive = 0.001,
        momentum: Decay = 0.95,
        nesterov: bool = True,
        ns_steps: Count = 5,
        adjust_lr: Literal["match_rms_adamw", "original"] = "match_rms_adamw",
        betas: tuple[Decay, Decay] = (0.9, 0.999),
        eps: NonNegative = 1e-8,
        weight_decay: WeightDecay = 0.0,
        rule: Rule = "auto",
    ):
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            nesterov=nesterov,
            ns_steps=ns_steps,
            adjust_lr=adjust_lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            rule=rule,
        )

    def update(self, group: dict[str, Any], weights: list[Tensor], gradients: list[Tensor]) -> None:
        matrices = [weight.dim() >= 2 and group["rule"] != "adamw" for weight in weights]
        for is_matrix, update in ((True, self._update_matrices), (False, self._update_others)):
            chosen = [place for place, is_one in enumerate(matrices) if is_one is is_matrix]
            if chosen:
                update(group, [weights[place] for place in chosen], [gradients[place] for place in chosen])

    def _update_matrices(self, group: dict[str, Any], weights: list[Tensor], gradients: list[Tensor]) -> None:
        momenta = self.kept("momentum_buffer", weights)
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, momenta, group["momentum"]) if group["nesterov"] else momenta
        directions = _orthogonalised_by_shape(list(ahead), group["ns_steps"])
        decay_weights(weights, group["lr"] * group["weight_decay"])
        torch._foreach_mul_(directions, [-group["lr"] * _relative_rate(w, group["adjust_lr"]) for w in weights])
        torch._foreach_add_(weights, directions)

    def _update_others(self, group: dict[str, Any], weights: list[Tensor], gradients: list[Tensor]) -> None:
        steps = self.own_steps(weights)
        adamw_step(
            weights,
            gradients,
            self.kept("exp_avg", weights),
            self.kept("exp_avg_sq", weights),
            [],
            steps,
            foreach=True,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def _orthogonalised_by_shape(tensors: list[Tensor], num_iterations: int) -> list[Tensor]:
    """Orthogonalise tensors, those of one shape together; axes after the first count as columns."""
    by_shape: dict[torch.Size, list[int]] = {}
    for place, tensor in enumerate(tensors):
        by_shape.setdefault(tensor.shape, []).append(place)
    found: dict[int, Tensor] = {}
    for shape, places in by_shape.items():
        together = torch.stack([tensors[place].flatten(1) for place in places])
        for place, result in zip(places, orthogonalised(together, num_iterations), strict=True):
            found[place] = result.reshape(shape).to(tensors[place].dtype)
    return [found[place] for place in range(len(tensors))]


def _relative_rate(weight: Tensor, adjust: str) -> float:
    """Return the factor on the rate of a matrix by its shape."""
    rows, columns = len(weight), weight[0].numel()
    return 0.2 * math.sqrt(max(rows, columns)) if adjust == "match_rms_adamw" else math.sqrt(max(1, rows / columns))
