"""What Kafka knows of a generation besides its record: the ids of its topics, and the offsets of its consumer group."""

from __future__ import annotations

import asyncio
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupIdNotFound, KafkaError, NonEmptyGroup, for_code
from aiokafka.protocol.admin import DeleteGroupsRequest

from profilestream.core.errors import ProfilestreamError, UsageError
from profilestream.stream.producers import ForwardingProducer
from profilestream.stream.reading import read_to_end
from profilestream.stream.topics import Admin, unavailable

LOOK_S: Final = 0.25


async def until_nobody_folds(kafka: str, group: str, wait_s: float) -> None:
    """Returns once no process is a member of a consumer group; raises UsageError where one is still after `wait_s`.

    One that was killed is a member until its session has timed out.
    """
    deadline = asyncio.get_running_loop().time() + wait_s
    async with Admin(kafka) as admin:
        while members := await admin.group_members(group):
            if asyncio.get_running_loop().time() > deadline:
                raise UsageError(
                    f"{members} process{'es' if members > 1 else ''} of group {group} still fold into it; stop what "
                    "runs `replay`, or the worker that keeps it in step, and run the command again"
                )
            await asyncio.sleep(LOOK_S)


async def forget_group(kafka: str, group: str) -> None:
    """Removes a consumer group with its offsets, if there is one. Raises ServerUnavailable, and UsageError where
    somebody has joined it."""
    client = AIOKafkaAdminClient(bootstrap_servers=kafka)
    try:
        await client.start()
        # The library knows the request and has no method for it.
        coordinator = await client.find_coordinator(group)
        response = await client._send_request(DeleteGroupsRequest([group]), coordinator)
        refusals = [for_code(code) for _, code in response.results if code]
    except KafkaError as error:
        raise unavailable(kafka, error) from None
    finally:
        await client.close()
    for refusal in refusals:
        if issubclass(refusal, NonEmptyGroup):
            raise UsageError(f"somebody has joined group {group} meanwhile; stop it and run the command again")
        if not issubclass(refusal, GroupIdNotFound):
            raise ProfilestreamError(f"Kafka at {kafka} does not delete group {group} ({refusal.__name__})")


async def forget_topic_ids(kafka: str, generations_topic: str, namespace: str, name: str) -> None:
    """Takes the ids of a generation's topics out of topic `generations`."""
    prefix = f"{namespace}/{name}/topics/".encode()
    known: dict[bytes, bool] = {}
    async for record in read_to_end(kafka, generations_topic):
        if record.key is not None and record.key.startswith(prefix):
            known[record.key] = bool(record.value)
    async with ForwardingProducer(kafka) as producer:
        for key, there in known.items():
            if there:
                await producer.send(generations_topic, key, None, partition=0)
        await producer.flush()
