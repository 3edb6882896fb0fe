"""A Kafka and a Redis of one's own, without Docker and without root: `up`, `down`, `status`.

Everything lies in one folder (`./.profilestream`): data, ports, logs. The servers listen on 127.0.0.1 only
and run on when the command that started them ends. `Kafka` and `RedisServer` start, stop and kill one alone.
"""

from profilestream.local.kafka import Kafka
from profilestream.local.redis_server import RedisServer
from profilestream.local.servers import DEFAULT_DIRECTORY, Servers, down, status, up

__all__ = ["DEFAULT_DIRECTORY", "Kafka", "RedisServer", "Servers", "down", "status", "up"]
