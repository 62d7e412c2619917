"""A model of Hugging Face's: batches are dicts, the model computes its loss. Needs `pip install 'optrun[hf]'`."""

import torch
from transformers import BertConfig, BertForSequenceClassification

from optrun.experiments import MonitoredTrainingSession, build_train_op, make_loss, make_optimizer

sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
model = BertForSequenceClassification(BertConfig(vocab_size=50, num_labels=2, **sizes))  # of random weights

texts = torch.randint(1, 50, (64, 12), generator=torch.Generator().manual_seed(0))
batches = [
    {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": (ids.sum(1) % 2).long()}
    for ids in texts.split(8)
]
train_op = build_train_op(model, make_loss("output"), make_optimizer(model, "adamw", lr=1e-3), data=batches)
with MonitoredTrainingSession(train_op) as session:
    while not session.should_stop():
        session.run(train_op)
print(f"{train_op.examples} examples, loss {train_op.last_loss:.3f}")
