"""Takes events of a sink of kind amqp from a queue, and prints each: amqp.py URL [EXCHANGE]. It needs pika."""

import sys

import pika

connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
channel = connection.channel()
exchange = sys.argv[2] if sys.argv[2:] else "dicom"
# Durable, as the messages are: nothing is lost when the broker starts again. The routing key is the type of the event.
channel.exchange_declare(exchange, exchange_type="topic", durable=True)
channel.queue_declare("dicom-events", durable=True)
channel.queue_bind("dicom-events", exchange, routing_key="#")
for method, properties, body in channel.consume("dicom-events"):
    print(body.decode(), flush=True)
    channel.basic_ack(method.delivery_tag)
