"""The recipe in Python: a train op in a monitored session, stopped and gone on with."""

import random

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from optrun.experiments import (
    Batches,
    Every,
    LearningRateSetterHook,
    LoggingHook,
    MonitoredTrainingSession,
    StopAtStepHook,
    build_train_op,
    make_data,
    make_model,
    make_optimizer,
    make_schedule,
)

random.seed(0)
np.random.seed(0)
torch.manual_seed(0)
digits = make_data("digits", scaling="unit")
model = make_model("convnet", input_shape=digits.input_shape, num_outputs=10, channels=(3,))
optimizer = make_optimizer(model, "mom", flavor="tf1", lr=0.1, momentum=0.9)
schedule = make_schedule("piecewise", boundaries=(3, 6), factors=(1, 0.1, 0.01))
train_op = build_train_op(
    model,
    cross_entropy,
    optimizer,
    data=Batches(digits.inputs, digits.targets, batch_size=32),
    updates=["tf_batch_norm"],
    l2={"rate": 0.0002, "include": ["conv", "linear"], "exclude": ["bias"]},
)
for last in (4, 9):
    with MonitoredTrainingSession(
        checkpoint_dir="runs/recipe",
        hooks=[LoggingHook(Every(steps=2)), LearningRateSetterHook(schedule), StopAtStepHook(last_step=last)],
        save_checkpoint_secs=600,
    ) as session:
        while not session.should_stop():
            session.run(train_op)
    print(session.step)
