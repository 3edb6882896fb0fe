"""`profilestream demo`: real orders, from the file to profiles, segment changes and their latency, and checked."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from profilestream.cli import cards, demo_place, explaining, people
from profilestream.cli.connection import KafkaOption, RedisOption
from profilestream.cli.demo_place import Place
from profilestream.cli.demo_screen import heading, show_changes, show_latency, step
from profilestream.core.counting import counted
from profilestream.operations.demo import bulk, latency, live, orders, traces
from profilestream.operations.demo.bulk import Found
from profilestream.operations.demo.check import check
from profilestream.operations.demo.expected import Expected, expect
from profilestream.operations.demo.orders import Order
from profilestream.operations.demo.programs import Programs, environment
from profilestream.operations.explain import explain
from profilestream.store.addresses import parse_address
from profilestream.wire.changes import SegmentChange
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.times import format_time

EXPLAINED: Final = "big_spender"
PERSONA: Final = "fitness_app_user"

DirectoryOption = Annotated[
    Path | None,
    typer.Option("--dir", metavar="DIR", help="The demo's folder; by default a temporary one.", file_okay=False),
]
KeepOption = Annotated[bool, typer.Option("--keep", help="Leave the servers running, with all that was made.")]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(demo)


def demo(
    directory: DirectoryOption = None,
    keep: KeepOption = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
) -> None:
    """Run 6,919 real orders and a simulated year through everything, on servers of its own, and check the result."""
    began = time.monotonic()
    out = people.console()
    history, definitions = orders.read_orders(), live.definitions_text()
    out.print(
        f"{len(history):,} orders that {_customers(history)} customers of CDNOW really made, 1997 to 1998,\n"
        f"then a year of {live.PLAN.customers} simulated customers\n"
    )
    with demo_place.interruptible(), ExitStack() as stack:
        with step(out, "servers") as servers:
            choosing = demo_place.chosen(directory, kafka, redis, keep, definitions, servers.say)
            place = stack.enter_context(choosing)
            servers.done = _servers(place, time.monotonic() - began)
        customer = _run(out, place, history, definitions)
    out.print(f"\nAll of it took {time.monotonic() - began:.0f} s.")
    _advise(out, place, keep, customer)


def _run(out: Console, place: Place, history: Sequence[Order], definitions: str) -> str:
    """Everything between the servers' start and their end; the customer that was shown."""
    (place.folder / demo_place.DEFINITIONS).write_text(definitions, "utf-8")
    (place.folder / demo_place.EVENTS).write_bytes(orders.event_lines(history))
    shards = _init(out, place, definitions)
    _produce(out, place, definitions)
    with Programs(place.settings, place.folder) as programs:
        _fold(out, place, programs, len(history))
        expected, found = _check(out, place, history, shards)
        customer = _worth_a_look(expected)
        _show(out, place, found, definitions, customer)
        clocks = _live(out, place, programs, history, shards, definitions)
        _measure(out, place, programs, clocks)
    return customer


def _init(out: Console, place: Place, definitions: str) -> int:
    began = time.monotonic()
    with step(out, "init") as making:
        made = asyncio.run(traces.make(place.settings, definitions, place.made_topics, lambda line: None))
        shards = made.generation.shards
        took = time.monotonic() - began
        where = f"generation {made.generation.name} in {counted(shards, 'shard')}"
        making.done = f"{counted(len(made.created_topics), 'topic')}, {where} ({took:.1f} s)"
    return shards


def _produce(out: Console, place: Place, definitions: str) -> None:
    with step(out, "produce") as sending:
        sent = asyncio.run(bulk.send(place.settings, place.folder / demo_place.EVENTS, definitions))
        sending.done = f"{sent.events:,} orders to topic {sent.topic} in order of time ({sent.seconds:.1f} s)"


def _fold(out: Console, place: Place, programs: Programs, count: int) -> None:
    with step(out, "fold", count) as folding:
        pace = asyncio.run(bulk.follow(place.settings, programs, count, folding.advance))
        folding.done = (
            f"{pace.orders:,} orders in {pace.fold_s:.2f} s: {pace.orders_per_s:,.0f} events a second by one worker "
            f"(which took {pace.start_s:.1f} s to start); the last change announced after {pace.announce_s:.2f} s"
        )


def _check(out: Console, place: Place, history: Sequence[Order], shards: int) -> tuple[Expected, Found]:
    """Compares what came out with the naive computation."""
    with step(out, "check") as checking:
        expected = expect(history, shards)
        found = asyncio.run(bulk.collect(place.settings, list(expected.orders)))
        check(expected, found)
        dollars = sum(order.cents for order in history) / 100
        checking.done = (
            f"a second, naive computation says the same: {len(expected.orders):,} customers, {len(history):,} orders, "
            f"{dollars:,.2f} dollars, {len(found.changes):,} segment changes"
        )
    return expected, found


