"""Reads the address of a Redis: one server, a service behind Sentinel, or a cluster.

    redis://[user:password@]host:port/0          rediss:// with TLS, unix:///path?db=0
    redis+sentinel://host:port,host:port/service?db=0
    redis+cluster://host:port,host:port          rediss+sentinel, rediss+cluster with TLS

Options after `?` are redis-py's. Never does any I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis.connection

from ..core.errors import UsageError

# redis-py annotates only in part; what lacks annotations is taken as Any.
_parse_url: Any = redis.connection.parse_url

PORT: Final = {"redis": 6379, "sentinel": 26379, "cluster": 6379}

_FORMS: Final = (
    "redis://host:port/0, rediss://..., unix:///path, redis+sentinel://host:port,host:port/service "
    "or redis+cluster://host:port"
)
_SENTINEL_LOGIN: Final = {"sentinel_username": "username", "sentinel_password": "password"}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a Redis is.

    `hosts` are the servers to ask first, `options` the keyword arguments of a redis-py connection
    without host and port (login, db, TLS), `shown` the address as a person may see it: no login.
    """

    kind: Literal["single", "sentinel", "cluster"]
    url: str
    shown: str
    hosts: tuple[tuple[str, int], ...]
    service: str
    tls: bool
    options: dict[str, Any]
    sentinel_options: dict[str, Any]


def parse_address(url: str) -> Address:
    """Reads an address; raises UsageError with the forms that are understood, never with a password."""
    scheme, _, rest = url.partition("://")
    transport, _, kind = scheme.partition("+")
    if not rest or scheme not in _SCHEMES:
        raise UsageError(f"this is not an address of Redis; write {_FORMS}")
    parts = urlsplit(url)
    login, _, hosts_text = parts.netloc.rpartition("@")
    try:
        if not kind:
            shown = f"{scheme}://{hosts_text}{parts.path}"
            return Address("single", url, shown, (), "", transport == "rediss", dict(_parse_url(url)), {})
        hosts = tuple(_host(text, PORT[kind]) for text in hosts_text.split(","))
        service = parts.path.strip("/") if kind == "sentinel" else ""
        if kind == "sentinel" and not service:
            raise UsageError(f"{scheme}://{hosts_text} lacks the service's name; write {scheme}://{hosts_text}/SERVICE")
        query = dict(parse_qsl(parts.query))
        sentinel = {name: query.pop(key) for key, name in _SENTINEL_LOGIN.items() if key in query}
        at = login + "@" if login else ""
        options = dict(_parse_url(f"{transport}://{at}localhost:1?{urlencode(query)}"))
    except ValueError:
        raise UsageError(f"the address {scheme}://{hosts_text} cannot be read; write {_FORMS}") from None
    for name in ("host", "port", "connection_class", "path"):
        options.pop(name, None)
    shown = f"{scheme}://{hosts_text}" + (f"/{service}" if service else "")
    return Address(
        "sentinel" if kind == "sentinel" else "cluster",
        url,
        shown,
        hosts,
        service,
        transport == "rediss",
        options,
        sentinel,
    )


_SCHEMES: Final = frozenset(
    {"redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"}
)


def _host(text: str, port_default: int) -> tuple[str, int]:
    split = urlsplit("//" + text)
    if not split.hostname:
        raise ValueError("no host")
    return split.hostname, split.port or port_default
