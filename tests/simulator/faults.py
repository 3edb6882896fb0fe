"""What strikes a world, each fault by its name; what they do is undone, or noticed, by the world itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.simulator.redis_server import DUMPS_KEPT

if TYPE_CHECKING:
    from tests.simulator.world import World


def _any_host(world: World) -> Any:
    return world.random.choice([*world.workers, *world.workers, *world.emitters])


def _kill(world: World) -> None:
    process = _any_host(world).process
    if process.alive:
        process.fuse = world.random.randrange(400)


def _freeze(world: World) -> None:
    _freeze_host(world, _any_host(world))


def _freeze_host(world: World, host: Any) -> None:
    """SIGSTOP; the group takes its shards away when it lasts, and gives some back after it woke up."""
    if not host.process.alive or host.process.frozen:
        return
    host.process.freeze()
    rebalance = world.rebalance_workers if host in world.workers else world.rebalance_emitters
    lasts_s = world.random.choice((0.1, 0.5, 2.0))
    if lasts_s > 0.2:
        world.line.later(0.2, rebalance)
    world.line.later(lasts_s, _thaw, world, host, rebalance)


def _thaw(world: World, host: Any, rebalance: Callable[[], None]) -> None:
    if host.process.frozen:
        world.line.tell(f"{host.process.name} wakes up")
        host.process.thaw()
        world.line.later(world.random.uniform(0.01, 0.5), rebalance)


def _redis_set_back(world: World) -> None:
    which = world.random.choice((-1, *range(DUMPS_KEPT)))
    old_lives_s = world.random.choice((0.0, 0.0, 0.2, 1.0))
    world.redis.set_back_to_dump(which, world.random.choice((0.0, 0.1, 1.0)), old_lives_s)


def _set_back_unseen(world: World) -> None:
    """An emitter is stopped between two of its steps, and finds another Redis when it goes on."""
    world.redis.dump()
    world.line.later(world.random.uniform(0.1, 0.4), _freeze_host, world, world.random.choice(world.emitters))
    world.line.later(world.random.uniform(0.3, 0.5), world.strike, "Redis is set back")


def _redis_restarts(world: World) -> None:
    world.redis.restart(world.redis.server.data.copy(), world.random.choice((0.0, 0.3)), 0.0)


def _redis_dumps_often(world: World) -> None:
    """Dumps as it goes along, and some time later an older one is what is left."""
    for _ in range(4):
        world.line.later(world.random.uniform(0.0, 0.5), world.redis.dump)
    world.line.later(world.random.uniform(0.1, 1.0), world.strike, "Redis is set back")


def _scripts_flushed(world: World) -> None:
    world.redis.server.data.scripts.clear()


def _out_of_memory(world: World) -> None:
    world.line.chaos.out_of_memory_until_s = world.line.loop.time() + world.random.uniform(0.01, 0.4)


def _redis_stalls(world: World) -> None:
    until_s = world.line.loop.time() + world.random.choice((0.3, 2.0, 12.0))
    world.line.chaos.redis_stalled_until_s = until_s


def _kafka_stalls(world: World) -> None:
    until_s = world.line.loop.time() + world.random.choice((0.3, 2.0, 12.0, 30.0))
    world.line.chaos.kafka_stalled_until_s = until_s


BY_NAME: dict[str, Callable[[World], None]] = {
    "a process is killed": _kill,
    "a process freezes": _freeze,
    "workers change places": lambda world: world.rebalance_workers(),
    "emitters change places": lambda world: world.rebalance_emitters(),
    "Redis is set back": _redis_set_back,
    "Redis dumps, then is set back": _redis_dumps_often,
    "Redis is set back while an emitter is stopped": _set_back_unseen,
    "Redis restarts": _redis_restarts,
    "Redis forgets its scripts": _scripts_flushed,
    "Redis is out of memory": _out_of_memory,
    "Redis does not answer": _redis_stalls,
    "Kafka does not answer": _kafka_stalls,
}
LIKELY = (
    *BY_NAME,
    "a process is killed",
    "a process is killed",
    "a process freezes",
    "workers change places",
    "Redis dumps, then is set back",
)
