"""A comparison on the command line: the plan before it, the board during it, the answer and the gates after it."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...experiments.errors import ExitCode, Interrupted, NotVerifiedError, UsageError
from ...experiments.system.places import shown
from ..terminal import github
from ..terminal.console import Output, filled, result, result_json, same_command, say, say_warning
from ..terminal.logs import show_log
from ..terminal.screen import is_live, paint
from ..terminal.streams import results
from .board import Board, LineProgress, Progress

if TYPE_CHECKING:
    from ...experiments.comparison.asked_again import Asked
    from ...experiments.comparison.result import Comparison
    from ...experiments.report.decisions import Decision
    from ...experiments.report.group import Group
    from ...experiments.report.report import Report
    from ...experiments.run_directory.comparison_file import Record

STDOUT = "-"


class CompareWatch:
    """Speaks for one command that compares or sweeps.

    Args:
        command: its name, which is also its JSON schema's.
        output: when quiet, no plan and no progress; of the result the sentence alone.
        gates: conditions, as they were written.
        exports: files to write; `-` is Markdown on stdout.
        train: of a sweep, the command that trains once: `["optrun", "train", "mom"]`.
    """

    def __init__(
        self,
        command: str,
        output: Output,
        gates: Sequence[str] = (),
        exports: Sequence[str] = (),
        train: Sequence[str] = (),
    ):
        from ...experiments.report.conditions import check_form
        from ...experiments.report.export import check_suffix

        show_log(output.verbose)
        if output.as_json and STDOUT in exports:
            raise UsageError("--json and --export - both want stdout: write one of them to a file")
        for file in exports:
            if file != STDOUT:
                check_suffix(file)
        for gate in gates:
            check_form(gate)
        self.command, self.quiet, self.as_json = command, output.quiet, output.as_json
        self._exports, self._wanted, self._gates, self._train = exports, list(gates), [], train
        self._plan: Mapping[str, Any] = {}
        self._progress = Progress() if output.quiet else Board() if is_live() else LineProgress()

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Take in what a comparison tells: the plan is said, the rest drawn."""
        if event["kind"] == "question":
            self._read_gates(event)
        if event["kind"] == "plan":
            self._start(event["plan"])
        self._progress.handle(event)

    def follow(self, work: Callable[[], Comparison], asked: Asked | None = None) -> int:
        """Do the work, which returns a comparison; say what came of it, and return the exit code.

        Args:
            work: the whole of it.
            asked: the question, whose answer may be known without the work.
        """
        try:
            comparison = work() if asked is None else asked.answer(work, self.on_event)
        except NotVerifiedError as error:
            from ...experiments.report.group import Group

            self._progress.close()
            if error.path is not None:
                self._conclude(Group(error.path))
            raise
        except Interrupted as stop:
            self._progress.close()
            self._interrupted(stop)
            return stop.exit_code
        finally:
            self._progress.close()
        code = self._conclude(comparison.group)
        if asked is not None:
            asked.keep()
        return code

    def _read_gates(self, question: Mapping[str, Any]) -> None:
        from ...experiments.report.conditions import Spellings, parse_conditions

        in_file = question["protocol"].get("gates") or []
        self._wanted += [in_file] if isinstance(in_file, str) else in_file
        known = Spellings((entry["name"], entry.get("label", "")) for entry in question["entries"])
        self._gates = parse_conditions(self._wanted, known, question["metrics"], question["protocol"].get("baseline"))

    def _start(self, plan: dict[str, Any]) -> None:
        from ..texts.comparison_text import plan_lines

        self._plan = plan
        if not self.quiet:
            for line in plan_lines(plan):
                say(line)
        if len(plan["protocol"]["seeds"]) == 1:
            say_warning("one seed shows no spread, and can show no difference")

    def _interrupted(self, stop: Interrupted) -> None:
        done, total = self._progress.done, self._progress.total
        say(f"stopped by {signal.Signals(stop.signum).name} after {done} of {total} runs; what is done is kept")
        if self.as_json:
            name = self._plan.get("name")
            result_json(f"optrun/{self.command}@1", name=name, outcome="interrupted", runs=total, finished=done)
        say(f"continue: {same_command()}")

    def _conclude(self, group: Group) -> int:
        from ...experiments.report.report import Report

        report = Report(group)
        without = group.without_result()
        gates = self._decide(report)
        page = self._write(report)
        self._show(report, gates, without, page)
        if without:
            return ExitCode.PART_FAILED
        return ExitCode.NO if any(gate.holds is not True for gate in gates) else ExitCode.DONE

    def _decide(self, report: Report) -> list[Decision]:
        from ...experiments.report.decisions import Decision, decide_all

        if not self._plan and self._wanted:  # then none of them was read
            raise UsageError(f"{len(self._wanted)} gates cannot be decided: the comparison told no plan")
        if not self._gates:
            return []
        results = report.named.results
        if results is None:
            decided = [Decision(gate, None, "no entry has a result") for gate in self._gates]
        else:
            decided = decide_all(self._gates, results)
        for gate in decided:
            if gate.holds is not True:
                github.annotate((), f"gate {gate}")
        return decided

    def _write(self, report: Report) -> Path:
        """Write the page and the files that were asked for, and return the page."""
        from ...experiments.report.export import export, markdown

        page = export(report, report.group.path / "report.html")
        for file in self._exports:
            if file == STDOUT:
                result(markdown(report).rstrip())
            else:
                export(report, file)
        github.add_markdown(markdown(report))
        return page

    def _show(self, report: Report, gates: list[Decision], without: list[Record], page: Path) -> None:
        from ...experiments.report.words.protocol import verified_sentence
        from ...experiments.report.words.states import count_states
        from ..texts.comparison_text import result_lines, sentence_lines

        group = report.group
        takes_stdout = self.as_json or STDOUT in self._exports
        if self.as_json:
            result_json(f"optrun/{self.command}@1", **_document(report, gates, without, page))
        elif not takes_stdout:
            result(sentence_lines(report) if self.quiet else result_lines(report))
        for gate in gates:
            for line in _gate_lines(gate):
                (say if takes_stdout else result)(line)
        if not self.quiet and (verified := verified_sentence(group)):
            for line in filled(verified):
                (say if takes_stdout else result)(line)
        has_failed = any(record.state == "failed" for record in without)
        if without:
            what = "failed" if all(record.state == "failed" for record in without) else "have no result"
            counts = count_states([group.result_state(record) for record in group.records])
            say(f"{len(without)} of {len(group.records)} runs {what} ({counts}); the rest is saved")
        if not self.quiet:
            for file in [shown(page), *(file for file in self._exports if file != STDOUT)]:
                say(f"wrote {file}")
            say(f"next: {self._next_command(group, has_failed)}")

    def _next_command(self, group: Group, has_failed: bool) -> str:
        from ...experiments.report.trials import chosen_settings
        from ..texts.comparison_text import group_reference

        if has_failed:
            return same_command()
        if group.kind == "sweep" and (chosen := chosen_settings(group.entries[0])):
            return shlex.join([*self._train, *(f"{key}={value}" for key, value in chosen.items())])
        return f"optrun report {group_reference(group.path)} --open"


