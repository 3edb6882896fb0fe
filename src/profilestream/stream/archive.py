"""An archive: records of topics in files, with the places that they had in Kafka, so that log and archive join.

    DIR/archive.json                             what is there: see `Archive`
    DIR/<topic>/<partition>-<begin>-<end>.FORMAT  the records of a partition from one offset to before another

The list of files is written last, in one step. So a file is in the list whole or not at all, whatever breaks off; the
next export writes over what is in no list. Each file begins where the one before it ends: holes in a log (compaction,
markers) lie within files, and nothing lies between them. A file that is not byte for byte what was written is found out
before any record of it is given. How records lie in a file is in archive_files.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

from profilestream.core.errors import LogMismatch, UsageError
from profilestream.stream.archive_files import ArchivedRecord, Format, check_format, read_records, write_records
from profilestream.stream.slices import weight

LIST: Final = "archive.json"
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Part:
    """One file: the offsets of a partition from `begin` to before `end`, how many `records` are there, its SHA-256."""

    topic: str
    partition: int
    begin: int
    end: int
    records: int
    file: str
    sha256: str


@dataclass(slots=True)
class Archive:
    """A folder of parts, in order of their offsets within each partition; `partitions` is the count of each topic,
    `ids` what Kafka calls it besides its name, where it tells (see topic_ids.py)."""

    directory: Path
    partitions: dict[str, int] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    parts: dict[tuple[str, int], list[Part]] = field(default_factory=dict)

    @classmethod
    def open(cls, directory: Path) -> Archive:
        """What is in a folder; one without a list is empty. Raises UsageError for a list that cannot be understood."""
        archive = cls(directory)
        path = directory / LIST
        try:
            listed: Any = json.loads(path.read_text(encoding="utf-8"))
            if listed["version"] != VERSION:
                raise ValueError
            archive.partitions = {str(topic): int(count) for topic, count in listed["partitions"].items()}
            archive.ids = {str(topic): str(one) for topic, one in listed["ids"].items()}
            for entry in listed["parts"]:
                archive._put(Part(**entry))
        except FileNotFoundError:
            return archive
        except (OSError, ValueError, KeyError, TypeError):
            raise UsageError(f"{path} is no list of an archive that this version can read") from None
        return archive

    def end(self, topic: str, partition: int) -> int | None:
        """The first offset behind what is archived; None where nothing is."""
        parts = self.parts.get((topic, partition))
        return parts[-1].end if parts else None

    def begin(self, topic: str, partition: int) -> int | None:
        """The first offset that is archived."""
        parts = self.parts.get((topic, partition))
        return parts[0].begin if parts else None

    def covers(self, topic: str, partition: int, offset: int) -> bool:
        """Whether what follows an offset is archived here."""
        parts = self.parts.get((topic, partition), [])
        return bool(parts) and parts[0].begin <= offset < parts[-1].end

    def join(self, topic: str, partition: int, log_begin: int) -> None:
        """Raises LogMismatch where offsets are neither archived nor in a log that begins at `log_begin`."""
        end = self.end(topic, partition)
        if end is not None and end < log_begin:
            raise LogMismatch(
                f"topic {topic}, partition {partition}: the archive ends at {end}, and the log begins at {log_begin}; "
                f"records {end} to {log_begin - 1} are in neither. Use an archive that has them, or another folder"
            )

    def begin_with(self, topic: str, partition: int, log_begin: int) -> int:
        """The first offset that archive or log have, of a log that begins at `log_begin`.

        Raises LogMismatch where the archive has older records, and does not join the log.
        """
        begin = self.begin(topic, partition)
        if begin is None or begin >= log_begin:
            return log_begin
        self.join(topic, partition, log_begin)
        return begin

    def check_ids(self, ids: Mapping[str, str]) -> None:
        """Raises LogMismatch where a topic that Kafka calls by these ids now is another one than was archived."""
        for topic, archived in self.ids.items():
            if ids.get(topic, archived) != archived:
                raise LogMismatch(
                    f"topic {topic} is another one than was archived in {self.directory}: it was made anew, or the "
                    "archive is of another Kafka. Offsets of the two do not join; use another folder"
                )

    def check_formats(self) -> None:
        """Raises UsageError where a file needs what is not installed."""
        for suffix in {Path(part.file).suffix for parts in self.parts.values() for part in parts}:
            check_format(suffix)

    def add(self, topic: str, partition: int, begin: int, end: int, records: Iterable[Any], format: Format) -> Part:
        """Writes the next part of a partition, and the list with it.

        Raises LogMismatch where it does not begin where the former part ends, OSError where nothing can be written.
        """
        former = self.end(topic, partition)
        if former is not None and former != begin:
            raise LogMismatch(f"topic {topic}, partition {partition}: the archive goes on at {former}, not at {begin}")
        name = f"{topic}/{partition}-{begin:020d}-{end:020d}.{format}"
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with _durably(path) as out:
            count = write_records(out, records, format)
        part = Part(topic, partition, begin, end, count, name, _sha256(path))
        self._put(part)
        self._write_list()
        return part

    def records(self, topic: str, partition: int, begin: int = 0) -> Iterator[ArchivedRecord]:
        """The records of a partition from an offset on, in order. Raises LogMismatch for a file that is not whole."""
        for part in self.parts.get((topic, partition), ()):
            if part.end > begin:
                yield from (record for record in self._read(part) if record.offset >= begin)

    def first_timestamp(self, topic: str, partition: int) -> int | None:
        """The timestamp (ms) of the first record of a partition, None where none is archived; raises as `records`."""
        return next((record.timestamp for record in self.records(topic, partition)), None)

    def _read(self, part: Part) -> Iterator[ArchivedRecord]:
        path, count, at = self.directory / part.file, 0, part.begin
        try:
            if _sha256(path) != part.sha256:
                raise ValueError
            for record in read_records(path, part.topic, part.partition):
                if not at <= record.offset < part.end:
                    raise ValueError
                at, count = record.offset + 1, count + 1
                yield record
            if count != part.records:
                raise ValueError
        except (OSError, EOFError, ValueError, KeyError, TypeError):
            raise LogMismatch(
                f"{path} is not what was archived of topic {part.topic}, partition {part.partition} "
                f"(offsets {part.begin} to {part.end - 1}, {part.records} records); restore the file"
            ) from None

    def _put(self, part: Part) -> None:
        own = self.parts.setdefault((part.topic, part.partition), [])
        if own and own[-1].end != part.begin:
            raise ValueError
        own.append(part)

    def _write_list(self) -> None:
        parts = [asdict(part) for key in sorted(self.parts) for part in self.parts[key]]
        topics = {"partitions": dict(sorted(self.partitions.items())), "ids": dict(sorted(self.ids.items()))}
        listed = {"version": VERSION, **topics, "parts": parts}
        with _durably(self.directory / LIST) as out:
            out.write(json.dumps(listed, indent=1, ensure_ascii=False).encode() + b"\n")


class _durably:
    """Opens a file that takes its name when it is written whole, and survives a loss of power from then on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._out: BinaryIO

    def __enter__(self) -> BinaryIO:
        self._out = self._part.open("wb")
        return self._out

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self._out.flush()
            os.fsync(self._out.fileno())
        self._out.close()
        if kind is None:
            self._part.replace(self._path)


class Reading:
    """One partition's archived records from an offset on, a few at a time; files are read in a thread."""

    def __init__(self, archive: Archive, topic: str, partition: int, begin: int) -> None:
        end = archive.end(topic, partition)
        assert end is not None
        self.end = end
        self._records = archive.records(topic, partition, begin)

    async def next(self, bytes_max: int) -> list[ArchivedRecord]:
        """The next records, until they weigh so much; none at the end. Raises LogMismatch for a damaged file."""
        return await asyncio.to_thread(self._take, bytes_max)

    def _take(self, bytes_max: int) -> list[ArchivedRecord]:
        found: list[ArchivedRecord] = []
        size = 0
        for record in self._records:
            found.append(record)
            size += weight(record)
            if size >= bytes_max:
                break
        return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
