"""An archive gives back what was put in, whatever the bytes are, and says so where it cannot."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow.parquet import ParquetFile

from profilestream.core.errors import LogMismatch, UsageError
from profilestream.stream import archive_files
from profilestream.stream.archive import LIST, Archive, Reading
from profilestream.stream.archive_files import ArchivedRecord, Format, check_format, decode, encode, write_records
from profilestream.stream.slices import weight

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


FORMATS: list[Format] = ["jsonl.gz", "jsonl", "parquet"]


@given(st.lists(RECORDS, max_size=5, unique_by=lambda r: r.offset))
def test_parquet_gives_records_back(found: list[ArchivedRecord]) -> None:
    with TemporaryDirectory() as folder:
        archive = Archive(Path(folder))
        found = sorted(found, key=lambda r: r.offset)
        archive.add("purchases", 3, 0, 2**63, found, "parquet")
        assert list(archive.records("purchases", 3)) == found


def test_parquet_is_read_and_written_a_group_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_files, "GROUP_RECORDS", 3)
    archive = Archive(tmp_path)
    part = archive.add("purchases", 0, 0, 10, [record(n) for n in range(10)], "parquet")
    assert ParquetFile(tmp_path / part.file).num_row_groups == 4
    assert [r.offset for r in archive.records("purchases", 0, 5)] == [5, 6, 7, 8, 9]


def test_without_its_library_parquet_is_refused_with_a_word_on_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(tmp_path)
    archive.add("purchases", 0, 0, 3, [record(1)], "jsonl")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    check_format("jsonl.gz")
    archive.check_formats()
    monkeypatch.delitem(sys.modules, "pyarrow.parquet")
    archive.add("purchases", 0, 3, 6, [record(4)], "parquet")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    for check in (archive.check_formats, lambda: check_format("parquet")):
        with pytest.raises(UsageError, match=r"pip install 'profilestream\[parquet\]'"):
            check()


@pytest.mark.parametrize("format", FORMATS)
async def test_reading_goes_on_by_weight_to_the_end(tmp_path: Path, format: Format) -> None:
    archive = Archive(tmp_path)
    archive.add("purchases", 0, 0, 6, [record(n) for n in range(5)], format)
    archive.add("purchases", 0, 6, 9, [record(7)], format)
    reading = Reading(archive, "purchases", 0, 2)
    runs = [[r.offset for r in await reading.next(weight(record(2)) * 2)] for _ in range(4)]
    assert (runs, reading.end) == ([[2, 3], [4, 7], [], []], 9)


@pytest.mark.parametrize("compress", FORMATS)
def test_parts_join_and_are_read_from_any_offset_on(tmp_path: Path, compress: Format) -> None:
    archive = Archive.open(tmp_path)
    assert archive.end("purchases", 0) is None
    archive.partitions["purchases"] = 4
    archive.ids["purchases"] = "a1"
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
        for format in FORMATS:
            archive = Archive(tmp_path / name / format)
            files.append(archive.add("purchases", 0, 0, 3, [record(1)], format).sha256)
    assert files[:3] == files[3:]


def test_what_is_in_no_list_is_written_over(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    (tmp_path / "purchases").mkdir()
    (tmp_path / "purchases" / f"0-{0:020d}-{3:020d}.jsonl.part").write_bytes(b"half a l")
    archive.add("purchases", 0, 0, 3, [record(1)], "jsonl")
    assert list(Archive.open(tmp_path).records("purchases", 0)) == [record(1)]


def test_a_part_that_breaks_off_is_not_there(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.add("purchases", 0, 0, 3, [record(1)], "jsonl.gz")

    def broken() -> object:
        yield record(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        archive.add("purchases", 0, 3, 6, broken(), "jsonl.gz")  # type: ignore[arg-type]
    assert Archive.open(tmp_path).end("purchases", 0) == 3
    archive.add("purchases", 0, 3, 6, [record(4)], "jsonl.gz")
    assert [r.offset for r in Archive.open(tmp_path).records("purchases", 0)] == [1, 4]


def test_a_gap_between_parts_or_before_the_log_is_refused(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.add("purchases", 0, 0, 3, [record(1)], "jsonl.gz")
    with pytest.raises(LogMismatch, match="goes on at 3, not at 4"):
        archive.add("purchases", 0, 4, 6, [], "jsonl.gz")
    archive.join("purchases", 0, 3)
    archive.join("purchases", 1, 99)
    with pytest.raises(LogMismatch, match="records 3 to 6 are in neither"):
        archive.join("purchases", 0, 7)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("harm", ["cut", "other", "flipped", "gone"])
def test_a_file_that_was_harmed_is_told_before_any_of_its_records_is_given(
    tmp_path: Path, harm: str, format: Format
) -> None:
    archive = Archive(tmp_path)
    part = archive.add("purchases", 0, 0, 9, [record(1), record(2)], format)
    path = tmp_path / part.file
    data = path.read_bytes()
    if harm == "cut":
        path.write_bytes(data[:-9])
    elif harm == "other":
        with path.open("wb") as out:
            write_records(out, [record(1, b'{"a": 2}'), record(2)], format)
    elif harm == "flipped":
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    else:
        path.unlink()
    with pytest.raises(LogMismatch, match="offsets 0 to 8, 2 records"):
        next(archive.records("purchases", 0))


def test_an_archive_begins_before_the_log_only_where_it_joins_it(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.add("purchases", 0, 5, 9, [record(6)], "jsonl")
    begins = [archive.begin_with("purchases", 0, begin) for begin in (0, 5, 8, 9)]
    assert begins == [0, 5, 5, 5]
    assert archive.begin_with("purchases", 1, 70) == 70
    assert [archive.covers("purchases", 0, offset) for offset in (4, 5, 8, 9)] == [False, True, True, False]
    assert (archive.first_timestamp("purchases", 0), archive.first_timestamp("purchases", 1)) == (1_006, None)
    with pytest.raises(LogMismatch, match="records 9 to 9 are in neither"):
        archive.begin_with("purchases", 0, 10)


def test_an_archive_of_another_topic_of_the_same_name_is_refused(tmp_path: Path) -> None:
    archive = Archive(tmp_path, ids={"purchases": "a1", "old": "b2"})
    archive.check_ids({"purchases": "a1", "browsing": "c3"})
    archive.check_ids({})  # a broker that does not tell
    with pytest.raises(LogMismatch, match="topic purchases is another one"):
        archive.check_ids({"purchases": "a2"})


@pytest.mark.parametrize("text", ["", "[]", '{"version": 2}', '{"version": 1, "partitions": {}, "parts": [{}]}'])
def test_a_list_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / LIST).write_text(text)
    with pytest.raises(UsageError, match="no list of an archive"):
        Archive.open(tmp_path)


def test_a_list_with_a_gap_is_refused(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.add("purchases", 0, 0, 3, [], "jsonl.gz")
    archive.add("purchases", 0, 3, 6, [], "jsonl.gz")
    listed = json.loads((tmp_path / LIST).read_text())
    listed["parts"][1]["begin"] = 4
    (tmp_path / LIST).write_text(json.dumps(listed))
    with pytest.raises(UsageError):
        Archive.open(tmp_path)
