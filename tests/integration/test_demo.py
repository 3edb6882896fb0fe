"""The demo as people run it: its result, what it leaves behind, and that it notices when something is wrong."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.conftest import Cli
from tests.kafka_records import remove_topics

from profilestream import local
from profilestream.cli import app
from profilestream.cli import demo as demo_command
from profilestream.operations.demo import bulk
from profilestream.operations.demo.bulk import Found
from profilestream.operations.demo.check import DemoDiffers, check
from profilestream.operations.demo.expected import SEGMENTS, Crossing, Expected, expect
from profilestream.operations.demo.latency import percentile
from profilestream.operations.demo.orders import CUSTOMERS, ORDERS, TOTAL_CENTS, Order, read_orders
from profilestream.settings import Settings
from profilestream.store.questions import Profile
from profilestream.stream.topics import Admin
from profilestream.wire.changes import SegmentChange
from profilestream.wire.times import format_time, parse_time

DEMO_S_MAX = 240
SHARDS = 4


@pytest.fixture(scope="module")
def expected() -> Expected:
    return expect(read_orders(), SHARDS)


def profile(customer: str, orders: Any, segments: Mapping[str, Any]) -> Profile:
    """What a reader sees of a customer with these orders, as far as the check looks."""
    traits = {
        "orders": len(orders),
        "total_spend": sum(order.cents for order in orders),
        "first_order_at": format_time(orders[0].at_ms),
        "last_order_at": format_time(orders[-1].at_ms),
    }
    return Profile(customer, "g1", 0, len(orders), None, None, None, traits, dict(segments))


def change(crossing: Crossing) -> SegmentChange:
    entered = "entered" if crossing.number % 2 else "exited"
    customer, segment, number, at_ms = crossing
    return SegmentChange(customer, segment, entered, number, "event", {}, "g1", "d", at_ms, "profilestream/ps")


@pytest.fixture(scope="module")
def found(expected: Expected) -> Found:
    """Exactly what is expected."""
    members = expected.members()
    profiles = {
        customer: profile(customer, orders, {name: {} for name in SEGMENTS if (customer, name) in members})
        for customer, orders in expected.orders.items()
    }
    counts = {name: sum(segment == name for _, segment in members) for name in SEGMENTS}
    return Found(profiles, counts, [change(crossing) for crossing in expected.crossings])


# The naive computation, and the comparison


def test_the_file_holds_the_numbers_that_are_known_of_it(expected: Expected) -> None:
    orders = [order for his in expected.orders.values() for order in his]
    assert (len(orders), len(expected.orders), sum(o.cents for o in orders)) == (ORDERS, CUSTOMERS, TOTAL_CENTS)
    assert (ORDERS, CUSTOMERS, TOTAL_CENTS) == (6_919, 2_357, 24_409_194)


def test_a_customer_goes_through_the_segments_as_one_reckons_by_hand() -> None:
    def order(line: int, day: str, cents: int, customer: str = "1") -> Order:
        return Order(line, customer, parse_time(f"{day}T12:00:00Z"), cents, 1)

    history = [order(1, "2020-01-01", 6_000), order(2, "2020-01-11", 4_000), order(3, "2020-06-01", 1, "2")]
    crossings = [c for c in expect(history, 1).crossings if c.customer == "1"]
    assert [(c.segment, c.number, format_time(c.at_ms)) for c in crossings] == [
        ("new_customer", 1, "2020-01-01T12:00:00.000Z"),
        ("big_spender", 1, "2020-01-11T12:00:00.000Z"),
        ("new_customer", 2, "2020-01-31T12:00:00.000Z"),
        ("lapsing", 1, "2020-02-10T12:00:00.001Z"),
        ("big_spender", 2, "2020-03-31T00:00:00.000Z"),
    ]


def test_what_is_exactly_as_expected_passes(expected: Expected, found: Found) -> None:
    check(expected, found)


def test_a_single_changed_profile_is_noticed(expected: Expected, found: Found) -> None:
    someone = found.profiles["7"]
    assert someone is not None
    wrong = replace(someone, traits={**someone.traits, "total_spend": someone.traits["total_spend"] + 1})
    with pytest.raises(DemoDiffers) as raised:
        check(expected, replace(found, profiles={**found.profiles, "7": wrong}))
    assert raised.value.differences == [
        "cents spent: expected 24,409,194, found 24,409,195",
        "customers whose traits differ: expected 0, found 1",
    ]
    with pytest.raises(DemoDiffers, match="customers with a profile: expected 2,357, found 2,356"):
        check(expected, replace(found, profiles={**found.profiles, "7": None}))
    with pytest.raises(DemoDiffers, match="memberships in profiles that differ: expected 0, found 1"):
        lone = replace(someone, segments={**someone.segments, "new_customer": {}})
        check(expected, replace(found, profiles={**found.profiles, "7": lone}))


def test_a_change_that_is_lost_doubled_moved_or_out_of_order_is_noticed(expected: Expected, found: Found) -> None:
    changes = list(found.changes)
    with pytest.raises(DemoDiffers, match="not announced: expected 0, found 1"):
        check(expected, replace(found, changes=changes[:-1]))
    with pytest.raises(DemoDiffers, match="too often: expected 0, found 1"):
        check(expected, replace(found, changes=[*changes, changes[-1]]))
    first = expected.crossings[0]
    with pytest.raises(DemoDiffers, match="at a wrong time"):
        check(expected, replace(found, changes=[change(first._replace(at_ms=first.at_ms + 1)), *changes[1:]]))
    with pytest.raises(DemoDiffers, match="out of order"):
        check(expected, replace(found, changes=changes[::-1]))
    with pytest.raises(DemoDiffers, match="lapsing: members"):
        check(expected, replace(found, members={**found.members, "lapsing": 0}))


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert [percentile(range(1, 101), percent) for percent in (50, 99, 100)] == [50, 99, 100]
    assert percentile([7.0], 99) == 7.0


# The command


def start(words: list[str], folder: Path) -> subprocess.Popen[str]:
    """The demo in a folder of its own, which is also where it makes temporary ones; no terminal."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PROFILESTREAM_")}
    return subprocess.Popen(
        [sys.executable, "-m", "profilestream.cli.app", "demo", *words],
        cwd=folder,
        env={**kept, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def working_in(folder: Path) -> list[int]:
    """Other processes that work in the folder, by the kernel's own list."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if int(entry.name) != os.getpid() and Path(os.readlink(entry / "cwd")).is_relative_to(folder):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_the_demo_shows_and_checks_everything_and_its_commands_work_afterwards(workdir: Path) -> None:
    folder = workdir / "kept here"
    process = start(["--keep", "--dir", str(folder)], workdir)
    try:
        printed, _ = process.communicate(timeout=DEMO_S_MAX)
        assert process.returncode == 0, printed
        for line in (
            r"produce +6,919 orders to topic purchases",
            r"fold +6,919 orders in [\d.]+ s: [\d,]+ events a second",
            r"check +a second, naive computation says the same: 2,357 customers, 6,919 orders, 244,091.94 dollars",
            r"customer 1808 is in big_spender since 1997-09-29 12:00:00 UTC",
            r"with no event will leave at 1998-07-07 00:00:00 UTC",
            r"lapsing +2,553 +1,559 +994 ",
            r"live +23,610 events of 60 customers on 6 topics",
            r"check +27 are in the segments where their generator says, 33 are not",
            r"to its profile in Redis +[\d.]+ +[\d.]+ +[\d.]+",
            r"to its change at a subscriber +[\d.]+ +[\d.]+ +[\d.]+",
        ):
            assert re.search(rf"^{line}", printed, re.MULTILINE), f"{line}\n{printed}"
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", printed), "control characters without a terminal"

        commands = printed.partition("Try:\n\n")[2].partition("\n\n")[0]
        assert len(commands.splitlines()) == 9, printed
        done = subprocess.run(["bash", "-ec", commands], cwd=workdir, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
        assert "1997-09-29T12:00:00.000Z  1808  entered big_spender #3" in done.stdout
        assert re.search(r"^fitness_app_user +10 ", done.stdout, re.MULTILINE)
        assert working_in(workdir) == []
    finally:
        local.down(folder / local.DEFAULT_DIRECTORY, wipe=True)


@pytest.mark.parametrize("when", ["servers   Starting", "orders    "])
def test_an_interrupted_demo_leaves_nothing_behind(when: str, workdir: Path) -> None:
    process = start([], workdir)
    assert process.stdout is not None
    deadline = time.monotonic() + DEMO_S_MAX
    for line in process.stdout:
        assert time.monotonic() < deadline
        if line.startswith(when):
            break
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    assert "Traceback" not in printed
    assert working_in(workdir) == []
    assert list(workdir.iterdir()) == []


def test_on_given_servers_it_fails_when_a_profile_is_wrong_and_leaves_nothing_behind(
    servers: local.Servers, workdir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(remove_topics(servers.kafka))
    collect = bulk.collect

    async def corrupted(settings: Settings, customers: Any) -> Found:
        found = await collect(settings, customers)
        someone = found.profiles["7"]
        assert someone is not None
        wrong = replace(someone, traits={**someone.traits, "orders": 0})
        return replace(found, profiles={**found.profiles, "7": wrong})

    monkeypatch.setattr(demo_command.bulk, "collect", corrupted)
    monkeypatch.setenv("TMPDIR", str(workdir))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(sys, "argv", ["profilestream", "demo", "--kafka", servers.kafka, "--redis", servers.redis])
    for name in [name for name in os.environ if name.startswith("PROFILESTREAM_")]:
        monkeypatch.delenv(name)
    with pytest.raises(SystemExit) as ended:
        app.main()
    printed = capfd.readouterr()
    assert ended.value.code == 1
    assert "customers whose traits differ: expected 0, found 1" in printed.err
    namespace = re.search(r"in namespace (demo-\w+)", printed.out)
    assert namespace is not None, printed.out
    with redis.Redis.from_url(servers.redis) as client:
        assert list(client.scan_iter(match=f"{namespace[1]}*", count=10_000)) == []
    assert [name for name in asyncio.run(topics(servers.kafka)) if name.startswith(namespace[1])] == []
    assert "purchases" not in asyncio.run(topics(servers.kafka))
    assert list(workdir.iterdir()) == []


def test_it_does_not_touch_servers_that_have_event_topics(cli: Cli, servers: local.Servers, workdir: Path) -> None:
    (workdir / "definitions.toml").write_text("[traits]\norders = 'count(purchase)'\n")
    cli("init", "definitions.toml")
    before = asyncio.run(topics(servers.kafka))
    done = cli("demo", expect=1)
    assert "has the event topics purchases" in done.stderr
    assert asyncio.run(topics(servers.kafka)) == before


def test_it_overwrites_no_file(bare_cli: Cli, workdir: Path) -> None:
    (workdir / "demo.toml").write_text("mine")
    assert "demo.toml is there already" in bare_cli("demo", "--dir", ".", expect=2).stderr
    assert [file.name for file in workdir.iterdir()] == ["demo.toml"]


async def topics(kafka: str) -> list[str]:
    async with Admin(kafka) as admin:
        return sorted(await admin._ask(admin._client.list_topics))