def _show(out: Console, place: Place, found: Found, definitions: str, customer: str) -> None:
    """A profile, why it is in a segment, and how many changes there were."""
    redis, namespace = str(place.settings.redis), place.settings.namespace
    compiled = parse_definitions(definitions)
    profile = found.profiles[customer]
    assert profile is not None
    heading(out, "A profile (amounts in cents)")
    cards.show_profile(out, profile, compiled)
    heading(out, f"Why this customer is in {EXPLAINED}")
    explained = explain(redis, namespace, customer, EXPLAINED)
    explaining.show_explanation(out, customer, compiled, explained.explanations[0])
    heading(out, "Segment changes, each announced once")
    show_changes(out, compiled, found)


def _live(
    out: Console, place: Place, programs: Programs, history: Sequence[Order], shards: int, definitions: str
) -> Mapping[int, int]:
    """A year of simulated customers; gives the shards' clocks at its end."""
    heading(out, "A year of simulated customers, live")
    compiled = parse_definitions(definitions)
    simulated = live.prepare()
    count = len(simulated.records)
    topics = simulated.counts(compiled)
    with step(out, "live", count) as sending:

        def show(change: SegmentChange) -> None:
            when = f"{format_time(change.time_ms)[:16].replace('T', ' ')}"
            out.print(f"          {when}  {change.customer_id}  {change.change:<7}  {change.segment}")

        sent = asyncio.run(live.stream(place.settings, compiled, simulated, show, sending.advance))
        everything = {*topics, orders.TOPIC}
        asyncio.run(bulk.follow(place.settings, programs, sent + len(history), lambda n: None, everything))
        sending.done = f"{sent:,} events of {len(simulated.known)} customers on {len(topics)} topics"
    with step(out, "check") as checking:
        clocks = simulated.clocks(expect(history, shards).clocks, shards)
        expected = expect(history, shards, clocks)
        names = [*expected.orders, *(known.customer_id for known in simulated.known)]
        found = asyncio.run(bulk.collect(place.settings, names))
        check(expected, live.of_history(found, list(expected.orders)))
        live.check(simulated, found)
        members = sum(known.member is True for known in simulated.known)
        checking.done = (
            f"{members} are in the segments where their generator says, {len(simulated.known) - members} are not; "
            f"time alone did to CDNOW's customers what it had to ({len(expected.crossings):,} segment changes)"
        )
    return clocks


def _measure(out: Console, place: Place, programs: Programs, clocks: Mapping[int, int]) -> None:
    """Single orders of new customers."""
    heading(out, "Latency")
    with step(out, "orders", latency.ORDERS) as measuring:
        found = asyncio.run(latency.measure(place.settings, clocks, measuring.advance))
        programs.check()
        measuring.done = f"{latency.ORDERS} more, one at a time, each of a new customer (visitor-001 and so on)\n"
    show_latency(out, found)


def _advise(out: Console, place: Place, keep: bool, customer: str) -> None:
    """What to do next, as commands to copy; they work as they stand here."""
    run = demo_place.program()
    if not keep:
        what = "The servers are stopped and their data is removed." if place.own_servers else "All it made is removed."
        out.print(f"{what} To ask them questions, leave them running:\n\n  {run} demo --keep")
        return
    commands = [
        f"profile {customer}",
        f"explain {customer}",
        "segments",
        f"members {PERSONA} --count 5",
        "describe lapsing",
        f"changes --customer {customer}",
        "status",
    ]
    out.print("The servers run on. Try:\n")
    if place.own_servers:
        out.print(f"  cd {shlex.quote(str(place.folder))}")
    else:
        for name, value in environment(place.settings).items():
            out.print(f"  export {name}={shlex.quote(value)}")
    for words in commands:
        out.print(f"  {run} {words}")
    if place.own_servers:
        out.print(f"  {run} local down --wipe\n\nThe last one stops the servers and removes their data.")
    else:
        out.print(f"\nThe demo's own topics are {', '.join(place.made_topics)}.")


def _servers(place: Place, took_s: float) -> str:
    kind = f"started in {place.folder}" if place.own_servers else f"as given, in namespace {place.settings.namespace}"
    shown = parse_address(str(place.settings.redis)).shown
    return f"Kafka {place.settings.kafka} and Redis {shown}, {kind} ({took_s:.1f} s)"


def _customers(history: Sequence[Order]) -> str:
    return f"{len({order.customer for order in history}):,}"


def _worth_a_look(expected: Expected) -> str:
    """The customer who is in the segment to be explained, in most others, and has crossed most borders."""
    crossings = Counter(crossing.customer for crossing in expected.crossings)
    members = expected.members()
    segments = Counter(customer for customer, _ in members)
    candidates = [customer for customer, segment in members if segment == EXPLAINED]
    return max(candidates, key=lambda customer: (segments[customer], crossings[customer], customer))
