"""A shard's records come from an archive first, then from the log: in order of time, with no offset in between."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from profilestream.archived import Feed, begins_with, read_first
from profilestream.core.errors import LogMismatch
from profilestream.stream.archive import Archive
from profilestream.stream.archive_files import ArchivedRecord
from profilestream.stream.slices import Inbox, Slice, weight


def record(topic: str, offset: int, timestamp: int) -> ArchivedRecord:
    return ArchivedRecord(topic, 0, offset, timestamp, b"c1", b"{}", ())


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """Purchases at even times, browsing at odd ones; the last of each are holes."""
    found = Archive(tmp_path)
    found.add("purchases", 0, 0, 6, [record("purchases", n, 10 * n) for n in range(5)], "jsonl")
    found.add("purchases", 0, 6, 9, [record("purchases", 6, 60)], "jsonl.gz")
    found.add("browsing", 0, 3, 5, [record("browsing", n, 10 * n + 1) for n in (3, 4)], "jsonl")
    return found


def test_the_archive_counts_where_older_records_are_needed_and_is_not_asked_where_not(archive: Archive) -> None:
    log = {"purchases": 7, "browsing": 3, "support": 4}
    assert begins_with(archive, 0, {}, log) == {"purchases": 0, "browsing": 3, "support": 4}
    gap = {"purchases": 12, "browsing": 3}
    assert begins_with(archive, 0, {"purchases": 12}, gap) == gap
    for known in ({}, {"purchases": 11}):
        with pytest.raises(LogMismatch, match="records 9 to 11 are in neither"):
            begins_with(archive, 0, known, gap)


def test_with_one_topic_that_needs_it_all_are_read_from_the_archive_up_to_its_end(archive: Archive) -> None:
    begins, ends = {"purchases": 7, "browsing": 3, "support": 0}, {"purchases": 20, "browsing": 9, "support": 5}
    assert read_first(archive, 0, {"purchases": 7, "browsing": 3, "support": 0}, begins, ends) == {}
    found = read_first(archive, 0, {"purchases": 2, "browsing": 3, "support": 0}, begins, ends)
    assert found == {"purchases": 9, "browsing": 5}
    assert read_first(archive, 0, {"purchases": 2, "browsing": 5, "support": 0}, begins, ends) == {"purchases": 9}
    with pytest.raises(LogMismatch, match="the archive ends at 9, but the log ends at 8"):
        read_first(archive, 0, {"purchases": 2, "browsing": 3, "support": 0}, begins, {**ends, "purchases": 8})


async def test_topics_of_an_archive_wait_for_one_another_and_are_handed_over_to_the_log(archive: Archive) -> None:
    positions = {"purchases": 1, "browsing": 3, "support": 0}
    inbox = Inbox(positions, {"purchases": 6, "browsing": 4}, awaited=("purchases", "browsing"))
    went_on: list[tuple[str, int]] = []

    async def go_on(topic: str, offset: int) -> None:
        went_on.append((topic, offset))

    inbox.put(Slice("support", 0, 0, [record("support", 0, 5), record("support", 1, 35), record("support", 2, 45)]))
    assert inbox.take() is None and not inbox  # what has most time may come from the archive yet
    feed = Feed(archive, 0, {"purchases": 9, "browsing": 5}, inbox, 2 * weight(record("", 0, 0)), lambda: None, go_on)
    taken: list[tuple[str, int]] = []

    async def take(count: int) -> None:
        while len(taken) < count:
            while found := inbox.take():
                taken.append((found.topic, found.offset))
                feed.made_room()
            await asyncio.sleep(0)

    feeding = asyncio.create_task(feed.run())
    async with asyncio.timeout(30):
        await take(8)
    assert taken == [
        ("support", 0),
        ("purchases", 1),
        ("purchases", 2),
        ("purchases", 3),
        ("browsing", 3),
        ("support", 1),
        ("purchases", 4),
        ("support", 2),
    ]
    async with asyncio.timeout(30):
        await feeding
    assert sorted(went_on) == [("browsing", 5), ("purchases", 9)]
    assert inbox.holds_back("browsing") and inbox.holds_back("purchases") and not inbox.awaits("browsing")
    inbox.put(Slice("purchases", 0, 9, [record("purchases", 9, 90)]))  # no gap: what lay before are holes
    inbox.lift()
    async with asyncio.timeout(30):
        await take(11)
    assert taken[8:] == [("browsing", 4), ("purchases", 6), ("purchases", 9)]


def test_what_waits_beyond_a_limit_is_there_and_holds_nobody_up() -> None:
    inbox = Inbox({"purchases": 5, "support": 0}, {"purchases": 6}, awaited=["purchases"])
    inbox.put(Slice("support", 0, 0, [record("support", 0, 5)]))
    assert inbox.take() is None
    inbox.put(Slice("purchases", 0, 5, [record("purchases", 6, 1)]))  # 5 is a hole
    found = inbox.take()
    assert found is not None and found.topic == "support"


async def test_a_damaged_file_ends_the_feeding(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / archive.parts["purchases", 0][1].file).write_bytes(b"")

    async def go_on(topic: str, offset: int) -> None:
        raise AssertionError("it was not all")

    inbox = Inbox({"purchases": 0}, awaited=["purchases"])
    with pytest.raises(LogMismatch, match="restore the file"):
        await Feed(archive, 0, {"purchases": 9}, inbox, 10_000, lambda: None, go_on).run()
