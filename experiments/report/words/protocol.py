"""The protocol of a comparison in plain words."""

from __future__ import annotations

from typing import Any

from ...run_directory.comparison_file import NO_RESULT
from ...run_directory.looks import seeds_of
from .. import style
from ..group import Group
from ..results import Results
from ..trials import chosen_settings, keys_of, label_of, num_known, settings_of, trial_states, trials_of
from .states import count_states

_NOT_PAIRED = (
    "The entries have different problems, as was asked for: data, split or metric differ, so runs of one seed are no "
    "pairs. Nothing was tested; means and intervals describe each entry alone."
)


def protocol_sentences(group: Group, results: Results | None = None) -> list[str]:
    """Return the protocol as sentences: what was compared, tuned, run, tested, counted, and withheld."""
    lines = [_entries(group), _sweep(group) if group.kind == "sweep" else _tuning(group)]
    if group.kind == "compare":
        lines += [_seeds(group), _endpoint(group)]
        lines += _judging(group, results)
        lines += [_target(group), _withheld(group, results), _costs(group), _looks(group)]
    lines += [verified_sentence(group), _time(group)]
    return [line for line in lines if line]


def pairing_sentences(pairing: dict[str, Any], paired: bool = True) -> str:
    """Return what was shown to be the same for all entries, and whether settings differ between them."""
    same = style.listing([str(item) for item in pairing.get("same") or []])
    said = "The pairing was not checked: nothing proves that entries saw the same data from the same start."
    if not paired:
        said = "The entries have different problems: their runs are no pairs."
    elif pairing.get("checked"):
        seeds = style.many(len(pairing.get("seeds") or {}), "seed")
        said = f"For each of {seeds} all entries were shown to have the same {same}."
        if not same:
            said = (
                "The entries differ in data or batches, so that nothing about their runs has to be the same but the "
                "seed: how they are paired was not shown."
            )
    if pairing.get("differences"):
        return f"{said} Between the entries only these settings differ:"
    return f"{said} No setting differs between the entries."


def _entries(group: Group) -> str:
    items = []
    for entry in group.entries:
        swept = keys_of(entry) if group.kind == "sweep" else []  # given by the range alone
        given = {key: value for key, value in (entry.get("overrides") or {}).items() if key not in swept}
        overrides = ", ".join(f"{key}={_plain(value)}" for key, value in given.items())
        items.append(f"{entry['name']} ({entry.get('target', '')}{f', {overrides}' if overrides else ''})")
    problem = f" on {group.problem}" if group.problem else ""
    return f"{'Compared' if group.kind == 'compare' else 'Swept'}{problem}: {style.listing(items)}."


def _sweep(group: Group) -> str:
    """Say what was tried in a sweep, which has no centre, no budget to share, and a grid only of a range."""
    protocol = group.protocol
    lines = []
    for entry in group.entries:
        tuning = entry.get("tuning") or {}
        if not tuning.get("trials"):
            continue
        values = list(dict.fromkeys(settings_of(entry, t)[keys_of(entry)[0]] for t in tuning["trials"]))
        spec = "" if isinstance(protocol.get("spec"), list) else str(protocol.get("spec") or "").partition("=")[2]
        kind, colon, ends = spec.partition(":")
        low, _, high = ends.partition(":")
        drawn = "drawn at random" if protocol.get("method") == "random" else "in even steps"
        scale = {"log": " on a log scale", "int": ", whole numbers"}.get(kind, "")
        how = f", {drawn}{scale} from {low} to {high}" if colon else f": {style.listing([_plain(v) for v in values])}"
        seeds = [str(seed) for seed in protocol.get("tune_seeds") or []]
        each = f"each run with the {style.many(len(seeds), 'seed')} {style.listing(seeds)}"
        chosen = chosen_settings(entry)
        of_it = label_of(chosen) if len(chosen) > 1 else _plain(tuning.get("chosen"))
        best = f"the best mean {protocol.get('select')} was that of {of_it}"
        if tuning.get("chosen") is None:
            best = f"none of them has a mean {protocol.get('select')}"
        edge = "" if tuning.get("bracketed") or tuning.get("chosen") is None else ", at the edge of what was tried"
        tried = f"{style.many(len(values), 'value')} of {keys_of(entry)[0]}{how}"
        if len(keys_of(entry)) > 1:
            tried = _combinations(entry)
        what = f"{tried}; {each}; {best}{edge}."
        lines.append(what if len(group.entries) == 1 else f"{entry['name']}: {what}")
    return " ".join(lines)


