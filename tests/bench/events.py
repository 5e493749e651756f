"""What publishing events costs receiving: ct8 alone, and beside three sinks (a webhook, NATS JetStream, RabbitMQ) that catch up with what they are owed.

    TIDEGATE_BIN=… LOADTEST_BIN=target/release/tidegate-loadtest python3 tests/bench/events.py DIRECTORY [INSTANCES [EVENTS]]

So many small instances are received while no sink is there; each is an event to each sink. Then the sinks come, and ct8 with them. The webhook is a part of
this program, and both brokers run on this machine: their CPU time is said, since receiving lacks it, too. Storage roots are made below DIRECTORY, and
removed. The figures are printed and judged by nobody.
"""

import base64
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "interop"))

import launch  # noqa: E402
import peers  # noqa: E402
from brokers import NatsServer, RabbitMq  # noqa: E402
from delivery import Node, say  # noqa: E402
from test_events_brokers import Queue, Stream  # noqa: E402

ROUNDS = 3
# Seconds in which the sinks get events, and the node receives nothing.
ALONE_S = 2
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Webhook(threading.Thread):
    """Answers each request with 204; raw bytes, so that it costs little."""

    def __init__(self, port: int):
        super().__init__(daemon=True)
        self.server = socket.create_server(("127.0.0.1", port))

    def run(self) -> None:
        while True:
            peer, _ = self.server.accept()
            threading.Thread(target=self.answer, args=[peer], daemon=True).start()

    def answer(self, peer: socket.socket) -> None:
        held = b""
        with peer:
            while True:
                head, found, rest = held.partition(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]) if found else 0
                if found and len(rest) >= length:
                    held = rest[length:]
                    peer.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
                    continue
                more = peer.recv(65536)
                if not more:
                    return
                held += more


def cpu_s(group: int) -> float:
    """CPU time of the living processes of a group."""
    total = 0.0
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                fields = (process / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[2]) == group:
                total += (int(fields[11]) + int(fields[12])) * TICK_S
    return total


def used(brokers: list) -> list[float]:
    return [cpu_s(broker.process.pid) for broker in brokers] + [time.process_time()]


def tables(secret: Path, webhook: int, nats: int, amqp: int) -> str:
    of = 'events = ["instance.stored"]\ntimeout = "2s"\n'
    return (
        f'[[sink]]\nname = "webhook"\nkind = "webhook"\nurl = "http://127.0.0.1:{webhook}/"\nsecret_file = "{secret}"\n{of}'
        f'[[sink]]\nname = "nats"\nkind = "nats"\nurl = "nats://127.0.0.1:{nats}"\n{of}'
        f'[[sink]]\nname = "amqp"\nkind = "amqp"\nurl = "amqp://127.0.0.1:{amqp}"\n{of}'
    )


def ask(node: Node, *arguments: str) -> dict:
    command = [launch.program(), "events", *arguments, "--json", "--storage", str(node.root)]
    return json.loads(subprocess.run(command, capture_output=True, check=True, env=launch.environment()).stdout)


def published(node: Node) -> dict[str, int]:
    return {sink["name"]: sink["published"] for sink in ask(node)["sinks"]}


def turn(directory: Path, brokers: list, count: int, events: int) -> float:
    root = Path(tempfile.mkdtemp(dir=directory, prefix="events-"))
    alone = Node(root)
    rate_alone = alone.load("ct8", count)
    alone.stop()
    shutil.rmtree(root)

    root = Path(tempfile.mkdtemp(dir=directory, prefix="events-"))
    secret = root.with_suffix(".key")
    secret.touch(mode=0o600)
    secret.write_text("whsec_" + base64.b64encode(b"k" * 32).decode())
    for broker in brokers:
        broker.stop()
    webhook = peers.free_port()
    node = Node(root, tables(secret, webhook, *(broker.port for broker in brokers)))
    node.load("tiny", events)
    for broker in brokers:
        broker.start()
    Webhook(webhook).start()
    while not all(published(node).values()):
        for name in [name for name, number in published(node).items() if number == 0]:
            ask(node, "retry", "--sink", name, "--all")
        time.sleep(0.5)
    first = published(node)
    time.sleep(ALONE_S)
    before, began, spent = published(node), time.monotonic(), used(brokers)
    by_themselves = ", ".join(f"{(before[name] - first[name]) / ALONE_S:.0f}/s to {name}" for name in before)
    rate_beside = node.load("ct8", count)
    took = time.monotonic() - began
    gained = {name: (now - before[name]) / took for name, now in published(node).items()}
    shares = ", ".join(f"{name} {100 * (now - then) / took:.0f} %" for name, now, then in zip(["NATS", "RabbitMQ", "webhook"], used(brokers), spent))
    rates = ", ".join(f"{rate:.0f}/s to {name}" for name, rate in gained.items())
    say(f"alone {rate_alone:.0f}/s, beside {rate_beside:.0f}/s, ratio {rate_beside / rate_alone:.3f}; {rates}; of a core: {shares}; events without ct8: {by_themselves}")
    node.stop()
    shutil.rmtree(root)
    return rate_beside / rate_alone


def main() -> None:
    directory = Path(sys.argv[1])
    count, events = (int(argument) for argument in (sys.argv[2:] + ["3000", "20000"][len(sys.argv) - 2 :])[:2])
    with tempfile.TemporaryDirectory(dir=directory) as top:
        brokers = [NatsServer(Path(top) / "nats"), RabbitMq(Path(top) / "rabbitmq")]
        for broker, ends in zip(brokers, (Stream, Queue)):
            broker.start()
            ends(broker).make()
        ratios = [turn(directory, brokers, count, events) for _ in range(ROUNDS)]
        for broker in brokers:
            broker.stop()
    print(f"median ratio {statistics.median(ratios):.3f} (load average {os.getloadavg()[0]:.1f})")


if __name__ == "__main__":
    main()
