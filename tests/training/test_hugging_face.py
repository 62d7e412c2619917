"""Models of Hugging Face's `transformers` (extra `hf`), of random weights, against a loop by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from optrun.experiments import MonitoredTrainingSession, build_train_op, make_optimizer, train
from optrun.experiments.components.losses import make_loss
from optrun.experiments.components.metrics import make_metric
from optrun.experiments.components.selected import Selected
from optrun.experiments.config import ConfigError
from optrun.experiments.training.evaluator import Evaluator

transformers = pytest.importorskip("transformers", reason="the extra `hf` is not installed")
HERE = Path(__file__)


def gpt2(num_outputs: int = 256, width: int = 8) -> nn.Module:
    sizes = {"n_embd": width, "n_layer": 1, "n_head": 2, "n_positions": 64, "bos_token_id": 0, "eos_token_id": 0}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=num_outputs, **sizes))


def bert(num_labels: int = 3, dropout: float = 0.1) -> nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    drop = {"hidden_dropout_prob": dropout}
    return transformers.BertForSequenceClassification(
        transformers.BertConfig(vocab_size=30, num_labels=num_labels, **sizes, **drop)
    )


def encodings(num: int = 3, size: int = 7) -> list[Any]:
    """Return batches as a tokenizer and a collator make them; the last tokens of some texts are padding."""
    generator, found = torch.Generator().manual_seed(0), []
    for _ in range(num):
        ids = torch.randint(1, 30, (size, 9), generator=generator)
        mask = torch.ones_like(ids)
        mask[::2, 5:] = 0
        labels = torch.randint(3, (size,), generator=generator)
        found.append(transformers.BatchEncoding({"input_ids": ids, "attention_mask": mask, "labels": labels}))
    return found


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_batch_encoding_trains_as_by_hand(accumulate: int) -> None:
    ours, theirs = bert(), bert()
    op = build_train_op(
        ours, make_loss("output"), make_optimizer(ours, "sgd", lr=0.1), data=encodings(), accumulate=accumulate
    )
    with MonitoredTrainingSession(op) as session:
        while not session.should_stop():
            session.run(op)
    optimizer = make_optimizer(theirs, "sgd", lr=0.1)
    theirs.train(ours.training)
    for number, batch in enumerate(encodings()):
        optimizer.zero_grad()
        op.batch = number
        for micro in range(accumulate):
            op.seed_noise(micro)
            part = {name: tensor.tensor_split(accumulate)[micro] for name, tensor in batch.items()}
            loss = theirs(**part).loss
            (loss * (len(part["labels"]) / 7) if accumulate > 1 else loss).backward()
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


class Part:
    """Encodings, as evaluations read them."""

    device = torch.device("cpu")

    def __len__(self) -> int:
        return 21

    def batches(self, size: int) -> Any:
        for batch in encodings():
            labels = batch["labels"]
            yield {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}, labels


def test_an_evaluation_measures_the_models_loss_and_its_logits() -> None:
    model = bert().eval()
    accuracy = Selected(make_metric("accuracy"), of="logits")
    found = Evaluator("val", model, make_loss("output"), {"accuracy": accuracy}, Part())()  # type: ignore[arg-type]
    with torch.no_grad():
        outputs = [model(**batch) for batch in encodings()]
    labels = torch.cat([batch["labels"] for batch in encodings()])
    logits = torch.cat([each.logits for each in outputs])
    assert found == {
        "val/loss": pytest.approx(sum(each.loss.item() for each in outputs) / 3, rel=1e-6),
        "val/accuracy": pytest.approx((logits.argmax(1) == labels).double().mean().item()),
    }


def language(**parts: Any) -> dict[str, Any]:
    return {
        "data": {"name": "text", "length": 16, "subset": 40, "batch_size": 20, "eval_batch_size": 2000},
        "model": f"{HERE}:gpt2",
        "optimizer": {"name": "adamw", "lr": 0.003},
        "train": {"steps": 2, "threads": 1},
        **parts,
    }


def test_a_language_model_trains_on_its_logits_and_without_the_selector_is_told(tmp_path) -> None:
    of = {"of": "logits"}
    parts = {"loss": {"name": "next_token", **of}, "metrics": [{"name": "bits_per_byte", **of}]}
    run = train(language(**parts), root=tmp_path)
    assert 7 < run.result["final"]["val/bits_per_byte"] < 9  # 8 is no knowledge
    with pytest.raises(ConfigError, match="takes one tensor of floating-point numbers") as caught:
        train(language(loss="next_token"), root=tmp_path)
    assert caught.value.problems[0].key == "model"
    assert "`loss: {name: next_token, of: logits}`" in (caught.value.problems[0].hint or "")