def _combinations(entry: dict[str, Any]) -> str:
    """Write `4 settings, all combinations of optimizer.lr 0.1 and 0.3 with optimizer.momentum 0.8 and 0.9`."""
    settings = [settings_of(entry, trial) for trial in trials_of(entry)]
    listed = [
        f"{key} {style.listing([_plain(value) for value in dict.fromkeys(each[key] for each in settings)])}"
        for key in keys_of(entry)
    ]
    return f"{style.many(len(settings), 'setting')}, all combinations of {' with '.join(listed)}"


def _tuning(group: Group) -> str:
    protocol = group.protocol
    if not protocol.get("tuned") and not any(entry.get("tuning") for entry in group.entries):
        return "Nothing was tuned: each entry ran with its settings as given. That ranks settings, not optimizers."
    tuned = [entry for entry in group.entries if entry.get("tuning")]
    seeds = protocol.get("tune_seeds") or []
    select = protocol.get("select")
    key = tuned[0]["tuning"].get("key", "optimizer.lr") if tuned else "optimizer.lr"
    method = {
        "grid": f"on a grid with a factor of {style.number(protocol.get('factor'), 3)}",
        "random": "drawn at random",
    }
    how = method.get(str(protocol.get("method")), str(protocol.get("method")))
    trials = protocol.get("tune_trials")
    equal = (
        "every entry got" if len(tuned) == len(group.entries) else f"{style.listing([e['name'] for e in tuned])} got"
    )
    first = (
        f"Tuned with equal budget: {equal} {style.many(trials or 0, 'value')} of {key} {how}, each run with the "
        f"{style.many(len(seeds), 'seed')} {style.listing([str(s) for s in seeds])}; "
        f"the value with the best mean {select} was kept."
    )
    lines = [first]
    for entry in tuned:
        tuning = entry["tuning"]
        more = tuning.get("extended") or 0
        centre = f"centre {style.number(tuning.get('centre'))}"
        source = f" from {tuning['centre_source']}" if tuning.get("centre_source") else ""
        extra = f", {style.many(more, 'trial')} added at an edge" if more else ""
        states = trial_states(entry)
        spent = f"{style.many(tuning.get('spent') or 0, 'run')} spent"
        if lost := [state for state in states if state in NO_RESULT]:
            spent += f" ({count_states(lost)}: tuned on {num_known(states)} of {style.many(len(states), 'trial')})"
        lines.append(f"{entry['name']}: {centre}{source}{extra}, {spent}, {_kept(tuning)}.")
    return " ".join(lines)


def _kept(tuning: dict[str, Any]) -> str:
    if tuning.get("chosen") is None:
        return "none kept, since none has a score for each seed"
    edge = "" if tuning.get("bracketed") else ", not bracketed: it lies at the edge of what was tried"
    return f"{style.number(tuning['chosen'])} kept{edge}"


def _judging(group: Group, results: Results | None) -> list[str]:
    """Return the tests that were made, or why none was."""
    if not group.paired:
        return [_NOT_PAIRED]
    if results is None:
        return ["Nothing was tested: no entry has a result."]
    if not results.tested:
        return [f"Nothing was tested: {results.untested}."]
    return [_tests(group), _ranks(group)]


