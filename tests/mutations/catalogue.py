"""The mutations: each takes away one thing that exactness rests on.

A mutation is text of a file under `src/profilestream` that stands there once, and what it becomes. `caught_by` are the
tests that are to fail with it: `SIMULATOR`, or tests of pytest.
"""

from __future__ import annotations

from typing import Final, NamedTuple

SIMULATOR: Final = "simulator"
COMMIT: Final = "tests/integration/test_store_commit.py"
ZOMBIE: Final = "tests/integration/test_emitter_exactly_once.py::test_a_zombie_that_wakes_up_can_announce_nothing"
REPAIR: Final = "tests/integration/test_repair.py::test_while_nobody_works_redis_loses_what_was_announced"
ABORTED: Final = "tests/integration/test_worker.py::test_aborted_transactions_are_never_folded_and_markers_are_no_holes"
TAKEN_BACK: Final = (
    "tests/integration/test_store_repair.py::test_a_writer_whose_changes_were_taken_back_does_not_end_the_repair"
)
STRAYS: Final = "tests/integration/test_strays_and_duplicates.py"
FORWARDED_AGAIN: Final = (
    "tests/integration/test_strays.py"
    "::test_strays_that_were_acknowledged_and_never_committed_are_forwarded_again_and_folded_once"
)
AWAY: Final = (
    "tests/property/test_canonical_states.py"
    "::test_a_shard_that_was_away_for_weeks_has_the_bytes_of_one_that_looked_each_hour"
)


class Edit(NamedTuple):
    """In `file`, `old` (which stands there once) becomes `new`."""

    file: str
    old: str
    new: str


class Mutation(NamedTuple):
    """One broken engine; `breaks` says what it no longer does."""

    name: str
    breaks: str
    edits: tuple[Edit, ...]
    caught_by: tuple[str, ...]


