"""Where a command finds its servers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from profilestream import local
from profilestream.cli.connection import settings
from profilestream.core.errors import UsageError

LOCAL = local.Servers("127.0.0.1:1", "redis://127.0.0.1:2")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PROFILESTREAM_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "status", lambda directory: LOCAL)


def test_flags_beat_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROFILESTREAM_KAFKA", "a:1")
    monkeypatch.setenv("PROFILESTREAM_REDIS", "redis://a:2")
    monkeypatch.setenv("PROFILESTREAM_NAMESPACE", "a")
    found = settings("b:1", None, "b")
    assert (found.kafka, found.redis, found.namespace) == ("b:1", "redis://a:2", "b")


def test_where_no_address_is_given_the_folders_servers_are_taken(running: None) -> None:
    found = settings(None, None, None)
    assert (found.kafka, found.redis, found.namespace) == (LOCAL.kafka, LOCAL.redis, "ps")


def test_an_address_that_is_given_is_never_mixed_with_a_local_one(running: None) -> None:
    with pytest.raises(UsageError, match="No address of Redis: give --redis, or set PROFILESTREAM_REDIS"):
        settings("b:1", None, None)


def test_only_what_a_command_needs_has_to_be_given() -> None:
    assert settings(None, "redis://b:2", None, needs=("redis",)).kafka is None


def test_without_any_address_the_error_names_flags_variables_and_local_up(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        settings(None, None, None, tmp_path)
    for word in ("--kafka", "--redis", "PROFILESTREAM_KAFKA", "PROFILESTREAM_REDIS", "profilestream local up"):
        assert word in str(raised.value)


def test_a_namespace_that_cannot_be_is_named_with_the_place_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"^--namespace: "):
        settings("b:1", "redis://b:2", "No Good")
    monkeypatch.setenv("PROFILESTREAM_NAMESPACE", "No Good")
    with pytest.raises(UsageError, match=r"^PROFILESTREAM_NAMESPACE: "):
        settings("b:1", "redis://b:2", None)
