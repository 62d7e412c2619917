"""One attempt at a run: trained by this process from the latest checkpoint on, and its record and result written."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, cast

from ..components.data import DataFacts
from ..components.hooks.hook import Hook
from ..config import ConfigError
from ..errors import OptrunError
from ..run_directory.checkpoint_files import list_checkpoints
from ..run_directory.final_values import not_finite_text
from ..run_directory.json_shapes import State
from ..run_directory.run import Run
from ..run_directory.run_dir import RunDir
from ..system import forks, switches
from ..system.environment import changes_that_matter
from ..system.raised import message_of
from ..system.trusted_code import trust
from .display import watching
from .divergence import DivergenceHook
from .experiment import Experiment
from .load import FACTS, FITTED
from .log_file import log_file
from .making_ahead import make_ahead
from .record import data_record, init_sha256, make_record
from .session.session import MonitoredTrainingSession
from .step.steps import Steps
from .summary import summarise
from .together import Together

log = logging.getLogger("optrun")

WHY_NOT = "why_not_compiled"  # in env.json: what only showed on the way
ENGINE, BATCHED = "engine", "batched"  # likewise: how the run shared its process; nothing where it had it alone

OnStart = Callable[[Experiment, RunDir | None], Sequence[Hook]]
Attempt = Generator[Steps, bool, Run]  #: Steps for somebody else to take, if there are such; at the end, the run.


def watched(on_start: OnStart | None) -> OnStart:
    """Return what adds the hooks that show progress to those of `on_start`."""

    def start(experiment: Experiment, run_dir: RunDir | None) -> Sequence[Hook]:
        own = list(on_start(experiment, run_dir)) if on_start else []
        name = experiment.config.name if run_dir is None else run_dir.name
        return [*own, *watching().progress_hooks(experiment, name)]

    return start


def attempt(
    experiment: Experiment,
    run_dir: RunDir,
    on_start: OnStart | None,
    profile: bool = False,
    *,
    together: Together | None = None,
) -> Attempt:
    """Train in a run directory that this process holds, from its latest checkpoint if there is one; return the run.

    What a run is made of is written before its first step; once there is a checkpoint, not before that is restored.

    Args:
        experiment: that is trained.
        run_dir: held.
        on_start: see `train`.
        profile: see `train`.
        together: measures a run that begins here together with others, with which its steps are taken, too: these are
            yielded. One that has begun so goes on so, even alone; None for a run by itself.
    """
    with log_file(run_dir):
        session = experiment.session(run_dir.path, profile=profile)
        evidence = DivergenceHook(run_dir.diverged_path, experiment.config.seed)
        saved = list_checkpoints(run_dir.checkpoints_path)
        environment = _environment(experiment, run_dir, together)
        if is_recorded := not saved:
            _record(experiment, run_dir, environment)
        run_dir.set_status("running")
        try:
            with experiment.located():
                session.add_hooks([*(on_start(experiment, run_dir) if on_start else ()), evidence])
                session.is_timed = not (in_batch := ENGINE in environment)
                if not in_batch:
                    make_ahead(experiment, session.hooks)
                with session:
                    if saved:
                        _record(experiment, run_dir, environment)
                        is_recorded = True
                    if in_batch:
                        own = Together(environment["compiled"]) if together is None else together
                        own.join(experiment)
                        blocks = session.blocks(experiment.train_op)
                        if together is None:
                            own.take_all(blocks)
                        else:
                            yield from blocks
                    while not session.should_stop():
                        session.run_block(experiment.train_op)
        except BaseException as error:
            if forks.is_fork():  # the run goes on elsewhere
                raise
            session.error = error
            with _noting_a_second(error):
                if is_recorded:
                    _conclude(experiment, session, run_dir, evidence.facts)
                else:  # it has no new result
                    run_dir.set_status(_outcome(session), step=saved[-1].step, message=_message(session))
            raise
        _conclude(experiment, session, run_dir, evidence.facts)
    return Run(run_dir.path)


def finished(attempting: Attempt) -> Run:
    """Return the run of an attempt that takes its steps by itself."""
    try:
        next(attempting)
    except StopIteration as end:
        return end.value
    raise AssertionError("it yields no steps")


def _environment(experiment: Experiment, run_dir: RunDir, together: Together | None) -> dict[str, Any]:
    """Return the circumstances of the run, and say what may keep a resumed one from being bit-exact."""
    before = run_dir.read_json("env.json")
    kept = {} if before is None else {name: before[name] for name in (ENGINE, "compiled") if name in before}
    if before is None and together is not None:
        kept = {ENGINE: BATCHED, "compiled": together.is_compiled}
    in_batch = kept.get(ENGINE) == BATCHED
    if in_batch:
        experiment.train_op.compiled.stop("steps are taken in a batch of runs")
    elif before and "compiled" in before:
        experiment.train_op.compiled.go_on(before["compiled"], before.get(WHY_NOT))
    environment = experiment.environment() | (kept if in_batch else {})
    if before and (changes := changes_that_matter(before, environment)):
        experiment.notes.append(f"not bit-exact with what ran before: {', '.join(changes)}")
    if left := switches.left_by_imports(experiment.config.reached.files):
        said = switches.words(left)
        experiment.notes.append(f"{said}, since code was imported that is not this run's: start a new process without")
    for note in experiment.notes:
        log.warning(note)
    if turned := environment["switches"]:
        log.info("made with %s", ", ".join(f"{name} {value}" for name, value in turned.items()))
    return environment


def _record(experiment: Experiment, run_dir: RunDir, environment: Mapping[str, Any]) -> None:
    """Write what the run is made of."""
    before = run_dir.read_json("env.json")
    config = experiment.config
    run_dir.write_config(config.to_yaml())
    run_dir.write_json("origins.json", {key: origin.place for key, origin in config.origins.items()})
    record = make_record(config, run_dir)
    trust(record["code"].values())
    kept = before if before and list_checkpoints(run_dir.checkpoints_path) else {}
    init = kept["init"] if "init" in kept else init_sha256(config)  # what a resumed run began with may be gone by now
    batches = {"size": experiment.batches.batch_size, "steps_per_epoch": experiment.batches.steps_per_epoch}
    made_with = {**environment, **record, **data_record(config, experiment.data), "init": init, "batches": batches}
    run_dir.write_json("env.json", made_with)
    run_dir.write_json(FACTS, DataFacts.of(experiment.data).as_dict())
    if experiment.splits.fitted:
        run_dir.write_json(FITTED, experiment.splits.fitted.as_dict())


def _conclude(
    experiment: Experiment, session: MonitoredTrainingSession, run_dir: RunDir, diverged: dict[str, Any] | None
) -> None:
    """Write the result, whatever it is, and what the user's code imported late."""
    _complete_record(experiment, run_dir, session.process.changed if session.process else {})
    outcome, message = _outcome(session), _message(session)
    summary = summarise(experiment, session, outcome, message)
    if text := not_finite_text(summary):
        log.warning("%s is %s with final values that are not finite: %s", run_dir.name, outcome, text)
    run_dir.write_json("summary.json", {**summary, "diverged": diverged})
    kept = {"batch_file": diverged["batch_file"]} if diverged else {}
    run_dir.set_status(outcome, step=session.step, message=message, **kept)


