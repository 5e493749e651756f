"""Takes events of a sink of kind nats from a stream, and prints each: nats_consumer.py URL [SUBJECT]. It needs nats-py."""

import asyncio, sys

import nats


async def main():
    connection = await nats.connect(sys.argv[1])
    jetstream = connection.jetstream()
    # The stream keeps what is not taken, and drops an event that comes a second time within two days.
    subject = sys.argv[2] if sys.argv[2:] else "dicom.>"
    await jetstream.add_stream(name="dicom", subjects=[subject], duplicate_window=172_800)
    events = await jetstream.subscribe(subject, durable="printer", manual_ack=True)
    async for message in events.messages:
        print(message.data.decode(), flush=True)
        await message.ack()


asyncio.run(main())
