"""Plans: what a run would do, from the objects that would do it."""

from .run_plan import Plan, plan

__all__ = ["Plan", "plan"]
