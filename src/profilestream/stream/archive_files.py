"""How one file of an archive holds records: as JSON lines, plain or compressed, or as Parquet.

A line is a JSON object: offset, timestamp (ms), key, value, and headers, a list of [name, value]. Bytes are written as
the text that they are in UTF-8, absent ones as null; where they are none, as {"base64": ...}. Parquet has the same as
columns, bytes as they are; it needs `profilestream[parquet]`. Both are written and read by a few thousand records.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, NamedTuple

import orjson

from profilestream.core.errors import UsageError

Format = Literal["jsonl.gz", "jsonl", "parquet"]
"""How records are written, and what files of it are called behind the last dot but in their names."""

GROUP_RECORDS: Final = 2_000
"""So many records are in memory at once where Parquet is written or read."""


class ArchivedRecord(NamedTuple):
    """A record as a consumer gives it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


def write_records(out: BinaryIO, records: Iterable[Any], format: Format) -> int:
    """Writes records, and gives how many there were."""
    if format == "parquet":
        return _write_parquet(out, records)
    if format == "jsonl":
        return _write_lines(out, records)
    with gzip.GzipFile("", "wb", 6, out, mtime=0) as compressed:
        return _write_lines(compressed, records)


def read_records(path: Path, topic: str, partition: int) -> Iterator[ArchivedRecord]:
    """The records of a file, in order. Raises OSError, EOFError, ValueError, KeyError, TypeError for another file."""
    if path.suffix == ".parquet":
        yield from _read_parquet(path, topic, partition)
        return
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
        for line in lines:
            yield decode(line, topic, partition)


def check_format(format: str) -> None:
    """Raises UsageError where files of a format can neither be written nor read here."""
    if format.endswith("parquet"):
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise UsageError(
                "Parquet needs pyarrow, which is not installed; run `pip install 'profilestream[parquet]'`"
            ) from None


# JSON lines


def _write_lines(out: Any, records: Iterable[Any]) -> int:
    count = 0
    for record in records:
        out.write(encode(record) + b"\n")
        count += 1
    return count


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
    said = orjson.loads(line)
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


# Parquet


def _write_parquet(out: BinaryIO, records: Iterable[Any]) -> int:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    header = pa.struct([("name", pa.string()), ("value", pa.binary())])
    types = {
        "offset": pa.int64(),
        "timestamp": pa.timestamp("ms", tz="UTC"),
        "key": pa.binary(),
        "value": pa.binary(),
        "headers": pa.list_(header),
    }
    count, left = 0, iter(records)
    with ParquetWriter(out, pa.schema(types), compression="zstd") as writer:
        while group := list(islice(left, GROUP_RECORDS)):
            columns = {
                "offset": [r.offset for r in group],
                "timestamp": [r.timestamp for r in group],
                "key": [r.key for r in group],
                "value": [r.value for r in group],
                "headers": [[{"name": n, "value": v} for n, v in r.headers or ()] for r in group],
            }
            arrays = [pa.array(columns[name], kind) for name, kind in types.items()]
            writer.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(types)))
            count += len(group)
    return count


def _read_parquet(path: Path, topic: str, partition: int) -> Iterator[ArchivedRecord]:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        for batch in file.iter_batches(GROUP_RECORDS):
            columns = [batch.column("offset"), batch.column("timestamp").cast(pa.int64())]
            columns += [batch.column(name) for name in ("key", "value", "headers")]
            for offset, timestamp, key, value, headers in zip(*(c.to_pylist() for c in columns), strict=True):
                yield ArchivedRecord(
                    topic, partition, offset, timestamp, key, value, tuple((h["name"], h["value"]) for h in headers)
                )