def _seeds(group: Group) -> str:
    seeds, tune = group.protocol.get("seeds") or [], group.protocol.get("tune_seeds") or []
    fresh = " None of them was used for tuning." if group.tuned and not set(seeds) & set(tune) else ""
    overlap = set(seeds) & set(tune) if group.tuned else set()
    if overlap:
        fresh = f" Seeds {style.listing([str(s) for s in sorted(overlap)])} were used for tuning too."
    by_seed = "; differences are taken seed by seed" if group.paired else ""
    return f"Evaluated on {style.many(len(seeds), 'seed')} ({_ranges(seeds)}){by_seed}.{fresh}"


def _endpoint(group: Group) -> str:
    protocol = group.protocol
    source = f" ({protocol['margin_source']})" if protocol.get("margin_source") else ""
    read = "" if protocol.get("select") in (None, group.metric) else f" Choices were made on {protocol['select']} only."
    return (
        f"One primary endpoint, fixed before the runs: {group.metric} after the last step, {group.endpoint.better}. "
        f"Differences up to {style.number(group.endpoint.margin or 0.0)}{source} do not matter.{read}"
    )


def _tests(group: Group) -> str:
    baseline = group.protocol.get("baseline")
    pairs = f"each entry was compared with {baseline}" if baseline else "all pairs were compared"
    level = style.number(100 * (1 - group.alpha))
    return (
        f"By paired t tests {pairs}. The p-values of the endpoint and of the times to target are corrected together by "
        "Holm's procedure, so that any false difference among them has a probability of at most "
        f"{style.number(group.alpha)}; those of the second opinion, exact sign flips, are corrected among themselves. "
        f"Each interval is a {level} % interval on its own. A difference counts as better only if it is shown and "
        "larger than the margin, as equivalent only if two one-sided tests place it inside the margin. P(better) is "
        "the share of seeds won, ties as one half."
    )


def _ranks(group: Group) -> str:
    letters = (
        "" if group.protocol.get("baseline") else " Of entries that share a tie letter, none was shown to be better."
    )
    return f"A rank interval holds the places that an entry can still have after what was shown.{letters}"


def _target(group: Group) -> str:
    target = group.target
    if not target:
        return ""
    every = next((_eval_every(entry) for entry in group.entries if _eval_every(entry)), "")
    grid = f", looked at every {every}" if every else ""
    return (
        f"Time to target: the first evaluation at which {target['metric']} was at or past "
        f"{style.number(target['value'])}{grid}. Runs that missed it count as longer than their budget (Kaplan-Meier "
        "median; where half of them missed, the mean restricted to the budget). A ratio of times is given only "
        "where no run missed."
    )


def _withheld(group: Group, results: Results | None) -> str:
    diverged = {name: sum(r.state == "diverged" for r in group.of(name, "evaluate")) for name in group.names}
    lost = [f"{name} {count} of {len(group.finished(name))}" for name, count in diverged.items() if count]
    parts = []
    if lost:
        parts.append(
            f"Runs that diverged ({', '.join(lost)}) stay in the count and rank worst. A mean with them has no "
            "meaning: it and its interval are withheld, and the exact sign test decides: a run that diverged loses."
        )
    else:
        parts.append("No evaluation run diverged.")
    if results is not None:
        reasons = [f"{a} and {b}: {ratio.withheld}" for (a, b), ratio in results.ratios.items() if ratio.withheld]
        if len(reasons) > style.FEW:
            reasons[style.FEW :] = [f"and {len(reasons) - style.FEW} more pairs"]
        if reasons:
            parts.append(f"Ratios of times were withheld where runs missed the target ({'; '.join(reasons)}).")
    states = [group.result_state(record) for record in group.records]
    lost = {state: states.count(state) for state in NO_RESULT}
    if lost["failed"]:
        parts.append(f"{style.many(lost['failed'], 'run')} failed and take no part; the table of runs names them.")
    if lost["changed"]:
        runs = style.many(lost["changed"], "run")
        verb, they = ("was", "takes") if lost["changed"] == 1 else ("were", "take")
        parts.append(f"{runs} {verb} changed since the comparison was made, and {they} no part.")
    if lost["unmeasured"]:
        runs = style.many(lost["unmeasured"], "run")
        parts.append(f"{runs} ended without a finite value of the metric by which they are judged, and take no part.")
    if lost["unfinished"]:
        parts.append(f"{style.many(lost['unfinished'], 'run')} did not come to an end and take no part.")
    return " ".join(parts)


