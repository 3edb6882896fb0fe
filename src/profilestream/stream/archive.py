"""An archive: records of topics in files, with the places that they had in Kafka, so that log and archive join.

    DIR/archive.json                                what is there: see `Archive`
    DIR/<topic>/<partition>-<begin>-<end>.jsonl.gz  the records of a partition from one offset to before another

A line is a JSON object: offset, timestamp (ms), key, value, and headers, a list of [name, value]. Bytes are written as
the text that they are in UTF-8, absent ones as null; where they are none, as {"base64": ...}.

The list of files is written last, in one step. So a file is in the list whole or not at all, whatever breaks off; the
next export writes over what is in no list. Each file begins where the one before it ends: holes in a log (compaction,
markers) lie within files, and nothing lies between them.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from profilestream.core.errors import LogMismatch, UsageError

LIST: Final = "archive.json"
VERSION: Final = 1
COMPRESSED: Final = ".jsonl.gz"
PLAIN: Final = ".jsonl"


class ArchivedRecord(NamedTuple):
    """A record as a consumer gives it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Part:
    """One file: the offsets of a partition from `begin` to before `end`, and how many `records` are there."""

    topic: str
    partition: int
    begin: int
    end: int
    records: int
    file: str


@dataclass(slots=True)
class Archive:
    """A folder of parts, in order of their offsets within each partition; `partitions` is the count of each topic."""

    directory: Path
    partitions: dict[str, int] = field(default_factory=dict)
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

    def join(self, topic: str, partition: int, log_begin: int) -> None:
        """Raises LogMismatch where offsets are neither archived nor in a log that begins at `log_begin`."""
        end = self.end(topic, partition)
        if end is not None and end < log_begin:
            raise LogMismatch(
                f"topic {topic}, partition {partition}: the archive ends at {end}, and the log begins at {log_begin}; "
                f"records {end} to {log_begin - 1} are in neither. Use an archive that has them, or another folder"
            )

    def add(self, topic: str, partition: int, begin: int, end: int, records: Iterable[Any], compress: bool) -> Part:
        """Writes the next part of a partition, and the list with it.

        Raises LogMismatch where it does not begin where the former part ends, OSError where nothing can be written.
        """
        former = self.end(topic, partition)
        if former is not None and former != begin:
            raise LogMismatch(f"topic {topic}, partition {partition}: the archive goes on at {former}, not at {begin}")
        name = f"{topic}/{partition}-{begin:020d}-{end:020d}{COMPRESSED if compress else PLAIN}"
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        count = 0
        with _durably(path) as out:
            stream: Any = gzip.GzipFile("", "wb", 6, out, mtime=0) if compress else out
            for record in records:
                stream.write(encode(record) + b"\n")
                count += 1
            if compress:
                stream.close()
        part = Part(topic, partition, begin, end, count, name)
        self._put(part)
        self._write_list()
        return part

    def records(self, topic: str, partition: int, begin: int = 0) -> Iterator[ArchivedRecord]:
        """The records of a partition from an offset on, in order. Raises LogMismatch for a file that is not whole."""
        for part in self.parts.get((topic, partition), ()):
            if part.end > begin:
                yield from (record for record in self._read(part) if record.offset >= begin)

    def _read(self, part: Part) -> Iterator[ArchivedRecord]:
        path, count, at = self.directory / part.file, 0, part.begin
        try:
            with gzip.open(path, "rb") if part.file.endswith(".gz") else path.open("rb") as lines:
                for line in lines:
                    record = decode(line, part.topic, part.partition)
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
        listed = {"version": VERSION, "partitions": dict(sorted(self.partitions.items())), "parts": parts}
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


def encode(record: Any) -> bytes:
    """The line of a record."""
    said = {
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": _text(record.key),
        "value": _text(record.value),
        "headers": [[name, _text(value)] for name, value in record.headers or ()],
    }
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()


def decode(line: bytes, topic: str, partition: int) -> ArchivedRecord:
    """The record of a line; raises ValueError, KeyError or TypeError."""
    said = json.loads(line)
    headers = tuple((str(name), _bytes(value)) for name, value in said["headers"])
    key, value = _bytes(said["key"]), _bytes(said["value"])
    return ArchivedRecord(topic, partition, int(said["offset"]), int(said["timestamp"]), key, value, headers)


def _text(data: bytes | None) -> str | dict[str, str] | None:
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _bytes(said: Any) -> bytes | None:
    if said is None:
        return None
    return said.encode() if isinstance(said, str) else base64.b64decode(said["base64"], validate=True)
