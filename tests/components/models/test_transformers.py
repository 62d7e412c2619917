"""The transformers and the LSTM: counts, causality, and the loss before training."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from optrun.experiments.components.models import make_model
from optrun.experiments.components.models.transformer import TransformerBlock
from optrun.experiments.errors import UsageError


def count(name: str, **args: Any) -> int:
    """Count parameters without giving them memory."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in make_model(name, **args).parameters())


def token_model(name: str, **args: Any) -> nn.Module:
    torch.manual_seed(0)
    return make_model(name, **{"input_shape": (12,), "num_outputs": 50, "width": 32, **args})


def test_gpt_has_the_published_numbers_of_parameters() -> None:
    """GPT-2 small, medium and large, as OpenAI released them: 124, 355 and 774 million."""
    shape = {"input_shape": (1024,), "num_outputs": 50257}
    assert count("gpt", **shape, width=768, depth=12, heads=12) == 124_439_808
    assert count("gpt", **shape, width=1024, depth=24, heads=16) == 354_823_168
    assert count("gpt", **shape, width=1280, depth=36, heads=20) == 774_030_080


def test_vit_has_the_published_number_of_parameters() -> None:
    """ViT-B/16 at 224 pixels with 1000 classes has 86.6 million."""
    args = {"input_shape": (3, 224, 224), "num_outputs": 1000, "patch": 16, "width": 768, "depth": 12, "heads": 12}
    assert count("vit", **args) == 86_567_656


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("gpt", {}, 50 * 128 + 12 * 128 + 4 * (12 * 128**2 + 13 * 128) + 256),
        ("gpt", {"tied": False}, 2 * 50 * 128 + 12 * 128 + 4 * (12 * 128**2 + 13 * 128) + 256),
        ("lstm", {"depth": 2}, 50 * 128 + 2 * (8 * 128**2 + 8 * 128) + 50 * 128 + 50),
    ],
)
def test_counts_are_those_of_the_docstrings(name: str, args: dict[str, Any], expected: int) -> None:
    assert count(name, input_shape=(12,), num_outputs=50, **args) == expected


def test_vit_count_is_that_of_the_docstring() -> None:
    expected = 4 * 64 + 64 + (16 + 2) * 64 + 4 * (12 * 64**2 + 13 * 64) + 2 * 64 + 64 * 10 + 10
    assert count("vit", input_shape=(1, 8, 8), num_outputs=10) == expected


@pytest.mark.parametrize("changed", [0, 5, 11])
@pytest.mark.parametrize("name", ["gpt", "lstm"])
def test_a_token_is_seen_at_its_own_place_and_after_it_only(name: str, changed: int) -> None:
    model = token_model(name, depth=2).eval()
    tokens = torch.randint(50, (3, 12), generator=torch.Generator().manual_seed(1))
    other = tokens.clone()
    other[:, changed] = (other[:, changed] + 1) % 50
    with torch.no_grad():
        first, second = model(tokens), model(other)
    torch.testing.assert_close(first[:, :changed], second[:, :changed], rtol=0, atol=1e-6)
    differs = (first - second).abs().amax(dim=(0, 2))[changed:]
    assert (differs > 1e-5).all(), "and at all of these"


@pytest.mark.parametrize("name", ["gpt", "lstm"])
def test_shorter_sequences_get_the_outputs_of_their_beginning(name: str) -> None:
    model = token_model(name).eval()
    tokens = torch.randint(50, (2, 12))
    torch.testing.assert_close(model(tokens)[:, :7], model(tokens[:, :7]), rtol=1e-5, atol=1e-6)


def test_gpt_refuses_longer_sequences() -> None:
    with pytest.raises(ValueError, match="the model has 12 positions, got a sequence of 13 tokens"):
        token_model("gpt")(torch.zeros(1, 13, dtype=torch.int64))