def asked_by(
    command: str, output: Output, options: Mapping[str, Any], *, train: bool = True, **given: Any
) -> Asked | None:
    """Return the question of a command, whose answer may be known; None where the way to it is to be seen (`-v`).

    Args:
        command: its name.
        output: its options on what it prints.
        options: those that decide the answer, and `fresh`.
        train: False for a command that makes no runs.
        given: targets and settings.
    """
    from ...experiments.comparison.asked_again import Asked

    if output.verbose:
        return None
    decisive = {key: value for key, value in options.items() if key != "fresh"}
    return Asked.by_a_command(command, {**given, **decisive}, train=train, fresh=options["fresh"])


def _gate_lines(gate: Decision) -> list[str]:
    """Return what became of a gate, wrapped, the verdict in its colour."""
    lines = filled(f"gate {gate}", indent=2, break_long_words=True)
    word, color = {True: ("holds", "green"), False: ("does not hold", "red"), None: ("undecided", "yellow")}[gate.holds]
    return [line.replace(f": {word}.", f": {paint(results(), word, fg=color)}.", 1) for line in lines]


def _document(report: Report, gates: list[Decision], without: list[Record], page: Path) -> dict[str, Any]:
    from ...experiments.report.export import as_dict

    group = report.group
    listed = [(record.state, {"run": record.path, "entry": record.entry}, record.message) for record in without]
    return {
        **{key: value for key, value in as_dict(report).items() if key != "schema"},
        "path": shown(group.path),
        "report": shown(page),
        "failed": [{**run, "message": message} for state, run, message in listed if state in ("failed", "changed")],
        "unmeasured": [run for state, run, _ in listed if state not in ("failed", "changed")],
        "gates": [{"gate": gate.condition.text, "holds": gate.holds, "message": gate.message} for gate in gates],
    }
