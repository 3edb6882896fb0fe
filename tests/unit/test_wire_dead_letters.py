"""The headers of dead letters."""

import pytest

from profilestream.wire.dead_letters import REASONS, DeadLetter, Rejection, headers, read_headers


def test_headers_are_utf8_text_in_the_contracts_words() -> None:
    rejection = Rejection("missing_field", "amount_minor: required")
    assert headers(rejection, "purchases", 3, 1881, 1_769_851_800_000) == [
        ("reason", b"missing_field"),
        ("detail", b"amount_minor: required"),
        ("topic", b"purchases"),
        ("partition", b"3"),
        ("offset", b"1881"),
        ("timestamp", b"1769851800000"),
    ]


@pytest.mark.parametrize("reason", REASONS)
def test_headers_read_back(reason: str) -> None:
    written = headers(Rejection(reason, "é"), "t", 0, 2**60, -1)  # type: ignore[arg-type]
    foreign = [("trace", b"\xff"), ("empty", None)]
    assert read_headers([*foreign, *written]) == DeadLetter(reason, "é", "t", 0, 2**60, -1)


@pytest.mark.parametrize("value", [None, b"", b"x", b"1.5", b"\xff", b"9" * 5000, "٣".encode()])
def test_headers_of_another_kind_name_the_header(value: bytes | None) -> None:
    given = [*headers(Rejection("not_json", ""), "t", 0, 1, 2), ("offset", value)]
    with pytest.raises(ValueError, match="`offset`"):
        read_headers(given)


def test_an_absent_header_is_named() -> None:
    with pytest.raises(ValueError, match="`reason`"):
        read_headers([])
