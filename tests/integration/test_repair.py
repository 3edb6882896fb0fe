"""Redis is set back, or lost whole, behind what was announced: profiles come back, and nothing is announced twice."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests import cdnow
from tests.comparison import compare, expect, read_changes, read_profiles
from tests.integration.store_server import RedisProcess
from tests.integration.test_worker import running, wait_until
from tests.kafka_records import cut_log, properly, read_arrivals, remove_topics, send

SHARDS = 4
CUSTOMERS = 40


class Restorable(RedisProcess):
    """A Redis that can be set back to a dump; one that is away for a moment, as after a failover."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(folder)

    def back_up(self) -> None:
        self.client.save()
        shutil.copy(self.folder / "dump.rdb", self.folder / "backup.rdb")

    def set_back(self) -> None:
        self.kill()
        shutil.copy(self.folder / "backup.rdb", self.folder / "dump.rdb")
        self.start()

    def lose_everything(self) -> None:
        self.kill()
        (self.folder / "dump.rdb").unlink(missing_ok=True)
        self.start()


@pytest.fixture
def server(tmp_path: Path, cli_environment: dict[str, str]) -> Iterator[Restorable]:
    server = Restorable(tmp_path / "redis")
    cli_environment["PROFILESTREAM_REDIS"] = server.url
    yield server
    server.kill()


@pytest.fixture
def shop(servers: Any, server: Restorable, cli: Any, workdir: Path) -> None:
    """CDNOW's definitions on an empty Kafka."""
    asyncio.run(remove_topics(servers.kafka))
    (workdir / "definitions.toml").write_text(cdnow.DEFINITIONS)
    cli("init", "definitions.toml", "--shards", str(SHARDS))


def feed(kafka: str, events: list[dict[str, Any]], topic: str = "purchases") -> None:
    asyncio.run(send(kafka, [properly(topic, event, SHARDS) for event in events]))


def catch_up(cli: Any) -> str:
    said: str = cli("worker", "--clock", "event", "--until-caught-up", timeout_s=300).stdout
    return said + str(cli("emitter", "--until-caught-up", timeout_s=300).stdout)


def assert_all_is_right(kafka: str, redis_url: str, namespace: str, changes_topic: str) -> set[str]:
    """Everything is as the oracle says, changes of customers whom a repair settled aside: these are held to laws.

    What had fallen due by the clock that was announced last happens before a repair compares, so crossings that had not
    been announced one by one come out as one, with the cause `repair`, or as none where they took a customer there and
    back. How many depends on how far a busy machine was behind with what was due. Gives those customers.
    """
    arrivals = asyncio.run(read_arrivals(kafka, ["purchases"]))
    announced = asyncio.run(read_changes(kafka, changes_topic))
    expected, stored = expect(cdnow.DEFINITIONS, arrivals, SHARDS), read_profiles(redis_url, namespace)
    for name, members in stored.members.items():
        assert members.keys() == {c.customer_id for _, c in expected.customers() if name in c.memberships}, name
    compare(expected, stored, None, namespace, order_matters=False)

    told = [(record, json.loads(record.value)["data"]) for record in announced]
    repaired = {data["customer_id"] for _, data in told if data["cause"] == "repair"}
    print(len(repaired), "customers were announced by a repair")
    by_pair: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for _, data in told:
        by_pair[data["customer_id"], data["segment"]].append(data)
    for (customer, segment), changes in by_pair.items():
        assert_told_once_and_in_turn(changes)
        held = json.loads(stored.profiles[customer].fields["_segments"]).get(segment)
        assert (held is not None) == bool(len(changes) % 2)
        assert held is None or held["crossing"] == len(changes)
    for customer, outcome_of in expected.customers() if repaired else ():
        counts = Counter(crossing.segment for crossing in outcome_of.changes)
        if any(len(by_pair[customer, name]) < counts[name] for name in counts):
            repaired.add(customer)
    for outcome in expected.outcomes.values():
        for customer in repaired & outcome.customers.keys():
            del outcome.customers[customer]
    assert any(outcome.customers for outcome in expected.outcomes.values()), "some are left to compare"
    others = replace(
        stored,
        profiles={c: p for c, p in stored.profiles.items() if c not in repaired},
        members={s: {c: at for c, at in m.items() if c not in repaired} for s, m in stored.members.items()},
    )
    compare(expected, others, [record for record, data in told if data["customer_id"] not in repaired], namespace)
    return repaired


