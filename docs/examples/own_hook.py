"""A hook of your own: how far have the weights travelled, and how straight was their way?

In YAML: `hooks: [{name: ./own_hook.py:TravelHook, every: 1 epoch}]`.
"""

from torch.nn.utils import parameters_to_vector

from optrun.experiments import Every, Hook, train


class TravelHook(Hook):
    """Write rows of the distance from the first weights and of the length of the way there; straight, they are equal.

    What happens between two looks counts as a straight piece.
    """

    def __init__(self, every: Every = Every(steps=20)):
        self.trigger = every  # only the steps that are due call the hook; without a trigger, all do
        self.start = self.last = None
        self.way = 0.0

    def after_create_session(self, session):
        if self.start is None:  # a resumed run has it from `load_state_dict`
            self.start = self.last = parameters_to_vector(session.train_op.model.parameters()).detach().clone()

    def after_run(self, ctx, values):
        now = parameters_to_vector(ctx.train_op.model.parameters()).detach().clone()
        self.way, self.last = self.way + float((now - self.last).norm()), now
        ctx.session.write_row(distance=float((now - self.start).norm()), way=self.way)

    def state_dict(self):
        return {"start": self.start, "last": self.last, "way": self.way}

    def load_state_dict(self, state):
        self.start, self.last, self.way = state["start"], state["last"], state["way"]


if __name__ == "__main__":
    run = train("mom", {"hooks": [{"name": f"{__file__}:TravelHook", "every": "10%"}]})
    print(run.metrics["distance"].values / run.metrics["way"].values)