MUTATIONS: Final = (
    Mutation(
        "no-commit-id",
        "A commit does not look at the commit that it builds on: a zombie writes over its successor.",
        (
            Edit("store/commit.lua", "if current ~= ARGV[1] then", "if false then"),
            Edit("store/commit.lua", "if step < 1 or (step > 1 and stage ~= 'begin') then", "if false then"),
            Edit("store/commit.lua", "if tonumber(reached) >= tonumber(sequence) then", "if false then"),
        ),
        (SIMULATOR, COMMIT),
    ),
    Mutation(
        "cut-by-customer",
        "Half of a batch's customers are written under the positions from before the batch.",
        (
            Edit(
                "updater.py",
                "            self._intake.origins.update(part.origins)\n",
                "            self._intake.origins.update(part.origins)\n"
                "            first = dict(list(part.profiles.items())[: len(part.profiles) // 2])\n"
                "            mine = [c for c in part.crossings if c[0] in first]\n"
                "            self._commits.send(self.clock, first, mine, positions=self._before)\n"
                "            part.profiles = {c: p for c, p in part.profiles.items() if c not in first}\n"
                "            part.crossings = [c for c in part.crossings if c[0] in part.profiles]\n",
            ),
            Edit(
                "updater.py",
                "        batch = self._intake.take()\n",
                "        self._before = dict(self.inbox.positions)\n        batch = self._intake.take()\n",
            ),
        ),
        (SIMULATOR,),
    ),
    Mutation(
        "cut-ahead",
        "A batch that is cut for its many changes is written under the positions of all of it.",
        (
            Edit(
                "updater.py",
                "                positions=part.positions,\n",
                "                positions=None,\n",
            ),
        ),
        (SIMULATOR,),
    ),
    Mutation(
        "unacknowledged-dead-letters",
        "Positions pass dead letters and strays before Kafka has them.",
        (
            Edit(
                "updater.py",
                "            await self._intake.flush()\n",
                "            asyncio.ensure_future(self._intake.flush())\n",
            ),
        ),
        (SIMULATOR,),
    ),
    Mutation(
        "no-seek-after-a-gap",
        "A slice that begins above the position is taken as if nothing lay before it.",
        (Edit("stream/slices.py", "if piece.begin > expected:", "if False:"),),
        (SIMULATOR,),
    ),
    Mutation(
        "late-slices-folded",
        "Records below the position, fetched before a seek, are folded again.",
        (
            Edit("stream/slices.py", "        if records[-1].offset < expected:\n            return\n", ""),
            Edit("stream/slices.py", "        if records[0].offset < expected:\n", "        if False:\n"),
        ),
        (SIMULATOR,),
    ),
    Mutation(
        "no-fence",
        "An emitter opens a transactional id of its own, so that an earlier holder of the shard goes on announcing.",
        (
            Edit(
                "stream/announcer.py",
                "transactional_id=transactional_id(self._settings.namespace, self._shard),",
                "transactional_id=transactional_id(self._settings.namespace, self._shard) + str(id(self)),",
            ),
        ),
        (SIMULATOR, ZOMBIE),
    ),
    Mutation(
        "position-outside-the-transaction",
        "What was announced is noted after the transaction, not with it.",
        (
            Edit(
                "stream/announcer.py",
                "        _, offset = await _all_or_first_error(\n",
                "        await self._send(producer, settings.changes_topic, changes)\n"
                "        await producer.commit_transaction()\n"
                "        await asyncio.sleep(0.005)\n"
                "        await producer.begin_transaction()\n"
                "        (offset,) = await _all_or_first_error(\n",
            ),
            Edit(
                "stream/announcer.py",
                "            self._send(producer, settings.changes_topic, changes),\n",
                "",
            ),
        ),
        (SIMULATOR,),
    ),
    Mutation(
        "no-repair",
        "A head that lacks what was announced is folded on as if it were whole.",
        (
            Edit("repair.py", "    if announced is None or not (head.repair or not in_history):\n", "    if True:\n"),
            Edit(
                "stream/relay.py", "        if not await self._outbox.remove(position.mark):\n", "        if False:\n"
            ),
            Edit(
                "stream/relay.py", "        if position is not None and (head.announced", "        if False and (head"
            ),
        ),
        (SIMULATOR, REPAIR),
    ),
    Mutation(
        "numbers-of-the-fold",
        "After a repair crossings are numbered as the fold counts them, not on from what was announced.",
        (
            Edit(
                "core/memberships.py",
                "            number, values = announced[name] + 1, {}\n",
                "            number, values = profile.members.get(name, (announced[name] + 1, 0))[0], {}\n",
            ),
        ),
        (SIMULATOR,),
    ),
    Mutation(
        "repair-without-target",
        "A repair ends as soon as nothing waits, however far behind what was announced the shard still is.",
        (Edit("updater.py", "self._repair is not None and self.inbox.is_level():", "self._repair is not None:"),),
        (REPAIR,),
    ),
    Mutation(
        "origins-forgotten",
        "A shard does not remember which strays it has folded.",
        (
            Edit(
                "intake.py",
                "        if origin.offset <= batch.origins.get(name, self.origins.get(name, -1)):\n",
                "        if False:\n",
            ),
        ),
        (SIMULATOR, FORWARDED_AGAIN),
    ),
    Mutation(
        "holes-are-losses",
        "A hole before a slice's first record (a marker, aborted records) is taken for lost records.",
        (Edit("stream/slices.py", "if piece.begin > expected:", "if piece.records[0].offset > expected:"),),
        (SIMULATOR, ABORTED),
    ),
    Mutation(
        "read-uncommitted",
        "Records of aborted transactions are folded.",
        (Edit("stream/transport.py", 'isolation_level="read_committed"', 'isolation_level="read_uncommitted"'),),
        (ABORTED,),
    ),
    Mutation(
        "ids-forgotten",
        "Event ids are not remembered: a producer's retry counts twice.",
        (Edit("core/engine.py", "        if self.remembered.had(profile, hashed, arrival):\n", "        if False:\n"),),
        (SIMULATOR, STRAYS),
    ),
    Mutation(
        "waiting-crossings-forgotten",
        "A profile that is read back no longer knows since when a condition holds, so a dwell begins anew.",
        (Edit("wire/states.py", "    profile.held = held\n", "    profile.held = {}\n"),),
        (SIMULATOR,),
    ),
    Mutation(
        "timers-outside-the-commit",
        "Timers are written by a command of their own, before the commit and whether or not it is refused.",
        (
            Edit(
                "store/shard_store.py",
                "        command = commit_command(SCRIPT_SHA, self.keys, commit, self._timers_page_max)\n",
                "        for write in commit.profiles:\n"
                "            if write.due_changed and write.due is None:\n"
                '                self._pipeline.send("ZREM", self.keys.timers, write.customer_id)\n'
                "            elif write.due_changed and write.due is not None:\n"
                '                self._pipeline.send("ZADD", self.keys.timers, write.due, write.customer_id)\n'
                "            write.due_changed = False\n"
                "        command = commit_command(SCRIPT_SHA, self.keys, commit, self._timers_page_max)\n",
            ),
        ),
        (SIMULATOR,),
    ),
    Mutation(
        "cache-kept",
        "Profiles in the cache outlive the updater that is dropped after a conflict or a lost reply.",
        (
            Edit(
                "store/profile_cache.py",
                "self._cached: OrderedDict[str, Profile] = OrderedDict()",
                "self._cached: OrderedDict[str, Profile] = _KEPT.setdefault((id(engine), store.keys), OrderedDict())",
            ),
            Edit("store/profile_cache.py", "class ProfileCache:", "_KEPT: dict = {}\n\n\nclass ProfileCache:"),
        ),
        (SIMULATOR,),
    ),
    Mutation(
        "removed-before-announced",
        "The outbox is emptied before the transaction that announces is committed.",
        (
            Edit(
                "stream/relay.py",
                "            position, changes = await self._announce(commits)  # 5\n",
                "            head = commits[-1].head\n"
                "            early = AnnouncedPosition(self._generation, head.sequence, head.commit, turn=self._turn)\n"
                "            await self._remove(early)\n"
                "            position, changes = await self._announce(commits)  # 5\n",
            ),
        ),
        (SIMULATOR,),
    ),
    Mutation(
        "conflict-ignored",
        "A refused commit is taken for a written one.",
        (Edit("committing.py", '            if reply.status != "done":\n', "            if False:\n"),),
        (SIMULATOR,),
    ),
    Mutation(
        "turn-without-a-marker",
        "A promoted generation reconciles at once, without opening its turn.",
        (
            Edit("repair.py", "    return announced.turn < turn\n", "    return False\n"),
            Edit(
                "stream/relay.py",
                "        return (position.turn, position.generation) == (self._turn, self._generation)\n",
                "        return position.turn <= self._turn\n",
            ),
        ),
        (SIMULATOR,),
    ),
    Mutation(
        "differs-unkept",
        "Numbers that are compared ahead of a promotion are taken as agreed, also where they are not.",
        (Edit("aligning.py", '"differs" if name in differing else "told"', '"told"'),),
        (SIMULATOR,),
    ),
    Mutation(
        "aligned-too-far",
        "The mark of a silent shard lies behind what it has compared.",
        (Edit("aligning.py", 'Mark(0, "0", self.since)', 'Mark(0, "0", self.since + 2)'),),
        (SIMULATOR,),
    ),
    Mutation(
        "untold-forgotten",
        "What subscribers had not been told of a membership is not carried with it.",
        (Edit("carrying.py", "                part.untold += self._untold_of(customer_id)\n", ""),),
        (SIMULATOR,),
    ),
    Mutation(
        "silent-ahead",
        "A silent generation folds as far as the log goes, past the live one: strays fall between the two.",
        (Edit("beginning.py", "        leader = role.leader\n", "        leader = None\n"),),
        (SIMULATOR,),
    ),
    Mutation(
        "outbox-kept",
        "A generation that is no longer live keeps what it had not announced in its outbox.",
        (
            Edit(
                "repair.py",
                "    if not await store.absorb_outbox(head):\n        raise SetBack\n    return head\n\n\ndef first",
                "    return head\n\n\ndef first",
            ),
        ),
        (SIMULATOR,),
    ),
    Mutation(
        "removed-segments-forgotten",
        "Members of a segment that the new definitions do not have are never told to have left.",
        (Edit("core/memberships.py", " if announced[name] % 2]\n", " if False]\n"),),
        (SIMULATOR,),
    ),
    Mutation(
        "time-leaps",
        "Time passes for a profile straight to the clock of whoever looks: two replays differ by how they were cut.",
        (
            Edit(
                "store/profile_writes.py",
                "self._engine.advance(profile, profile.wake, crossings)",
                "self._engine.advance(profile, clock, crossings)",
            ),
        ),
        (AWAY,),
    ),
    Mutation(
        "outbox-taken-unnoticed",
        "Who takes a shard's outbox back lets a former worker end the repair whose changes were in it.",
        (
            Edit("store/absorb.lua", "if #entries > 0 then call('HSET', KEYS[1], 'commit', ARGV[2]) end", ""),
            Edit("store/absorb.lua", "#entries > 0 and ARGV[2] or ARGV[1]", "ARGV[1]"),
        ),
        (TAKEN_BACK,),
    ),
    Mutation(
        "role-forgotten",
        "A shard that was reading its head while the generation was promoted works on in the former role.",
        (Edit("shard.py", "            if role is not tools.role:\n", "            if False:\n"),),
        (SIMULATOR,),
    ),
)
