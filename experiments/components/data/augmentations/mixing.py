"""Augmentations that mix examples, and with them their targets."""

from __future__ import annotations

import torch

from ....registry.arguments import Positive
from ..batches import Mixed
from . import register_augmentation


@register_augmentation("mixup", source="Zhang et al., 2018, arXiv:1710.09412")
def mixup(inputs: torch.Tensor, generator: torch.Generator, *, alpha: Positive = 0.2) -> Mixed:
    """Average each example with another of its batch, and their targets alike.

        x = λ x_i + (1 - λ) x_j,   target = λ target_i + (1 - λ) target_j,   λ ~ Beta(alpha, alpha)

    Class targets become probabilities, which `cross_entropy` takes. Evaluation sees neither. Each pair draws its own
    λ, as in the paper's formula; the code beside the paper draws one for the whole batch.

    Args:
        inputs: a batch, shape (examples, …), floating point.
        generator: where partners and weights come from.
        alpha: 1 for weights that are uniform from 0 to 1; towards 0 for examples that are hardly mixed.

    Source: Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: beyond empirical risk minimization", 2018.
    """
    from scipy.special import betaincinv  # torch draws from Beta only without a generator

    partners = torch.randperm(len(inputs), generator=generator, device=inputs.device)
    uniform = torch.rand(len(inputs), generator=generator, device=inputs.device, dtype=torch.float64)
    weights = torch.from_numpy(betaincinv(alpha, alpha, uniform.cpu().numpy())).to(inputs)
    mixed = inputs.index_select(0, partners).lerp_(inputs, weights.reshape(-1, *(1,) * (inputs.dim() - 1)))
    return Mixed(mixed, partners, weights)
