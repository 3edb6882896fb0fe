"""Runs the real scripts, in the Lua that Redis has, on a simulated server's data."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha1
from typing import Any

import lupa.lua51
from redis.exceptions import NoScriptError, ResponseError

_LUA = lupa.lua51.LuaRuntime(encoding=None, register_eval=False, register_builtins=False)
_table_from = _LUA.table_from
_type = lupa.lua51.lua_type


class _Caller:
    """Whose data `redis.call` works on now."""

    data: Any = None


def _call(*args: Any) -> Any:
    reply = _Caller.data.execute([a if isinstance(a, bytes) else _text(a) for a in args])
    return _to_lua(reply)


def _text(number: Any) -> bytes:
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ResponseError("ERR Lua redis() command arguments must be strings or integers")
    return b"%d" % number if number == int(number) else b"%.17g" % number


def _to_lua(reply: Any) -> Any:
    if reply is None:
        return False
    if isinstance(reply, list):
        return _table_from([_to_lua(item) for item in reply])
    if type(reply) is not bytes and isinstance(reply, bytes):
        return _table_from({b"ok": bytes(reply)})
    return reply


def _from_lua(value: Any) -> Any:
    if value is None or value is False:
        return None
    if value is True:
        return 1
    if isinstance(value, float):
        return int(value)
    if _type(value) == "table":
        error = value[b"err"]
        if error is not None:
            raise ResponseError(error.decode())
        found: list[Any] = []
        for place in range(1, len(value) + 1):
            if value[place] is None:
                break
            found.append(_from_lua(value[place]))
        return found
    return value


_REDIS = _table_from({b"call": _call})
_LUA.globals()[b"redis"] = _REDIS
_LUA.execute(b"redis.error_reply = function(text) return {err = text} end")


@lru_cache(maxsize=64)
def _compiled(text: bytes) -> Any:
    return _LUA.eval(b"function(KEYS, ARGV) " + text + b"\nend")


@lru_cache(maxsize=64)
def sha_of(text: bytes) -> bytes:
    return sha1(text, usedforsecurity=False).hexdigest().encode()


def no_script() -> NoScriptError:
    return NoScriptError("NOSCRIPT No matching script. Please use EVAL.")


def run(text: bytes, data: Any, args: list[bytes]) -> Any:
    """Runs a script with the arguments of EVAL after its text; gives the reply or raises ResponseError."""
    keys = int(args[0])
    former, _Caller.data = _Caller.data, data
    try:
        return _from_lua(_compiled(text)(_table_from(args[1 : 1 + keys]), _table_from(args[1 + keys :])))
    except lupa.lua51.LuaError as error:
        raise ResponseError(f"ERR Error running script: {error}") from None
    finally:
        _Caller.data = former
