"""Two players, one optimizer: a generator and a critic learn in the same step, each from its own part of the loss."""

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import softplus

from optrun.experiments import MonitoredTrainingSession, build_train_op, make_optimizer


class Gan(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1))
        self.critic = nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, real):
        fake = self.generator(torch.randn(len(real), 2, device=real.device))
        frozen = {name: parameter.detach() for name, parameter in self.critic.named_parameters()}
        of_critic = softplus(-self.critic(real)) + softplus(self.critic(fake.detach()))  # does not reach the generator
        of_generator = softplus(-functional_call(self.critic, frozen, (fake,)))  # does not reach the critic
        return of_critic + of_generator


def train(num_passes=6):
    torch.manual_seed(0)
    model, real = Gan(), 3 + torch.randn(6400, 1)
    groups = [{"match": "critic.*", "lr": 0.004, "betas": [0.5, 0.9]}]
    optimizer = make_optimizer(model, "adam", lr=0.001, groups=groups)
    batches = [(batch, batch) for batch in real.split(64)] * num_passes
    train_op = build_train_op(model, lambda outputs, _: outputs.mean(), optimizer, data=batches)
    with MonitoredTrainingSession(train_op) as session:
        while not session.should_stop():
            session.run(train_op)
    return model


if __name__ == "__main__":
    fakes = train().generator(torch.randn(1000, 2))
    print(f"real: mean 3, deviation 1; generated: mean {fakes.mean():.2f}, deviation {fakes.std():.2f}")
