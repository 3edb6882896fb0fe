"""docs/mistakes.md: what is said of each mistake is what the page shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from profilestream.core.problems import DefinitionsError
from profilestream.operations.definition_tests_reading import read_tests
from profilestream.wire.definitions import parse_definitions

PAGE = (Path(__file__).parent.parent.parent / "docs" / "mistakes.md").read_text("utf-8")
MISTAKES = re.findall(
    r"^## (\d+)\. (.+?)\n\n```toml mistake\n(.*?)```\n\n```text\n(.*?)\n```\n\nWrite ", PAGE, re.M | re.S
)


def test_the_page_has_as_many_mistakes_as_it_says() -> None:
    assert [int(number) for number, *_ in MISTAKES] == list(range(1, 22))
    assert len(MISTAKES) == PAGE.count("```toml mistake")


@pytest.mark.parametrize(("title", "text", "said"), [m[1:] for m in MISTAKES], ids=[m[1] for m in MISTAKES])
def test_what_is_said_is_what_the_page_shows(title: str, text: str, said: str) -> None:
    with pytest.raises(DefinitionsError) as found:
        read_tests(parse_definitions(text, "shop.toml"), "shop.toml")
    assert str(found.value) == said
