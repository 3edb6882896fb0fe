"""Connections to Redis: ordinary clients, what a server must be, and errors that name the address.

The clients are redis-py's own. What they raise when a server cannot be reached becomes
`ServerUnavailable` inside `with reaching(address):`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.backoff
import redis.cluster
import redis.exceptions
import redis.retry
import redis.sentinel

from ..core.errors import ServerUnavailable, StoreRefused
from .addresses import Address, parse_address

AsyncClient = redis.asyncio.Redis | redis.asyncio.cluster.RedisCluster
SyncClient = redis.Redis | redis.cluster.RedisCluster

CONNECT_TIMEOUT_S: Final = 5.0
REPLY_TIMEOUT_S: Final = 10.0
SERVER_VERSION_MIN: Final = (6, 2)

# redis-py annotates only in part; what lacks annotations is taken as Any.
_Sentinel: Any = redis.sentinel.Sentinel
_AsyncSentinel: Any = redis.asyncio.sentinel.Sentinel
_ClusterNode: Any = redis.cluster.ClusterNode

LOST: Final = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError)
"""What redis-py raises when a server is away, starting up or refuses the login."""


def connect(url: str, *, decode: bool = False) -> AsyncClient:
    """An asyncio client for an address (`store.addresses`); it connects with its first command.

    With `decode`, replies are text instead of bytes. Raises UsageError for an address that cannot be
    read.
    """
    address = parse_address(url)
    options = client_options(address, decode=decode)
    if address.kind == "cluster":
        nodes = [redis.asyncio.cluster.ClusterNode(host, port) for host, port in address.hosts]
        return redis.asyncio.cluster.RedisCluster(startup_nodes=nodes, ssl=address.tls, **options)
    options["retry"] = retry = redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 1)
    if address.kind == "sentinel":
        sentinel = _AsyncSentinel(address.hosts, sentinel_kwargs=sentinel_options(address, retry), **options)
        master: AsyncClient = sentinel.master_for(address.service, ssl=address.tls)
        return master
    client: AsyncClient = redis.asyncio.Redis.from_url(url, **options)
    return client


def connect_sync(url: str, *, decode: bool = False) -> SyncClient:
    """As `connect`, for code without an event loop.

    A cluster is asked for its layout at once, so that raises ServerUnavailable here already.
    """
    address = parse_address(url)
    options = client_options(address, decode=decode)
    if address.kind == "cluster":
        nodes = [_ClusterNode(host, port) for host, port in address.hosts]
        with reaching(address):
            return redis.cluster.RedisCluster(startup_nodes=nodes, ssl=address.tls, **options)
    options["retry"] = retry = redis.retry.Retry(redis.backoff.NoBackoff(), 1)
    if address.kind == "sentinel":
        sentinel = _Sentinel(address.hosts, sentinel_kwargs=sentinel_options(address, retry), **options)
        master: SyncClient = sentinel.master_for(address.service, ssl=address.tls)
        return master
    client: SyncClient = redis.Redis.from_url(url, **options)
    return client


def client_options(address: Address, *, decode: bool) -> dict[str, Any]:
    """Keyword arguments of a redis-py client; what the address says wins over the defaults here."""
    options: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": REPLY_TIMEOUT_S,
        # The installed version decides the default; replies must not change their shapes with it.
        "protocol": 2,
        "decode_responses": decode,
    }
    return options | ({} if address.kind == "single" else address.options)


def sentinel_options(address: Address, retry: object) -> dict[str, Any]:
    """Keyword arguments for the connections to the sentinels themselves."""
    options = {
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": REPLY_TIMEOUT_S,
        "retry": retry,
        "protocol": 2,
    }
    return options | address.sentinel_options


@contextmanager
def reaching(place: Address | AsyncClient | SyncClient | str) -> Iterator[None]:
    """Turns redis-py's connection errors into ServerUnavailable that names the address.

    `place` is an address, its URL, or a client, whose own server is then named.
    """
    try:
        yield
    except LOST as error:
        raise unavailable(_shown(place), error) from None
    except redis.exceptions.ResponseError as error:
        if not is_moved_away(error):
            raise
        raise unavailable(_shown(place), error) from None
    except redis.exceptions.RedisClusterException as error:
        raise unavailable(_shown(place), error) from None


def unavailable(shown: str, error: BaseException) -> ServerUnavailable:
    """The error for a server that cannot be used now; says by its kind what to check."""
    if isinstance(error, redis.exceptions.AuthenticationError):
        return ServerUnavailable(f"Redis at {shown} refuses the login; check the user and password given")
    if isinstance(error, redis.exceptions.BusyLoadingError):
        return ServerUnavailable(f"Redis at {shown} is still loading its data; it answers when that is done")
    if isinstance(error, redis.sentinel.MasterNotFoundError | redis.asyncio.sentinel.MasterNotFoundError):
        return ServerUnavailable(f"no sentinel of {shown} knows a master; check the service's name")
    if isinstance(error, redis.exceptions.ResponseError):
        return ServerUnavailable(f"Redis at {shown} does not serve these keys now (failover or resharding)")
    return ServerUnavailable(f"Redis at {shown} cannot be reached; check that it runs and its address")


_MOVED_AWAY: Final = ("READONLY", "MOVED", "ASK ", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "LOADING")
_MOVED_AWAY_TYPES: Final = (
    redis.exceptions.ReadOnlyError,
    redis.exceptions.AskError,  # MovedError is one
    redis.exceptions.ClusterDownError,
    redis.exceptions.TryAgainError,
    redis.exceptions.MasterDownError,
)


def is_moved_away(error: redis.exceptions.ResponseError) -> bool:
    """Whether a reply means that another server has the keys now: connect anew, do not complain."""
    if isinstance(error, _MOVED_AWAY_TYPES):
        return True
    text = str(error)
    # Redis 6 wraps what a script met: "ERR Error running script ...: -READONLY You can't write ...".
    return text.startswith(_MOVED_AWAY) or "-READONLY " in text or "-CLUSTERDOWN " in text


async def check_server(client: AsyncClient) -> None:
    """Refuses a server that could lose profiles or lacks commands.

    Raises StoreRefused, saying what to set: Redis before 6.2, or a `maxmemory-policy` under which
    profiles would silently vanish. Raises ServerUnavailable when no server answers.
    """
    with reaching(client):
        for shown, server, memory in await _infos(client):
            version = str(server.get("redis_version", "0"))
            if _version(version) < SERVER_VERSION_MIN:
                raise StoreRefused(f"Redis at {shown} is {version}; it must be 6.2 or later, or Valkey")
            policy = memory.get("maxmemory_policy") or await _configured_policy(client)
            if policy not in (None, "noeviction"):
                raise StoreRefused(
                    f"Redis at {shown} has maxmemory-policy {policy}, which drops profiles when memory is "
                    "short; run `CONFIG SET maxmemory-policy noeviction` and put it into its configuration"
                )


async def _infos(client: AsyncClient) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(address, INFO server, INFO memory) of each server that takes writes."""
    if isinstance(client, redis.asyncio.cluster.RedisCluster):
        await client.initialize()
        infos = []
        for node in client.get_primaries():
            server = await client.execute_command("INFO", "server", target_nodes=node)
            memory = await client.execute_command("INFO", "memory", target_nodes=node)
            infos.append((f"{node.host}:{node.port}", server, memory))
        return infos
    return [(_shown(client), await client.info("server"), await client.info("memory"))]


async def _configured_policy(client: AsyncClient) -> str | None:
    """The policy from CONFIG, for a server whose INFO lacks it; None where CONFIG is not allowed."""
    try:
        reply = await client.config_get("maxmemory-policy")
    except redis.exceptions.ResponseError:
        return None
    value = next(iter(reply.values()), None)
    return value.decode() if isinstance(value, bytes) else value


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())


def _shown(place: Address | AsyncClient | SyncClient | str) -> str:
    if isinstance(place, Address):
        return place.shown
    if isinstance(place, str):
        return parse_address(place).shown
    if isinstance(place, redis.asyncio.cluster.RedisCluster | redis.cluster.RedisCluster):
        nodes = place.nodes_manager.startup_nodes.values()
        return ",".join(sorted(f"{node.host}:{node.port}" for node in nodes)[:3])
    pool = place.connection_pool
    service = getattr(pool, "service_name", None)
    if service is not None:
        return f"the service {service} (Sentinel)"
    options = pool.connection_kwargs
    return str(options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}")
