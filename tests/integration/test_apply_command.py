"""`apply` on real servers: what the plan said is what is announced; a "no", a kill, a stale plan change nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import redis
from tests.conftest import Cli
from tests.integration.isolation import fresh_sources
from tests.kafka_records import event_lines

from profilestream.settings import Settings

DAY = 86_400_000
FIRST = """
[traits]
orders = "count(purchase)"
spend = "sum(purchase.amount_minor)"

[segments.big]
enter = "spend >= 500"
exit = "spend < 300"

[segments.twice]
enter = "orders >= 2"
"""
RAISED = (
    FIRST.replace("spend >= 500", "spend >= 800")
    .replace("spend < 300", "spend < 600")
    .replace("orders >= 2", "orders >= 4")
)
WIDENED = RAISED.replace("[segments.big]", 'dearest = "max(purchase.amount_minor)"\n[segments.big]') + (
    '[segments.dear]\nenter = "dearest >= 180"\n'
)


class Shop:
    """An installation whose changes can be told apart by their cause."""

    def __init__(self, cli: Cli, workdir: Path, settings: Settings) -> None:
        self.cli, self.workdir, self.settings = cli, workdir, settings
        self.sources = fresh_sources(settings)

    def write(self, name: str, text: str) -> None:
        (self.workdir / name).write_text(text + self.sources)

    def begin(self) -> None:
        self.write("shop.toml", FIRST)
        self.cli("init", "shop.toml", "--shards", "2")
        orders = [
            {"event_id": f"e{n}", "customer_id": f"c{n % 40}", "occurred_at": n * DAY, "amount_minor": n}
            for n in range(1, 201)
        ]
        (self.workdir / "orders.jsonl").write_text(event_lines(orders))
        self.cli("produce", f"{self.settings.namespace}.purchases", "orders.jsonl")
        self.cli("worker", "--clock", "event", "--until-caught-up")
        self.cli("emitter", "--until-caught-up")

    def live(self) -> str:
        with redis.Redis.from_url(str(self.settings.redis), decode_responses=True) as client:
            return str(client.get(f"{self.settings.namespace}:live"))

    def meta(self, generation: str) -> dict[str, str]:
        with redis.Redis.from_url(str(self.settings.redis), decode_responses=True) as client:
            found: Any = client.hgetall(f"{self.settings.namespace}:{generation}:meta")
            return dict(found)

    def by_definition(self, generation: str) -> set[tuple[str, str, str]]:
        """What was announced because of this generation's definitions; each pair's numbers go 1, 2, 3 over all."""
        self.cli("emitter", "--until-caught-up")
        lines = self.cli("changes", "--json").stdout.splitlines()
        numbers: dict[tuple[str, str], int] = {}
        found = []
        for data in (json.loads(line)["data"] for line in lines):
            pair = data["customer_id"], data["segment"]
            numbers[pair] = numbers.get(pair, 0) + 1
            assert data["crossing"] == numbers[pair]
            if data["cause"] == "definition" and data["generation"] == generation:
                found.append((*pair, data["change"]))
        assert len(found) == len(set(found))
        return set(found)


def planned(cli: Cli, file: str, *words: str) -> set[tuple[str, str, str]]:
    found = json.loads(cli("plan", file, "--json", *words).stdout)
    return {(c["customer_id"], c["segment"], c["change"]) for c in found["crossings"]}


def asked(environment: dict[str, str], workdir: Path, *words: str) -> subprocess.Popen[str]:
    """A command that waits for its answer."""
    command = [sys.executable, "-m", "profilestream.cli.app", *words]
    process = subprocess.Popen(
        command, cwd=workdir, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    said = ""
    while not said.endswith("Go on?"):
        one = process.stdout.read(1)
        assert one, said
        said += one
    return process


def test_what_a_plan_says_is_what_applying_it_announces(
    cli: Cli, cli_environment: dict[str, str], workdir: Path, own_settings: Settings
) -> None:
    shop = Shop(cli, workdir, own_settings)
    shop.begin()
    shop.write("raised.toml", RAISED)
    expected = planned(cli, "raised.toml", "--out", "plan.json")
    assert {(segment, change) for _, segment, change in expected} == {("big", "exited")}

    # A "no", as which no answer counts, leaves the generation in the making, which nobody reads or hears of.
    refused = cli("apply", "plan.json", "--clock", "event", stdin="", expect=1)
    assert "everything from the live profiles" in refused.stdout
    assert "nothing has changed; generation g2 is in the making" in refused.stderr
    assert (shop.live(), shop.by_definition("g2")) == ("g1", set())

    said = cli("apply", "plan.json", "--yes", "--clock", "event").stdout
    assert "going on with generation g2" in said and "generation g2 is live, in turn 2" in said
    assert shop.live() == "g2"
    assert shop.by_definition("g2") == expected
    assert "by now g2" in cli("apply", "plan.json", "--yes", expect=1).stderr
    assert "nothing changes" in cli("apply", "raised.toml", "--yes").stdout

    # Killed while it folds; the same command goes on, and what needs the log is there.
    shop.write("widened.toml", WIDENED)
    words = [sys.executable, "-m", "profilestream.cli.app", "apply", "widened.toml", "--yes", "--clock", "event"]
    process = subprocess.Popen(words, cwd=workdir, env=cli_environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("made generation g3"):
            break
    process.kill()
    process.wait()
    assert shop.live() == "g2"
    said = cli("apply", "widened.toml", "--yes", "--clock", "event").stdout
    assert "going on with generation g3" in said
    assert shop.live() == "g3"
    dear = {(f"c{n % 40}", "dear", "entered") for n in range(180, 201)}
    assert shop.by_definition("g3") == dear
    profile = json.loads(cli("profile", "c0", "--json").stdout)
    assert profile["traits"] == {"orders": 5, "spend": 40 + 80 + 120 + 160 + 200, "dearest": 200}
    assert "everything compared is what the log says" in cli("verify", "--all").stdout


def test_what_is_to_begin_now_begins_empty_and_says_since_when(
    cli: Cli, cli_environment: dict[str, str], workdir: Path, own_settings: Settings
) -> None:
    shop = Shop(cli, workdir, own_settings)
    shop.begin()
    shop.write("raised.toml", RAISED)
    shop.write("widened.toml", WIDENED)
    slow = asked(cli_environment, workdir, "apply", "raised.toml", "--clock", "event")  # would be generation g2
    said = cli("apply", "widened.toml", "--from-now", "--yes", "--clock", "event", "--announce", "none").stdout
    assert "what is new empty from now on" in said
    assert shop.live() == "g3"
    # Whoever was asked before that, and says yes now, does not undo it.
    said, wrong = slow.communicate("y\n", timeout=60)
    assert slow.returncode == 1 and "generation g3 has become live meanwhile" in wrong, said + wrong
    assert shop.live() == "g3"
    assert set(json.loads(shop.meta("g3")["complete_since"])) == {"dearest"}
    assert json.loads(cli("profile", "c0", "--json").stdout)["traits"] == {"orders": 5, "spend": 600}
    assert shop.by_definition("g3") == set()
    # What the live profiles know is not thrown away unless that is said.
    shop.write(
        "other.toml", WIDENED.replace("sum(purchase.amount_minor)", "sum(purchase[kind == 'order'].amount_minor)")
    )
    lost = cli("apply", "other.toml", "--from-now", "--yes", expect=1).stderr
    assert "spend, big: would begin empty now" in lost
    assert shop.live() == "g3"
    # Who is asked and wants to stop need not answer first.
    shop.write("first.toml", FIRST)
    asking = asked(cli_environment, workdir, "apply", "first.toml", "--clock", "event")
    asking.send_signal(signal.SIGINT)
    asking.wait(30)
    assert "interrupted: nothing has changed; generation g4 is in the making" in asking.communicate()[1]
    assert shop.live() == "g3"