def _costs(group: Group) -> str:
    parallel = (group.protocol.get("jobs") or 1) > 1
    why = " because runs shared the machine" if parallel else ""
    return (
        "Budgets are counted in gradient evaluations and examples. CPU seconds stand beside them; nothing is ranked by "
        f"clock time{why}."
    )


def _looks(group: Group) -> str:
    looks = group.looks
    if len(looks) <= 1:
        return "The result was computed once, after all planned seeds." if looks else ""
    sets = [sorted(seeds_of(look)) for look in looks]
    from_zero = all(seeds == list(range(len(seeds))) for seeds in sets)
    seeds = style.listing([str(len(seeds)) if from_zero else f"seeds {_ranges(seeds)}" for seeds in sets])
    return (
        f"The result was looked at {len(looks)} times, with {seeds}{' seeds' if from_zero else ''}"
        f"{'; what came after the first look is exploratory' if group.exploratory else ''}."
    )


def verified_sentence(group: Group) -> str:
    """Return what came of runs of a batch that were made again by themselves; empty where none was."""
    record = group.data.get("verified")
    if not record or not record["runs"]:
        return ""
    runs, metric = record["runs"], record["metric"]
    verb, itself = ("was", "itself") if len(runs) == 1 else ("were", "themselves")
    tolerance = record["tolerance"]
    chaotic = [run for run in runs if (run["apart"]["by_itself"] or 0.0) > tolerance]
    calm = [max(run["apart"]["early"], run["apart"]["share"]) for run in runs if run not in chaotic]
    differ = []
    if calm:
        differ.append(f"weights differ by at most {style.number(max(calm), 2)} of the way they have gone")
    if chaotic:
        verb_of_all = "differs" if len(chaotic) == 1 else "differ"
        differ.append(f"{len(chaotic):,} {verb_of_all} by more, as alone where the start is a millionth beside it")
    said = (
        f"{len(runs):,} of {style.many(record['of'], 'run')} in batches {verb} made again by {itself}: after "
        f"{record['steps']} steps, {'; '.join(differ)} (tolerance {style.number(tolerance)})"
    )
    pairs = [(run["value"], run["alone_value"]) for run in runs]
    known = [abs(one - other) for one, other in pairs if one is not None and other is not None]
    if known:
        margin = group.protocol.get("margin")
        beside = f" (margin {style.number(margin)})" if margin is not None else ""
        apart = f"differs by at most {style.number(max(known), 2)}" if max(known) else "is the same"
        said += f"; at the end, {metric} {apart}{beside}"
    if lost := len(runs) - len(known):
        said += f"; {lost:,} of them {'has' if lost == 1 else 'have'} no such value"
    return f"{said}."


def _time(group: Group) -> str:
    records = group.records
    cached = sum(record.cached for record in records)
    wall = group.data.get("wall_secs")
    took = f" in {style.number(wall, 3)} s" if wall is not None else ""
    from_cache = f", {cached} of them from before" if cached else ""
    jobs = group.protocol.get("jobs") or 1
    return f"In all {style.many(len(records), 'run')}{from_cache}{took}, at most {jobs} at a time."


def _eval_every(entry: dict) -> str:
    every = ((entry.get("config") or {}).get("eval") or {}).get("every")
    text = str(every or "")
    return text.removeprefix("1 ")


def _ranges(seeds: list[int]) -> str:
    """Write `0-9, 12` for runs of neighbouring seeds."""
    parts: list[list[int]] = []
    for seed in sorted(seeds):
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 2 else ", ".join(map(str, p)) for p in parts)


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