@pytest.mark.parametrize("name", ["gpt", "lstm"])
def test_language_models_start_without_knowledge(name: str) -> None:
    outputs = token_model(name)(torch.randint(50, (20, 12)))
    loss = functional.cross_entropy(outputs.flatten(0, 1), torch.randint(50, (240,)))
    assert loss.item() == pytest.approx(math.log(50), abs=0.1)


def test_vit_starts_without_knowledge() -> None:
    torch.manual_seed(0)
    model = make_model("vit", input_shape=(1, 8, 8), num_outputs=10)
    loss = functional.cross_entropy(model(torch.randn(100, 1, 8, 8)), torch.arange(100) % 10)
    assert loss.item() == pytest.approx(math.log(10), abs=0.1)


@pytest.mark.parametrize("tied", [True, False])
def test_gpt_ties_its_scores_to_the_embedding(tied: bool) -> None:
    model = token_model("gpt", tied=tied)
    assert (model.get_parameter("head.weight") is model.get_parameter("embedding.weight")) is tied


@pytest.mark.parametrize("causal", [True, False])
def test_a_block_is_torchs_own_with_the_same_weights(causal: bool) -> None:
    torch.manual_seed(0)
    ours = TransformerBlock(16, heads=4, causal=causal, dropout=0.0).eval()
    theirs = nn.TransformerEncoderLayer(16, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True)
    theirs.load_state_dict(
        {
            "self_attn.in_proj_weight": ours.attention.query_key_value.weight,
            "self_attn.in_proj_bias": ours.attention.query_key_value.bias,
            "self_attn.out_proj.weight": ours.attention.out.weight,
            "self_attn.out_proj.bias": ours.attention.out.bias,
            **{f"linear1.{name}": value for name, value in ours.up.named_parameters()},
            **{f"linear2.{name}": value for name, value in ours.down.named_parameters()},
            **{f"norm1.{name}": value for name, value in ours.norm1.named_parameters()},
            **{f"norm2.{name}": value for name, value in ours.norm2.named_parameters()},
        }
    )
    x = torch.randn(3, 7, 16)
    mask = nn.Transformer.generate_square_subsequent_mask(7) if causal else None
    torch.testing.assert_close(ours(x), theirs(x, src_mask=mask), rtol=1e-5, atol=1e-5)


def test_gpt_weights_start_as_in_gpt_2() -> None:
    model = token_model("gpt", width=128, depth=8)
    deviations = {name: float(value.detach().std()) for name, value in model.named_parameters() if value.dim() > 1}
    for name, deviation in deviations.items():
        is_added = name.endswith(("out.weight", "down.weight"))
        assert deviation == pytest.approx(0.02 / 4 if is_added else 0.02, rel=0.1), name
    assert all(value.abs().max() == 0 for name, value in model.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("name", ["gpt", "lstm"])
def test_dropout_acts_in_training_only(name: str) -> None:
    model = token_model(name, dropout=0.5)
    tokens = torch.randint(50, (2, 12))
    assert not model(tokens).equal(model(tokens))
    model.eval()
    assert model(tokens).equal(model(tokens))


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("gpt", {"heads": 5}, "heads: expected a divisor of the width 128, got 5"),
        ("gpt", {"input_shape": (1, 8, 8)}, "input_shape: expected sequences of tokens: [length]"),
        ("lstm", {"input_shape": (1, 8, 8)}, "input_shape: expected sequences of tokens: [length]"),
        ("vit", {"heads": 3}, "heads: expected a divisor of the width 64, got 3"),
        ("vit", {"patch": 3}, "patch: expected a divisor of height 8 and width 8, got 3"),
        ("vit", {"input_shape": (64,)}, "input_shape: expected images"),
    ],
)
def test_what_cannot_be_built_is_refused(name: str, args: dict[str, Any], message: str) -> None:
    shape = (1, 8, 8) if name == "vit" else (12,)
    with pytest.raises(UsageError) as caught:
        make_model(name, **{"input_shape": shape, "num_outputs": 10, **args})
    assert message in str(caught.value)
