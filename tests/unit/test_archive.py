"""An archive gives back what was put in, whatever the bytes are, and says so where it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profilestream.core.errors import LogMismatch, UsageError
from profilestream.stream.archive import LIST, Archive, ArchivedRecord, decode, encode

BYTES = st.none() | st.binary(max_size=20) | st.text(max_size=10).map(str.encode)
RECORDS = st.builds(
    ArchivedRecord,
    st.just("purchases"),
    st.just(3),
    st.integers(0, 2**63 - 1),
    st.integers(-1, 2**42),
    BYTES,
    BYTES,
    st.lists(st.tuples(st.text(max_size=5), BYTES), max_size=3).map(tuple),
)


def record(offset: int, value: bytes | None = b'{"a": 1}') -> ArchivedRecord:
    return ArchivedRecord("purchases", 0, offset, 1_000 + offset, b"c1", value, (("type", b"\xff"),))


@given(RECORDS)
def test_a_line_gives_the_record_back_and_is_one_line(found: ArchivedRecord) -> None:
    line = encode(found)
    assert b"\n" not in line
    assert decode(line, "purchases", 3) == found


@pytest.mark.parametrize("compress", [True, False])
def test_parts_join_and_are_read_from_any_offset_on(tmp_path: Path, compress: bool) -> None:
    archive = Archive.open(tmp_path)
    assert archive.end("purchases", 0) is None
    archive.partitions["purchases"] = 4
    archive.add("purchases", 0, 5, 9, [record(5), record(8, None)], compress)
    archive.add("purchases", 0, 9, 20, [record(12)], compress)
    again = Archive.open(tmp_path)
    assert again == archive
    assert (again.begin("purchases", 0), again.end("purchases", 0)) == (5, 20)
    assert list(again.records("purchases", 0)) == [record(5), record(8, None), record(12)]
    assert [r.offset for r in again.records("purchases", 0, 8)] == [8, 12]
    assert list(again.records("purchases", 0, 20)) == list(again.records("browsing", 0)) == []


def test_the_same_records_are_the_same_bytes(tmp_path: Path) -> None:
    files = []
    for name in "ab":
        archive = Archive(tmp_path / name)
        part = archive.add("purchases", 0, 0, 3, [record(1)], True)
        files.append((tmp_path / name / part.file).read_bytes())
    assert files[0] == files[1]


def test_what_is_in_no_list_is_written_over(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    (tmp_path / "purchases").mkdir()
    (tmp_path / "purchases" / f"0-{0:020d}-{3:020d}.jsonl.part").write_bytes(b"half a l")
    archive.add("purchases", 0, 0, 3, [record(1)], False)
    assert list(Archive.open(tmp_path).records("purchases", 0)) == [record(1)]


def test_a_part_that_breaks_off_is_not_there(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.add("purchases", 0, 0, 3, [record(1)], True)

    def broken() -> object:
        yield record(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        archive.add("purchases", 0, 3, 6, broken(), True)  # type: ignore[arg-type]
    assert Archive.open(tmp_path).end("purchases", 0) == 3
    archive.add("purchases", 0, 3, 6, [record(4)], True)
    assert [r.offset for r in Archive.open(tmp_path).records("purchases", 0)] == [1, 4]


def test_a_gap_between_parts_or_before_the_log_is_refused(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.add("purchases", 0, 0, 3, [record(1)], True)
    with pytest.raises(LogMismatch, match="goes on at 3, not at 4"):
        archive.add("purchases", 0, 4, 6, [], True)
    archive.join("purchases", 0, 3)
    archive.join("purchases", 1, 99)
    with pytest.raises(LogMismatch, match="records 3 to 6 are in neither"):
        archive.join("purchases", 0, 7)


@pytest.mark.parametrize("harm", ["cut", "other", "gone"])
def test_a_file_that_was_harmed_is_told(tmp_path: Path, harm: str) -> None:
    archive = Archive(tmp_path)
    part = archive.add("purchases", 0, 0, 9, [record(1), record(2)], harm == "cut")
    path = tmp_path / part.file
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    elif harm == "other":
        path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    else:
        path.unlink()
    with pytest.raises(LogMismatch, match="offsets 0 to 8, 2 records"):
        list(archive.records("purchases", 0))


@pytest.mark.parametrize("text", ["", "[]", '{"version": 2}', '{"version": 1, "partitions": {}, "parts": [{}]}'])
def test_a_list_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / LIST).write_text(text)
    with pytest.raises(UsageError, match="no list of an archive"):
        Archive.open(tmp_path)


def test_a_list_with_a_gap_is_refused(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.add("purchases", 0, 0, 3, [], True)
    archive.add("purchases", 0, 3, 6, [], True)
    listed = json.loads((tmp_path / LIST).read_text())
    listed["parts"][1]["begin"] = 4
    (tmp_path / LIST).write_text(json.dumps(listed))
    with pytest.raises(UsageError):
        Archive.open(tmp_path)
