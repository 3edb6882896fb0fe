"""The exported JSON Schemas."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
from typer.testing import CliRunner

from profilestream.cli.schemas import register
from profilestream.core.events import BUILT_IN, declare
from profilestream.wire.changes import EventReference, SegmentChange, encode_change
from profilestream.wire.dead_letters import Rejection, headers
from profilestream.wire.schemas import render, schemas, write

EXPORTED = Path(__file__).parents[2] / "schemas"
ALL = schemas(BUILT_IN)
AT = "2026-01-31T09:30:00.000Z"


def test_the_exported_schemas_are_those_of_the_code() -> None:
    drifted = [name for name in ALL if (EXPORTED / name).read_text(encoding="utf-8") != render(ALL[name])]
    assert not drifted, "run `profilestream schemas schemas`"


@pytest.mark.parametrize("name", sorted(ALL))
def test_each_schema_is_itself_valid(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(ALL[name])


@pytest.mark.parametrize("event", [None, EventReference("purchases", 3, 1881, "e1")])
def test_a_segment_change_stands_before_its_schema(event: EventReference | None) -> None:
    change = SegmentChange("c42", "lapsing", "exited", 2, "time", {"a": 1}, "g1", "a1b2", 5, "profilestream/ps", event)
    jsonschema.validate(json.loads(encode_change(change)), ALL["segment-change.json"])


def test_the_headers_of_a_dead_letter_stand_before_their_schema() -> None:
    written = headers(Rejection("not_json", "the value"), "purchases", 0, 1, -1)
    jsonschema.validate({name: value.decode() for name, value in written}, ALL["dead-letter.json"])


OUTPUTS: dict[str, Any] = {
    "profile.json": {
        "customer_id": "c42",
        "generation": "g1",
        "shard": 3,
        "revision": 7,
        "as_of": AT,
        "traits": {"orders": 2, "last_order_at": AT, "top": ["a"]},
        "segments": {"big_spender": {"since": AT, "crossing": 1}},
    },
    "explain.json": {
        "customer_id": "c42",
        "segment": "big_spender",
        "member": False,
        "crossing": 0,
        "since": None,
        "conditions": [{"text": "orders >= 2", "holds": None, "value": None, "threshold": 2}],
        "changes_at": None,
    },
    "segments.json": [
        {"name": "big_spender", "description": "Spends a lot now", "members": 2},
        {"name": "lapsing", "description": "", "members": 0, "entered_1h": 0, "left_1h": 1, "as_of": AT},
    ],
    "members.json": [{"customer_id": "c42", "since": AT}],
}


@pytest.mark.parametrize("name", sorted(OUTPUTS))
def test_the_contracts_outputs_stand_before_their_schemas(name: str) -> None:
    validator = jsonschema.Draft202012Validator(ALL[name])
    validator.validate(OUTPUTS[name])
    first = OUTPUTS[name][0] if isinstance(OUTPUTS[name], list) else OUTPUTS[name]
    for member in first:
        less = {key: value for key, value in first.items() if key != member}
        assert not validator.is_valid([less] if isinstance(OUTPUTS[name], list) else less)


def test_an_own_type_has_a_schema_like_a_built_in_one(tmp_path: Path) -> None:
    own = declare("review", "reviews", {"stars": "int 1..5", "extra": "json", "weight": "number 0.5..?"})
    write(tmp_path, {"review": own})
    validator = jsonschema.Draft202012Validator(json.loads((tmp_path / "review.json").read_text()))
    event = {"event_id": "e", "customer_id": "c", "occurred_at": 0, "stars": 5, "extra": [], "weight": None}
    assert validator.is_valid(event)
    for wrong in ({"stars": 6}, {"extra": None}, {"weight": 0.4}, {"customer_id": "c\n"}, {"occurred_at": "x"}):
        assert not validator.is_valid({**event, **wrong})


def test_the_command_writes_every_schema_and_leaves_other_files(tmp_path: Path) -> None:
    app = typer.Typer()
    register(app)
    (tmp_path / "shard-vectors.json").write_text("[]")
    result = CliRunner().invoke(app, [str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert {path.name for path in tmp_path.iterdir()} == {*ALL, "shard-vectors.json"}
