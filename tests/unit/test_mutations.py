"""The mutations still fit the code: a mutation whose text is gone would show nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.mutations.__main__ import ROOT, broken
from tests.mutations.catalogue import MUTATIONS, SIMULATOR, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_a_mutation_changes_what_it_names_and_leaves_code_that_can_be_read(mutation: Mutation, tmp_path: Path) -> None:
    source = broken(mutation, tmp_path)
    for edit in mutation.edits:
        text = (source / "profilestream" / edit.file).read_text("utf-8")
        assert edit.new in text
        if edit.file.endswith(".py"):
            compile(text, edit.file, "exec")


def test_mutations_are_at_least_twelve_each_with_a_name_and_tests_that_exist() -> None:
    assert len({m.name for m in MUTATIONS}) == len(MUTATIONS) >= 12
    for mutation in MUTATIONS:
        assert mutation.caught_by
        for test in mutation.caught_by:
            assert test == SIMULATOR or (ROOT / test.partition("::")[0]).is_file(), test


def test_the_page_on_exactness_has_every_mutation_and_no_other_in_the_catalogue_s_words() -> None:
    rows = [line.split(" | ")[:2] for line in (ROOT / "docs/exactness.md").read_text("utf-8").splitlines()]
    told = [(name.strip("| `"), breaks[0]) for name, *breaks in rows if name.startswith("| `") and breaks]
    assert told == [(m.name, m.breaks) for m in MUTATIONS]
