"""What the engine gets from the simulator instead of the network, the clock and chance; nothing else is replaced."""

from __future__ import annotations

from typing import Any

from profilestream import aligning, carrying, committing, intake, repair, shard, updater
from profilestream.store import outbox, shard_store
from profilestream.stream import announced, announcer, counters, forwarding, producers
from tests.simulator import kafka_clients, redis_clients
from tests.simulator.kafka_broker import Broker
from tests.simulator.redis_server import Redis
from tests.simulator.timeline import Timeline


class Present:
    """The world that runs now."""

    line: Timeline
    broker: Broker
    redis: Redis


class _Time:
    """Stands in for the module `time`."""

    @staticmethod
    def monotonic() -> float:
        return Present.line.monotonic()

    @staticmethod
    def time_ns() -> int:
        return Present.line.time_ns()


def _token_hex(size: int) -> str:
    return Present.line.token(size)


async def _open_pipeline(url: str, key: str = "") -> Any:
    return await redis_clients.open_pipeline(Present.redis, Present.line)


def _producer(**options: Any) -> Any:
    return kafka_clients.SimulatedProducer(Present.line, Present.broker, **options)


def _admin(kafka: str) -> Any:
    return kafka_clients.SimulatedAdmin(Present.line, Present.broker)


def _read_to_end(kafka: str, topic: str, since: Any) -> Any:
    return kafka_clients.read_to_end(Present.line, Present.broker, topic, since)


def _last_record(kafka: str, topic: str, partition: int, holds: Any) -> Any:
    return kafka_clients.last_record(Present.line, Present.broker, topic, partition, holds)


def install() -> None:
    """Puts all of it in place, for this Python process."""
    put: dict[Any, dict[str, Any]] = {
        intake: {"time": _Time},
        updater: {"time": _Time},
        committing: {"time": _Time, "token_hex": _token_hex},
        shard_store: {"token_hex": _token_hex},
        repair: {"token_hex": _token_hex},
        carrying: {"token_hex": _token_hex},
        outbox: {"token_hex": _token_hex},
        shard: {"time": _Time, "open_pipeline": _open_pipeline},
        forwarding: {"time": _Time},
        counters: {"time": _Time},
        announcer: {"AIOKafkaProducer": _producer, "last_record": _last_record},
        announced: {"read_to_end": _read_to_end, "Admin": _admin, "time": _Time},
        aligning: {"time": _Time},
        producers: {"AIOKafkaProducer": _producer, "Admin": _admin},
    }
    for module, names in put.items():
        for name, substitute in names.items():
            if not hasattr(module, name):
                raise AttributeError(f"{module.__name__} no longer has {name}; the simulator would use the real one")
            setattr(module, name, substitute)
