"""`worker` and `emitter`: the two programs that run for good."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any, Protocol

import typer

from profilestream.cli.connection import KafkaOption, NamespaceOption, RedisOption, settings
from profilestream.core.errors import ProfilestreamError, UsageError

UntilCaughtUp = Annotated[
    bool, typer.Option("--until-caught-up", help="Stop once everything that is there now has been handled.")
]
ClockOption = Annotated[
    str,
    typer.Option("--clock", metavar="wall|event", help="`event`: time passes only as events say (history, tests)."),
]


class _Service(Protocol):
    def stop(self) -> None: ...

    def run(self, until_caught_up: bool = False) -> Any: ...


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(worker)
    app.command()(emitter)


def worker(
    until_caught_up: UntilCaughtUp = False,
    clock: ClockOption = "wall",
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Fold events into profiles. Start as many as you like; Kafka shares the shards among them."""
    if clock not in ("wall", "event"):
        raise typer.BadParameter("write `wall` or `event`", param_hint="--clock")
    from profilestream.worker import Clock, Worker  # Faust takes its time to load; other commands need not wait

    kind: Clock = "event" if clock == "event" else "wall"
    found = settings(kafka, redis, namespace)
    asyncio.run(run_service(lambda: Worker(found, _say, kind), until_caught_up))


def emitter(
    until_caught_up: UntilCaughtUp = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Announce segment changes on Kafka, each once. Start two for safety; they share the shards."""
    from profilestream.emitter import Emitter

    found = settings(kafka, redis, namespace)
    asyncio.run(run_service(lambda: Emitter(found, _say), until_caught_up))


async def run_service(make: Callable[[], _Service], until_caught_up: bool, left: str = "") -> None:
    """Runs a service; the first signal asks it to stop, the second one ends the process at once. `left` is said in the
    end of one that was asked to stop."""
    service = make()
    loop = asyncio.get_running_loop()
    was_asked = False

    def asked(number: int) -> None:
        nonlocal was_asked
        was_asked = True
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(name)
            # Not Python's own: that waits for every task to end, and the one that hangs may be among them.
            signal.signal(name, signal.SIG_DFL)
        _say("stopping; a second signal ends it at once")
        service.stop()

    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, asked, name)
    status = 0
    try:
        await service.run(until_caught_up)
        if was_asked and left:
            _say(left)
    except UsageError:
        raise
    except ProfilestreamError as error:
        print(error, file=sys.stderr)
        status = 1
    # Everything that counts is done. A task or a thread of a client library may still wait for a server, and would keep
    # the process alive for as long.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _say(line: str) -> None:
    print(line, flush=True)
