"""The layout of a commit and the reading of heads, without a server."""

import pytest

from profilestream.core.errors import StoreRefused
from profilestream.store.commits import Commit, Head, Membership, commit_command, read_head
from profilestream.store.keys import Keys

KEYS = Keys("ps", "g1").shard(0)


def test_a_fresh_shard_has_an_empty_head() -> None:
    assert read_head([]) == Head("", 0, None, {}, {}, "", False)


def test_a_head_is_read_with_its_positions_and_origins() -> None:
    flat = [b"commit", b"ab", b"sequence", b"7", b"clock", b"-5", b"positions", b'{"purchases":3}']
    flat += [b"o:purchase:purchases:2", b"9", b"fingerprint", b"f", b"repair", b"1"]
    assert read_head(flat) == Head("ab", 7, -5, {"purchases": 3}, {"purchase:purchases:2": 9}, "f", True)


def test_a_head_that_someone_else_wrote_is_refused() -> None:
    with pytest.raises(StoreRefused, match="another namespace"):
        read_head([b"sequence", b"many"])


def test_every_key_of_a_commit_is_declared() -> None:
    command = commit_command("sha", KEYS, Commit("", "ab", 1, memberships=[Membership("s", "c", 1, True)]), 10)
    assert command[2] == 8
    private = [KEYS.head, KEYS.timers, KEYS.urgent, KEYS.outbox, KEYS.repairs, KEYS.crossings, KEYS.customers]
    assert command[3:11] == [*private, KEYS.segment("s")]


def test_of_several_crossings_of_one_customer_in_a_commit_the_last_membership_stands_and_each_is_counted() -> None:
    out_and_in = [Membership("s", "c", t, t != 60_000) for t in (1, 60_000, 60_001)]
    command = commit_command("sha", KEYS, Commit("", "ab", 1, memberships=out_and_in), 10)
    assert command[-12:] == ["s", 2, 0, 6, 60_001, "c", *(0, 1, 0), *(1, 1, 1)]


def test_what_a_repair_announces_is_not_counted_again() -> None:
    told = Commit("", "ab", 1, memberships=[Membership("s", "c", 1, True)], stage="announce")
    assert commit_command("sha", KEYS, told, 10)[-6:] == ["s", 2, 0, 0, 1, "c"]
