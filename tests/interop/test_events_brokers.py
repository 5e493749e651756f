"""Events to brokers that really run, and are stopped, killed, and without stream or exchange: nothing is lost, and nothing is there twice."""

import asyncio
import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nats
import pika
import pika.exceptions
import pytest

import peers
import scu
from brokers import NatsServer, RabbitMq
from ct import CT, EXPLICIT, element, image
from node import Node
from pki import Authority
from test_delivery import eventually

EXAMPLES = Path(__file__).parents[2] / "conf" / "examples"
LIMIT_S = 120


class Stream:
    """What a stream of JetStream has."""

    def __init__(self, server: NatsServer, **options):
        self.url, self.options = f"{server.scheme}://localhost:{server.port}", options

    def _ask(self, ask):
        async def connected():
            connection = await nats.connect(self.url, allow_reconnect=False, connect_timeout=5, **self.options)
            try:
                return await ask(connection.jetstream())
            finally:
                await connection.close()

        return asyncio.run(connected())

    def make(self) -> None:
        self._ask(lambda stream: stream.add_stream(name="dicom", subjects=["dicom.>"]))

    def _messages(self):
        async def read(stream):
            count = (await stream.stream_info("dicom")).state.messages
            return [await stream.get_msg("dicom", seq) for seq in range(1, count + 1)]

        return self._ask(read)

    def taken(self) -> list[tuple[str, str, dict]]:
        """Subject, id and event of each message."""
        return [(m.subject, m.headers["Nats-Msg-Id"], json.loads(m.data)) for m in self._messages()]


class Queue:
    """What a queue of RabbitMQ has been given; messages are taken from it and kept here."""

    def __init__(self, server: RabbitMq):
        self.url, self.messages = f"amqp://guest:guest@127.0.0.1:{server.port}/", []

    @contextlib.contextmanager
    def _channel(self):
        connection = pika.BlockingConnection(pika.URLParameters(self.url))
        yield connection.channel()
        connection.close()

    def make(self, bind: bool = True) -> None:
        with self._channel() as channel:
            channel.exchange_declare("dicom", exchange_type="topic", durable=True)
            channel.queue_declare("events", durable=True)
            if bind:
                channel.queue_bind("events", "dicom", routing_key="#")

    def taken(self) -> list[tuple[str, str, dict]]:
        with self._channel() as channel:
            while (message := channel.basic_get("events"))[0] is not None:
                method, properties, body = message
                assert (properties.delivery_mode, properties.content_type) == (2, "application/cloudevents+json")
                self.messages.append((f"dicom.{method.routing_key}", properties.message_id, json.loads(body)))
                channel.basic_ack(method.delivery_tag)
        return self.messages


def configuration(directory: Path, kind: str, url: str, more: str = "") -> Path:
    path = directory / "events.toml"
    path.write_text(
        '[completeness]\nstudy_quiet = "2s"\nseries_quiet = "1s"\n[[sink]]\nname = "broker"\ntimeout = "3s"\nevents = ["study.complete"]\n'
        f'kind = "{kind}"\nurl = "{url}"\n{more}\n'
    )
    return path


def send(node, *studies: str) -> None:
    # What a new catalogue finds on the disk is not announced.
    assert eventually(lambda: "catalogue caught up" in node.log_path.read_text()), "no catalogue"
    with scu.associated(node.port, [(CT, [EXPLICIT])]) as association:
        context = scu.context_id(association, CT, EXPLICIT)
        for study in studies:
            data = image(f"{study}.1.1", study, element(0x0010, 0x0010, b"PN", b"Secret^Name"), bytes(64))
            assert scu.exchange(association, scu.store_request(CT, f"{study}.1.1", data), context).Status == 0


