"""Train a model of your own on tensors of your own: a train op, a monitored session, hooks.

A second time it goes on from its last checkpoint: delete runs/own-tensors, or raise `last_step`.
"""

import torch
from torch import nn

from optrun.experiments import (
    Batches,
    Every,
    LearningRateSetterHook,
    LoggingHook,
    MonitoredTrainingSession,
    StopAtStepHook,
    build_train_op,
    make_optimizer,
    make_schedule,
)


def main(last_step: int = 400) -> nn.Module:
    torch.manual_seed(0)
    inputs = torch.randn(512, 4)
    targets = inputs @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]]) + 0.1 * torch.randn(512, 1)

    model = nn.Linear(4, 1)
    optimizer = make_optimizer(model, "mom", lr=0.02)
    schedule = make_schedule("cosine", end=last_step)  # a multiple of lr: 1 at step 0, 0 at the last one
    batches = Batches(inputs, targets, batch_size=32)  # in a new order each epoch
    train_op = build_train_op(model, nn.functional.mse_loss, optimizer, data=batches, clip_norm=5.0)
    hooks = [LearningRateSetterHook(schedule), LoggingHook(Every(steps=50)), StopAtStepHook(last_step=last_step)]
    with MonitoredTrainingSession(checkpoint_dir="runs/own-tensors", hooks=hooks, save_checkpoint_steps=200) as session:
        while not session.should_stop():
            session.run(train_op)
    return model


if __name__ == "__main__":
    print(main().weight)
