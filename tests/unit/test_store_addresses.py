"""Addresses of Redis in all their forms."""

import pytest

from profilestream.core.errors import UsageError
from profilestream.store.addresses import parse_address


def test_a_sentinel_address_names_all_sentinels_the_service_and_the_database() -> None:
    address = parse_address("redis+sentinel://u:s3cret@h1:26379,h2,[::1]:26381/main?db=2&sentinel_password=x")
    assert address.kind == "sentinel"
    assert address.hosts == (("h1", 26379), ("h2", 26379), ("::1", 26381))
    assert (address.service, address.tls) == ("main", False)
    assert (address.options["db"], address.options["username"], address.options["password"]) == (2, "u", "s3cret")
    assert address.sentinel_options == {"password": "x"}


def test_a_cluster_address_may_have_tls_and_several_hosts() -> None:
    address = parse_address("rediss+cluster://:pw@h1:7000,h2:7001")
    assert (address.kind, address.tls, address.hosts) == ("cluster", True, (("h1", 7000), ("h2", 7001)))
    assert address.options["password"] == "pw"


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:s3cret@h:6379/0",
        "rediss://:s3cret@h/0?password=s3cret",
        "redis+cluster://:s3cret@h:1,h2:2",
        "redis+sentinel://:s3cret@h:1/main",
    ],
)
def test_an_address_is_shown_without_its_password(url: str) -> None:
    assert "s3cret" not in parse_address(url).shown


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://h:1",
        "redis+sentinel://:s3cret@h:1",
        "redis+cluster://:s3cret@h:port",
        "redis+cluster://:s3cret@",
        "redis://:s3cret@h:port",
        "redis+sentinel://:s3cret@h:1/main?db=x",
    ],
)
def test_an_address_that_cannot_be_read_is_refused_with_the_forms_and_without_its_password(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(url)
    assert "redis+sentinel://" in str(caught.value)
    assert "s3cret" not in str(caught.value)
