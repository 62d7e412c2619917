"""Components of a user's own that fail where and how they are told to."""

from __future__ import annotations

import torch

from optrun.experiments import Hook
from optrun.experiments.components.data import Dataset
from optrun.experiments.components.hooks.hook import RunArgs
from optrun.experiments.components.updates import Update


class OwnError(Exception):
    """Of no built-in kind, with arguments that are not its text."""

    def __init__(self, code, why):
        super().__init__(code, why)


class Unspeakable(Exception):
    """Its text fails."""

    def __str__(self):
        raise RuntimeError("no text")


ERRORS = {
    "ValueError": lambda: ValueError("wrong"),
    "KeyError": lambda: KeyError("wrong"),
    "AttributeError": lambda: AttributeError("wrong"),
    "ZeroDivisionError": lambda: ZeroDivisionError("wrong"),
    "AssertionError": lambda: AssertionError(),
    "NotImplementedError": lambda: NotImplementedError(),
    "FileNotFoundError": lambda: FileNotFoundError(2, "wrong", "nowhere.txt"),
    "PermissionError": lambda: PermissionError(13, "wrong", "nowhere.txt"),
    "StopIteration": lambda: StopIteration("wrong"),
    "RecursionError": lambda: RecursionError("wrong"),
    "MemoryError": lambda: MemoryError("wrong"),
    "ImportError": lambda: ImportError("wrong"),
    "OutOfMemoryError": lambda: torch.OutOfMemoryError("wrong"),
    "UnicodeDecodeError": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "wrong"),
    "OwnError": lambda: OwnError(3, "wrong"),
    "Unspeakable": lambda: Unspeakable(),
}


def fail(how):
    raise ERRORS[how]()


class Faulty:
    """Counts the calls of a place, and fails in one of them."""

    count = 0

    def at(self, place):
        if place == self.where.partition("@")[0]:
            self.count += 1
            if self.count > int(self.where.partition("@")[2] or 0):
                fail(self.how)


class Net(Faulty, torch.nn.Module):
    def __init__(self, input_shape, num_outputs, where: str = "", how: str = ""):
        torch.nn.Module.__init__(self)
        self.where, self.how = where, how
        self.line = torch.nn.Linear(input_shape[0], num_outputs)
        self.at("init")

    def forward(self, inputs):
        self.at("forward")
        self.at("train" if self.training else "eval")
        return self.line(inputs)

    def state_dict(self, *args, **kwargs):
        self.at("state_dict")
        return super().state_dict(*args, **kwargs)

    def named_parameters(self, *args, **kwargs):
        self.at("named_parameters")
        return super().named_parameters(*args, **kwargs)


class Loss(Faulty):
    def __init__(self, where: str = "", how: str = ""):
        self.where, self.how = where, how
        self.at("init")

    def __call__(self, outputs, targets):
        self.at("call")
        return torch.nn.functional.cross_entropy(outputs, targets)


class Metric(Faulty):
    def __init__(self, where: str = "", how: str = ""):
        self.where, self.how = where, how
        self.at("init")

    def __call__(self, outputs, targets):
        self.at("call")
        return (outputs.argmax(1) == targets).float()

    def finish(self, means):
        self.at("finish")
        return means


def data(where: str = "", how: str = ""):
    faulty = Faulty()
    faulty.where, faulty.how = where, how
    faulty.at("make")
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 4, generator=generator)
    return Dataset(inputs, (inputs[:, 0] > 0).long(), "classes", 2)


class Augmentation(Faulty):
    def __init__(self, where: str = "", how: str = ""):
        self.where, self.how = where, how
        self.at("init")

    def __call__(self, inputs, generator):
        self.at("call")
        return inputs


class Schedule(Faulty):
    def __init__(self, where: str = "", how: str = ""):
        self.where, self.how = where, how
        self.at("init")

    def __call__(self, step):
        self.at("call")
        return 1.0


class Sgd(Faulty, torch.optim.SGD):
    def __init__(self, params, lr: float = 0.1, where: str = "", how: str = ""):
        self.where, self.how = where, how
        self.at("init")
        super().__init__(params, lr=lr)

    def step(self, closure=None):
        self.at("step")
        return super().step(closure)

    def state_dict(self):
        self.at("state_dict")
        return super().state_dict()


class OwnUpdate(Faulty, Update):
    def __init__(self, model, where: str = "", how: str = ""):
        self.where, self.how = where, how
        self.at("init")

    def apply(self):
        self.at("apply")

    def discard(self):
        self.at("discard")

    def state_dict(self):
        self.at("state_dict")
        return {}


def weights(model, where: str = "", how: str = ""):
    faulty = Faulty()
    faulty.where, faulty.how = where, how
    faulty.at("call")


def _event(name):
    def call(self, *args):
        self.at(name)
        return RunArgs(("loss",)) if name == "before_run" else {} if name == "state_dict" else None

    return call


EVENTS = (
    "begin",
    "after_create_session",
    "before_run",
    "after_gradients",
    "after_run",
    "after_row",
    "after_evaluation",
)
EVENTS += ("before_save", "after_save", "end", "state_dict")


class OwnHook(Faulty, Hook):
    def __init__(self, where: str = "", how: str = ""):
        self.where, self.how = where, how
        self.at("init")


for event in EVENTS:
    setattr(OwnHook, event, _event(event))


def feed(step):
    return {"lr": 0.1} if step < 2 else fail("KeyError")