def last_error(node) -> str:
    token = (node.root / ".tidegate/admin.token").read_text().strip()
    request = urllib.request.Request(f"{node.url}/api/sinks", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.dumps(json.load(answer))


def wait_for(sink, *studies: str) -> None:
    """Waits until there is one event of each study, and holds it to its form."""

    def subjects():
        try:
            return sorted(event["subject"] for _, _, event in sink.taken())
        except (OSError, nats.errors.Error, pika.exceptions.AMQPError) as error:
            return [repr(error)]

    assert eventually(lambda: set(subjects()) >= set(studies), LIMIT_S), subjects()
    ids = {}
    for subject, id, event in sink.taken():
        assert (subject, id) == ("dicom.study.complete", event["id"])
        assert "patient_name" not in event["data"]
        ids.setdefault(id, event)
    # At least once: the same id is the same event.
    assert sorted(event["subject"] for event in ids.values()) == sorted(studies)


@pytest.fixture
def server(request, tmp_path):
    server = request.param(tmp_path / "broker")
    yield server
    server.stop()


BOTH = pytest.mark.parametrize("server", [NatsServer, RabbitMq], indirect=True, ids=["nats", "amqp"])


@BOTH
def test_events_come_over_every_loss(server, start_node, tmp_path):
    server.start()
    is_nats = isinstance(server, NatsServer)
    sink = Stream(server) if is_nats else Queue(server)
    node = start_node(configuration(tmp_path, server.kind, f"{server.scheme}://127.0.0.1:{server.port}"), admin__listen="127.0.0.1:0")
    # Nothing there takes events yet, and the node says what is missing.
    send(node, "1.2.1")
    missing = "no stream takes this subject" if is_nats else "no exchange 'dicom'"
    assert eventually(lambda: missing in last_error(node), LIMIT_S), last_error(node)
    if not is_nats:
        sink.make(bind=False)
        assert eventually(lambda: "NO_ROUTE (312)" in last_error(node), LIMIT_S), last_error(node)
    sink.make()
    wait_for(sink, "1.2.1")
    # Killed while the connection is kept.
    server.kill()
    send(node, "1.2.2", "1.2.3")
    assert eventually(lambda: '"down"' in last_error(node), LIMIT_S), last_error(node)
    server.start()
    wait_for(sink, "1.2.1", "1.2.2", "1.2.3")
    # The node is killed with an event that it owes, and started again over the same root.
    server.stop()
    send(node, "1.2.4")
    time.sleep(3)
    node.process.send_signal(signal.SIGKILL)
    node.process.wait()
    node.log.close()
    server.start()
    again = Node(node.root.parent, tmp_path / "events.toml")
    try:
        wait_for(sink, "1.2.1", "1.2.2", "1.2.3", "1.2.4")
    finally:
        again.stop()
    log = node.log_path.read_text()
    assert "async_nats" not in log and "guest" not in log


def test_a_stream_has_an_event_once_that_was_published_twice(tmp_path, start_node):
    server = NatsServer(tmp_path / "broker")
    server.start()
    try:
        stream = Stream(server)
        stream.make()
        node = start_node(configuration(tmp_path, "nats", f"nats://127.0.0.1:{server.port}"), admin__listen="127.0.0.1:0")
        send(node, "1.2.1")
        wait_for(stream, "1.2.1")
        ((subject, id, event),) = stream.taken()
        again = stream._ask(lambda it: it.publish(subject, json.dumps(event).encode(), headers={"Nats-Msg-Id": id}))
        assert again.duplicate and len(stream.taken()) == 1
    finally:
        server.stop()


@pytest.mark.parametrize("credentials, options, login", [
    ("tide:gate:5ecret", ["--user", "tide", "--pass", "gate:5ecret"], {"user": "tide", "password": "gate:5ecret"}),
    ("t0k3n-5ecret", ["--auth", "t0k3n-5ecret"], {"token": "t0k3n-5ecret"}),
])
def test_nats_over_tls_with_credentials(credentials, options, login, tmp_path, start_node):
    authority = Authority(tmp_path)
    certificate, key = authority.node
    server = NatsServer(tmp_path / "broker", "--tls", "--tlscert", str(certificate), "--tlskey", str(key), *options)
    server.scheme = "tls"
    server.start()
    try:
        stream = Stream(server, tls=ssl.create_default_context(cafile=authority.certificate), **login)
        stream.make()
        file = tmp_path / "credentials"
        file.write_text("tide:wrong\n")
        file.chmod(0o600)
        more = f'credentials_file = "{file}"\nca = "{authority.certificate}"'
        node = start_node(configuration(tmp_path, "nats", f"tls://localhost:{server.port}", more), admin__listen="127.0.0.1:0")
        send(node, "1.2.1")
        assert eventually(lambda: "authorization violation" in last_error(node), LIMIT_S), last_error(node)
        file.write_text(credentials + "\n")
        node.process.send_signal(signal.SIGHUP)
        wait_for(stream, "1.2.1")
        assert "5ecret" not in node.log_path.read_text() + last_error(node)
    finally:
        server.stop()


def test_amqp_over_tls_with_credentials(tmp_path, start_node):
    authority = Authority(tmp_path)
    certificate, key = authority.node
    tls_port = peers.free_port()
    server = RabbitMq(
        tmp_path / "broker",
        f"listeners.ssl.1 = 127.0.0.1:{tls_port}",
        f"ssl_options.cacertfile = {authority.certificate}",
        f"ssl_options.certfile = {certificate}",
        f"ssl_options.keyfile = {key}",
    )
    server.start()
    try:
        queue = Queue(server)
        queue.make()
        file = tmp_path / "credentials"
        file.write_text("guest:wr0ng-5ecret\n")
        file.chmod(0o600)
        more = f'credentials_file = "{file}"\nca = "{authority.certificate}"'
        node = start_node(configuration(tmp_path, "amqp", f"amqps://localhost:{tls_port}", more), admin__listen="127.0.0.1:0")
        send(node, "1.2.1")
        assert eventually(lambda: "ACCESS_REFUSED" in last_error(node), LIMIT_S), last_error(node)
        file.write_text("guest:guest\n")
        node.process.send_signal(signal.SIGHUP)
        wait_for(queue, "1.2.1")
        assert "5ecret" not in node.log_path.read_text() + last_error(node)
    finally:
        server.stop()


@contextlib.contextmanager
def example(name: str, directory: Path, *arguments):
    """A consumer of the examples; its output is in a file."""
    path = directory / f"{name}.out"
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    with path.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, env=os.environ)
    try:
        yield process, path
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("kind", ["webhook", "nats", "amqp"])
def test_the_example_prints_events(kind, tmp_path, start_node):
    server = {"nats": NatsServer, "amqp": RabbitMq}.get(kind)
    server = server and server(tmp_path / "broker")
    with contextlib.ExitStack() as stack:
        if server:
            server.start()
            stack.callback(server.stop)
            url = f"{kind}://127.0.0.1:{server.port}"
            more, arguments = "", [url if kind == "nats" else f"amqp://guest:guest@127.0.0.1:{server.port}/"]
        else:
            key, port = tmp_path / "key", peers.free_port()
            key.write_text("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n")
            key.chmod(0o600)
            url, more, arguments = f"http://127.0.0.1:{port}/", f'secret_file = "{key}"', [key, port]
        name = {"nats": "nats_consumer.py"}.get(kind, f"{kind}.py")
        process, out = stack.enter_context(example(name, tmp_path, *arguments))
        node = start_node(configuration(tmp_path, kind, url, more))
        send(node, "1.2.1", "1.2.2")

        def subjects():
            return sorted(json.loads(line)["subject"] for line in out.read_text().splitlines())

        assert eventually(lambda: subjects() == ["1.2.1", "1.2.2"], LIMIT_S), (subjects(), process.poll())