def assert_told_once_and_in_turn(changes: list[dict[str, Any]]) -> None:
    """One customer's changes of one segment."""
    assert [change["crossing"] for change in changes] == list(range(1, len(changes) + 1))
    directions = [change["change"] for change in changes]
    assert directions == ["entered", "exited"] * (len(changes) // 2) + ["entered"] * (len(changes) % 2)


@pytest.mark.parametrize("how", ["set back", "lost"])
def test_while_nobody_works_redis_loses_what_was_announced(
    how: str, shop: None, server: Restorable, servers: Any, cli: Any, namespace: str, topic_name: Callable[[str], str]
) -> None:
    events = cdnow.in_order_of_time(cdnow.purchases())
    feed(servers.kafka, events[:2_000])
    catch_up(cli)
    server.back_up()
    feed(servers.kafka, events[2_000:4_000])
    catch_up(cli)
    server.set_back() if how == "set back" else server.lose_everything()
    feed(servers.kafka, events[4_000:])
    said = catch_up(cli)
    assert said.count("repairing the shard from the log") == said.count("repaired; 0 differences") == SHARDS, said
    assert not assert_all_is_right(servers.kafka, server.url, namespace, topic_name("segment-changes"))
    assert "repair" not in catch_up(cli)


def test_while_all_work_redis_is_set_back_again_and_again(
    shop: None,
    server: Restorable,
    servers: Any,
    cli: Any,
    cli_environment: dict[str, str],
    namespace: str,
    topic_name: Callable[[str], str],
    workdir: Path,
) -> None:
    events = cdnow.in_order_of_time(cdnow.purchases())
    step = len(events) // 4
    with running(cli_environment, workdir, "worker", "--clock", "event"), running(cli_environment, workdir, "emitter"):
        for number in range(4):
            feed(servers.kafka, events[number * step : (number + 1) * step - 500])
            wait_until(lambda: " changes" in said(workdir), "the first changes")
            time.sleep(1)
            server.back_up()
            feed(servers.kafka, events[(number + 1) * step - 500 : (number + 1) * step if number < 3 else len(events)])
            time.sleep(1.5)
            server.set_back()
            time.sleep(0.5)
    catch_up(cli)
    assert "repairing the shard from the log" in said(workdir)
    assert "Traceback" not in said(workdir)
    assert_all_is_right(servers.kafka, server.url, namespace, topic_name("segment-changes"))


def said(workdir: Path) -> str:
    return "\n".join(log.read_text() for log in sorted(workdir.glob("*.log")))


TWO_TOPICS = """
[traits]
orders = "count(purchase)"
open_tickets = "count(support[kind == 'opened']) - count(support[kind == 'closed'])"
views = "count(browsing)"
balance = "count(browsing[kind == 'app_open']) - count(browsing[kind == 'search'])"

[segments.content]
enter = "orders >= 2 and open_tickets == 0"

[segments.lively]
enter = "balance >= 3"
exit = "balance <= 0"
"""


def story(number: int) -> list[tuple[str, dict[str, Any]]]:
    """One step of every customer; who is in depends on the order in which the three topics come together."""
    at = 1_700_000_000_000 + number * 60_000
    found: list[tuple[str, dict[str, Any]]] = []
    for n in range(CUSTOMERS):
        mine = {"customer_id": f"c{n}", "occurred_at": at + n}
        step = (number * 7 + n * 3) % 11
        if step % 3 == 0:
            found.append(("purchases", {"event_id": f"p{number}-{n}", "amount_minor": 100, **mine}))
        if step % 4 == 1:
            found.append(("support", {"event_id": f"o{number}-{n}", "kind": "opened", **mine}))
        if step % 4 == 3:
            found.append(("support", {"event_id": f"c{number}-{n}", "kind": "closed", **mine}))
        kind = "app_open" if (number // 4 + n) % 2 else "search"
        found.append(("browsing", {"event_id": f"b{number}-{n}", "kind": kind, **mine}))
    return found


def test_refolding_topics_that_interleave_otherwise_announces_only_what_differs(
    server: Restorable,
    servers: Any,
    cli: Any,
    namespace: str,
    topic_name: Callable[[str], str],
    workdir: Path,
) -> None:
    asyncio.run(remove_topics(servers.kafka))
    (workdir / "definitions.toml").write_text(TWO_TOPICS)
    cli("init", "definitions.toml", "--shards", str(SHARDS))
    for number in range(24):
        by_topic: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for topic, event in story(number):
            by_topic[topic].append(event)
        # One topic is far ahead of the others by turns: another order than that of one run over the whole log.
        for topic in sorted(by_topic, key=lambda name: (hash_of(name) + number) % 3):
            feed(servers.kafka, by_topic[topic], topic)
            if number in (5, 10, 13, 17):
                catch_up(cli)
        if number == 8:
            catch_up(cli)
            server.back_up()
    catch_up(cli)
    before = changes_by_pair(servers.kafka, topic_name("segment-changes"))
    server.set_back()
    assert "repairing the shard" in catch_up(cli)
    after = changes_by_pair(servers.kafka, topic_name("segment-changes"))
    for pair, told in before.items():
        assert after[pair][: len(told)] == told
    news = [change for pair, told in after.items() for change in told[len(before.get(pair, [])) :]]
    assert {change["cause"] for change in news} <= {"repair"}
    print(len(news), "differences")
    stored = read_profiles(server.url, namespace)
    for (customer, segment), told in after.items():
        assert_told_once_and_in_turn(told)
        held = json.loads(stored.profiles[customer].fields["_segments"]).get(segment)
        assert (held is not None) == (customer in stored.members.get(segment, {})) == bool(len(told) % 2)
        assert held is None or held["crossing"] == len(told)
    inside = {(customer, segment) for segment, members in stored.members.items() for customer in members}
    assert inside <= after.keys()


def hash_of(topic: str) -> int:
    return ["purchases", "support", "browsing"].index(topic)


def changes_by_pair(kafka: str, topic: str) -> dict[tuple[str, str], list[dict[str, Any]]]:
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for record in asyncio.run(read_changes(kafka, topic)):
        data = json.loads(record.value)["data"]
        found[data["customer_id"], data["segment"]].append(data)
    return found


COUNTS = """
[traits]
orders = "count(purchase)"
"""
SEGMENT = """
[segments.buyer]
enter = "orders >= 1"
"""


@pytest.mark.parametrize("announcing", [True, False], ids=["announced", "nothing was announced"])
def test_a_redis_lost_whole_is_rebuilt_where_the_log_reaches_back_and_else_the_missing_range_is_named(
    announcing: bool, server: Restorable, servers: Any, cli: Any, namespace: str, workdir: Path
) -> None:
    asyncio.run(remove_topics(servers.kafka))
    (workdir / "definitions.toml").write_text(COUNTS + SEGMENT * announcing)
    # The log of one shard does not begin at 0 when it is first read: that is no loss.
    cli("init", "definitions.toml", "--shards", "1")
    events = [{"event_id": f"e{n}", "customer_id": f"c{n % 5}", "occurred_at": n, "amount_minor": 1} for n in range(60)]
    asyncio.run(send(servers.kafka, [properly("purchases", event, 1) for event in events[:30]]))
    asyncio.run(cut_log(servers.kafka, "purchases", 0, 10))
    assert "20 events" in catch_up(cli)
    server.lose_everything()
    asyncio.run(send(servers.kafka, [properly("purchases", event, 1) for event in events[30:]]))
    assert "50 events" in catch_up(cli)
    assert sum(int(p.fields["orders"]) for p in read_profiles(server.url, namespace).profiles.values()) == 50

    asyncio.run(cut_log(servers.kafka, "purchases", 0, 40))
    assert "0 events" in catch_up(cli)  # everything was folded before it was removed
    server.lose_everything()
    said = cli("worker", "--clock", "event", "--until-caught-up", expect=1).stderr
    assert "topic purchases, partition 0: the next record to fold is 10, but the log begins at 40" in said
    assert "records 10 to 39 were removed" in said and "Restore a newer dump of Redis" in said
    assert "Traceback" not in said
