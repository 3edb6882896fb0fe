"""A plan as JSON (`plan.json` of the schemas): what `plan --json` prints, and what `--out` saves for `apply`.

A saved plan is for one state of affairs: it names the live generation and its definitions, and has the new file's text.
`check_current` refuses it where another generation, or other definitions, are live by now.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from profilestream.core.changes_between import SegmentChange, TraitChange
from profilestream.core.definitions import Definitions, Segment
from profilestream.core.errors import ProfilestreamError, UsageError
from profilestream.core.expressions import Aggregate
from profilestream.core.meaning import meaning
from profilestream.core.problems import DefinitionsError
from profilestream.operations.plan import Plan
from profilestream.operations.reach import Incomplete, Reach
from profilestream.operations.sweep import Outcome
from profilestream.store.metadata import Generation
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.times import format_time

FORMAT: Final = 1
BYTES_MAX: Final = 256 * 1024 * 1024


class _Live(msgspec.Struct):
    generation: str
    fingerprint: str


class _Text(msgspec.Struct):
    fingerprint: str
    text: str


class _Saved(msgspec.Struct):
    format: int
    namespace: str
    method: str
    made_at: str
    live: _Live
    definitions: _Text


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """What `apply` needs of a saved plan: for which live generation it was made, and the new definitions."""

    namespace: str
    generation: str
    fingerprint: str
    made_at: str
    method: str
    definitions: Definitions


def plan_object(plan: Plan) -> dict[str, Any]:
    """The plan in the public form, ready for JSON; without the list of all `crossings`."""
    changes, found = plan.changes, plan.estimate
    return {
        "format": FORMAT,
        "namespace": plan.namespace,
        "made_at": format_time(plan.made_at_ms),
        "live": {"generation": plan.live.name, "fingerprint": plan.live.fingerprint, "shards": plan.live.shards},
        "definitions": {"fingerprint": changes.after.fingerprint, "text": changes.after.text},
        "changes": changes.any,
        "method": plan.method,
        "settings": list(changes.grounds),
        "reordered": changes.reordered,
        "traits": [_trait(change) for change in changes.traits],
        "segments": [_segment(change, plan.sweep.outcomes.get(change.name)) for change in changes.segments],
        "customers": plan.sweep.customers if plan.sweep.outcomes else None,
        "as_of": {str(shard): format_time(clock) for shard, clock in sorted(plan.sweep.clocks.items())},
        "look_seconds": plan.sweep.seconds if plan.sweep.outcomes else None,
        "log": [_reach(reach) for reach in plan.reaches],
        "incomplete": [_incomplete(one) for one in plan.incomplete],
        "estimate": {
            "records": found.records,
            "records_per_s": found.records_per_s,
            "seconds": found.seconds,
            "customers": found.customers,
            "live_bytes": found.live_bytes,
            "new_bytes": found.new_bytes,
            "free_bytes": found.free_bytes,
        },
    }


def _trait(change: TraitChange) -> dict[str, Any]:
    return {
        "name": change.name,
        "change": change.kind,
        "before": change.before,
        "after": change.after,
        "why": list(change.why),
        "needs": _needs(change.needs),
        "was": change.was,
    }


def _segment(change: SegmentChange, outcome: Outcome | None) -> dict[str, Any]:
    told = outcome is not None and outcome.told
    return {
        "name": change.name,
        "change": change.kind,
        "before": _definition(change.before),
        "after": _definition(change.after),
        "why": list(change.why),
        "needs": _needs(change.needs),
        "members": None if outcome is None else outcome.members,
        "entering": outcome.entering if outcome is not None and told else None,
        "leaving": outcome.leaving if outcome is not None and told else None,
        "waiting": outcome.waiting if outcome is not None and told else None,
        "enter_examples": [] if outcome is None else outcome.enter_examples,
        "leave_examples": [] if outcome is None else outcome.leave_examples,
    }


def _definition(segment: Segment | None) -> dict[str, Any] | None:
    if segment is None:
        return None
    enter, leave = segment.texts
    paces = dict(segment.pacing.texts()) if segment.pacing is not None else {}
    return {"description": segment.description, "enter": enter, "exit": leave, **paces}


def _needs(aggregates: Iterable[Aggregate]) -> list[str]:
    return [meaning(aggregate) for aggregate in aggregates]


def _reach(reach: Reach) -> dict[str, Any]:
    return {
        "topic": reach.topic,
        "type": reach.type_name or None,
        "records": reach.records,
        "gone": reach.gone,
        "begins_at": _time(reach.begins_ms),
        "limited": reach.limited,
        "compacted": reach.compacted,
        "made_anew": reach.made_anew,
        "missing": reach.missing,
        "left": reach.left,
    }


def _incomplete(one: Incomplete) -> dict[str, Any]:
    return {
        "name": one.name,
        "what": "trait" if one.is_trait else "segment",
        "complete_since": _time(one.since),
        "lost": one.lost,
        "inherited": one.inherited,
    }


def _time(at_ms: int | None) -> str | None:
    return None if at_ms is None else format_time(at_ms)


def save(plan: Plan, path: Path) -> None:
    """Writes a plan for `apply`. Raises UsageError where the file cannot be written."""
    try:
        path.write_text(json.dumps(plan_object(plan), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error}); name another file") from None


def is_plan(path: Path) -> bool:
    """Whether a file looks like a saved plan, not like definitions."""
    try:
        with path.open("rb") as file:
            return file.read(64).lstrip().startswith(b"{")
    except OSError:
        return False


def read_plan(path: Path) -> SavedPlan:
    """A plan that was saved. Raises UsageError where the file is none, cannot be read, or was altered."""
    try:
        if path.stat().st_size > BYTES_MAX:
            raise UsageError(f"{path}: larger than {BYTES_MAX // 1024 // 1024} MiB; is it a plan?")
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from None
    try:
        found = msgspec.json.decode(data, type=_Saved)
    except (msgspec.DecodeError, RecursionError):
        raise UsageError(f"{path}: no plan; make one with `profilestream plan FILE --out {path.name}`") from None
    if found.format != FORMAT:
        raise UsageError(f"{path}: a plan of another version ({found.format}); make it anew")
    try:
        definitions = parse_definitions(found.definitions.text, str(path))
    except DefinitionsError:
        raise UsageError(f"{path}: its definitions do not stand; make the plan anew") from None
    if definitions.fingerprint != found.definitions.fingerprint:
        raise UsageError(f"{path}: its definitions were altered by hand; change the file and make the plan anew")
    live = found.live
    return SavedPlan(found.namespace, live.generation, live.fingerprint, found.made_at, found.method, definitions)


def check_current(plan: SavedPlan, namespace: str, live: Generation) -> None:
    """Raises ProfilestreamError where a plan is not for what is live now: it would do something else than it says."""
    if plan.namespace != namespace:
        raise ProfilestreamError(f"this plan is for namespace `{plan.namespace}`, not `{namespace}`; nothing was done")
    if plan.generation != live.name or plan.fingerprint != live.fingerprint:
        raise ProfilestreamError(
            f"this plan was made at {plan.made_at} for generation {plan.generation} ({plan.fingerprint}); by now "
            f"{live.name} ({live.fingerprint}) is live. Nothing was done: make the plan anew"
        )