def _outcome(session: MonitoredTrainingSession) -> State:
    return cast(State, session.outcome or "failed")


def _message(session: MonitoredTrainingSession) -> str:
    error = session.error
    return error.headline if isinstance(error, ConfigError) else session.reason if error is None else message_of(error)


def _complete_record(experiment: Experiment, run_dir: RunDir, turned: switches.Changes) -> None:
    """Add to the record what was imported since the run began, as it was executed, which switches were turned, and why
    steps were not compiled after all.
    """
    config, before = experiment.config, run_dir.read_json("env.json") or {}
    why_not = experiment.train_op.compiled.found
    late = make_record(config, run_dir, at_end=True) if config.roots() else {}
    if late and late["code"] != before.get("code"):
        trust(late["code"].values())
    else:
        late = {}
    if why_not is not None and before.get(WHY_NOT) != why_not:
        late = {**late, "compiled": False, WHY_NOT: why_not}
    if late or turned:
        run_dir.write_json("env.json", {**before, **late, **({"turned": turned} if turned else {})})


@contextlib.contextmanager
def _noting_a_second(error: BaseException) -> Iterator[None]:
    """Keep an error that comes while the result is written from hiding the one that ended the run."""
    try:
        yield
    except OptrunError as second:
        error.add_note(f"and its result could not be written: {message_of(second)}")
