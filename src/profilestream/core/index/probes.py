"""Compiles what brings a profile's positions up to date, and adds the segments to look at where one has moved."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from profilestream.core import expressions as x
from profilestream.core import words
from profilestream.core.codegen import NUMERIC, Code
from profilestream.core.index.comparisons import ABSENT, Group
from profilestream.core.index.groups import Equal, Inside, Members, Ordered
from profilestream.core.index.keyed import Keyed
from profilestream.core.readout import profile_code
from profilestream.core.slots import Slots
from profilestream.core.words import NEVER

Probe = Callable[[list[Any], list[Any], list[int], int, "set[int] | None", bool], None]
"""(slots, positions, flips, clock, suspects, whole): brings positions up to date and adds the segments to look at;
None for suspects only places. With `whole` all keys of maps are looked at, else those that the event has touched."""

Probes = dict[tuple[frozenset[str], bool], list[Probe]]
"""By what moves the groups that they place: events of which types, and whether time alone does."""

FUNCTION_GROUPS_MAX: Final = 200
"""How many groups one compiled function places: Python's compiler is slow on very long ones."""


def compile_probes(groups: Iterable[Group], slots: Slots, local: Mapping[str, Any]) -> Probes:
    """Groups that the same events move stand in the same functions, so that each is compiled once."""
    alike: dict[tuple[frozenset[str], bool], list[Group]] = {}
    for group in groups:
        if isinstance(group, Inside):
            continue
        alike.setdefault((group.types, group.clock), []).append(group)
    compiled: Probes = {}
    for moved_by, several in alike.items():
        compiled[moved_by] = []
        for start in range(0, len(several), FUNCTION_GROUPS_MAX):
            code = profile_code(slots, local)
            for group in several[start : start + FUNCTION_GROUPS_MAX]:
                _probe_group(code, group, slots)
            compiled[moved_by].append(code.function("probe", "s, q, flips, now, suspects, whole"))
    return compiled


def _probe_group(code: Code, group: Group, slots: Slots) -> None:
    if isinstance(group, Keyed):
        assert isinstance(group.node, x.Aggregate)
        state = f"s[{slots.by_node[group.node].index}]"
        code.line(f"{code.object(group.probe)}({state}, s, q, flips, now, suspects, whole)")
        return
    value = code.atom(group.node)
    place = f"q[{group.place}]"
    if isinstance(group, Members):
        dependents = group.dependents
        position = code.new(f"{code.object(group.position)}({value.source})", False).source
    elif isinstance(group, Equal):
        dependents = group.dependents
        key = value.source
        if group.node.kind not in (*NUMERIC, "string", "boolean"):
            key = f"{code.object(words.token)}({key})"
        found = f"{code.object(group.table)}.get({key}, 0)"
        position = code.new(f"-1 if {value.source} is None else {found}" if value.nullable else found, False).source
    else:
        assert isinstance(group, Ordered)
        dependents = group.line.dependents
        if group.line.timed:
            position = _timed_position(code, group, value.source)
        else:
            found = _line_position(code, group.line.constants, value.source)
            position = code.new(f"-1 if {value.source} is None else {found}" if value.nullable else found, False).source
    with code.block(f"if {position} != {place}:"):
        moved = f"{code.object(dependents.moved)}({place}, {position}, q, suspects)"
        code.line(f"if suspects is not None: {moved}")
        code.line(f"{place} = {position}")


def _line_position(code: Code, constants: list[Any], value: str) -> str:
    if len(constants) == 1:
        constant = f"({constants[0]!r})"
        return f"({value} >= {constant}) + ({value} > {constant})"
    low, high, cuts = code.object(bisect_left), code.object(bisect_right), code.object(constants)
    return f"{low}({cuts}, {value}) + {high}({cuts}, {value})"


def _timed_position(code: Code, group: Ordered, base: str) -> str:
    """The number of cuts passed; sets the instant of the next one."""
    constants = code.object(group.line.constants)
    position = f"q{group.place}"
    with code.block(f"if {base} is None:"):
        code.line(f"{position} = {ABSENT}; flips[{group.flip}] = {NEVER}")
    with code.block("else:"):
        code.line(f"{position} = {code.object(bisect_right)}({constants}, now - {base})")
        after = f"{base} + {constants}[{position}] if {position} < {len(group.line.constants)} else {NEVER}"
        code.line(f"flips[{group.flip}] = {after}")
    return position
