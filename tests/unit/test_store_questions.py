"""What readers ask, with a clock set by hand and a dictionary for a server."""

from typing import Any

import pytest

from profilestream.core.errors import NotFound, StoreRefused, UsageError
from profilestream.store.questions import Questions
from profilestream.store.steps import Steps


class Shelf:
    """Answers the few commands needed here from `keys`, and counts what it is asked."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.asked: list[str] = []
        self.keys: dict[str, Any] = {"ps:live": b"g1", "ps:g1:meta": meta(16), "ps:g2:meta": meta(4)}
        self.questions = Questions("ps", lambda: self.now_s)

    def ask(self, steps: Steps[Any]) -> Any:
        try:
            commands = next(steps)
            while True:
                self.asked += [command.args[0] for command in commands]
                absent: dict[str, Any] = {"hgetall": {}, "zcard": 0}
                commands = steps.send([self.keys.get(c.args[0], absent.get(c.method)) for c in commands])
        except StopIteration as done:
            return done.value


def meta(shards: int, definitions: str = "[segments.big]\nenter = 'x > 1'\n") -> dict[bytes, bytes]:
    texts = {"shards": str(shards), "definitions": definitions, "fingerprint": "f", "created_at": "t", "state": "live"}
    return {name.encode(): value.encode() for name, value in texts.items()}


def test_the_live_generation_is_remembered_for_a_second_and_then_asked_again() -> None:
    shelf = Shelf()
    assert shelf.ask(shelf.questions.generation()).name == "g1"
    shelf.keys["ps:live"] = b"g2"
    shelf.now_s = 0.9
    assert shelf.ask(shelf.questions.generation()).name == "g1"
    shelf.now_s = 1.0
    assert shelf.ask(shelf.questions.generation()).name == "g2"
    shelf.now_s = 2.0
    shelf.ask(shelf.questions.generation())
    assert shelf.asked == ["ps:live", "ps:g1:meta", "ps:live", "ps:g2:meta", "ps:live"]


def test_one_call_keeps_to_one_generation_although_another_becomes_live_in_its_midst() -> None:
    shelf = Shelf()
    steps = shelf.questions.profiles(["c"] * 501)
    next(steps)
    steps.send([b"g1"])
    steps.send([shelf.keys["ps:g1:meta"]])
    shelf.keys["ps:live"], shelf.now_s = b"g2", 10.0
    (last,) = steps.send([{}] * 500)
    assert last.args[0].startswith("ps:g1:")


def test_without_a_live_generation_a_reader_says_to_run_init() -> None:
    shelf = Shelf()
    del shelf.keys["ps:live"]
    with pytest.raises(NotFound, match="profilestream init"):
        shelf.ask(shelf.questions.generation())


def test_an_unknown_segment_is_not_found_and_the_known_ones_are_named() -> None:
    shelf = Shelf()
    with pytest.raises(NotFound, match=r"no segment `bog` .* it has: big"):
        shelf.ask(shelf.questions.count("bog"))


def test_a_segment_that_the_definitions_have_just_got_is_found() -> None:
    shelf = Shelf()
    assert shelf.ask(shelf.questions.count("big")) == 0
    shelf.keys["ps:g1:meta"] = meta(16, "[segments.big]\n[segments.new]\n")
    assert shelf.ask(shelf.questions.count("new")) == 0


def test_a_meta_that_someone_else_wrote_is_refused() -> None:
    shelf = Shelf()
    shelf.keys["ps:g1:meta"] = {b"shards": b"many"}
    with pytest.raises(StoreRefused, match="ps:g1:meta"):
        shelf.ask(shelf.questions.generation())


@pytest.mark.parametrize("cursor", ["", "g1", "g1/x/c", "g1/1"])
def test_a_cursor_that_is_none_is_refused(cursor: str) -> None:
    shelf = Shelf()
    with pytest.raises(UsageError, match="cursor"):
        shelf.ask(shelf.questions.members_page("big", 10, cursor))


@pytest.mark.parametrize("count", [0, 10_001])
def test_a_page_has_a_limit(count: int) -> None:
    shelf = Shelf()
    with pytest.raises(UsageError, match="10000"):
        shelf.ask(shelf.questions.members_page("big", count, None))


def test_a_private_field_is_no_trait() -> None:
    shelf = Shelf()
    with pytest.raises(UsageError, match="_segments"):
        shelf.ask(shelf.questions.traits("c", ["_segments"]))
