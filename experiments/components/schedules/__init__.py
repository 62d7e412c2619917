"""Learning-rate schedules by name: pure functions `(step, *, …) -> value`, registered in this folder.

A value is a multiple of the optimizer's `lr`, or the rate itself where `Scheduled.absolute` says so. Arguments
annotated `Steps` are lengths (`300 steps`, `2 epochs`, `5%`), resolved to steps of the run before the first call; where
they default to None, `start` becomes the end of the warm-up (or the beginning of the piece of a sequence that the
schedule is in charge of), and `end` the end of the run (or of that piece). A `seed` that is None becomes the run's.

Facts that a schedule may be registered with (`args` are its arguments, defaults included):

    check(args) -> [(argument, message), …]     what is wrong with arguments that are each right by themselves
    changes(args) -> [step, …]                  the steps at which its rule changes; an iterator if they have no end
    spans(args, span) -> {argument: Span, …}    combinators: which part of the run each nested schedule is in charge of
    absolute(args) -> bool                      whether values are rates
    values = "may be negative"                  where they may

A schedule that watches a metric is a class with a method `see`, which is given the run's evaluations; its value is
worked out from these each time. The argument that names the metric is annotated as a `MetricName`.
"""

from ...registry import Registry
from .torch_names import instead_of

registry = Registry("schedule", __name__, given=1)
registry.instead = instead_of
register_schedule = registry.register

from .resolve import Schedule, Scheduled, Span, Steps, make_schedule, watching  # noqa: E402  (it needs the registry)

__all__ = ["Schedule", "Scheduled", "Span", "Steps", "make_schedule", "register_schedule", "registry", "watching"]
