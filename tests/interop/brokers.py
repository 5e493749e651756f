"""Brokers as processes on ports of their own, which can be stopped, killed and started again with what they have on disk."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import peers


class Broker:
    """A process and its children."""

    def __init__(self, directory: Path, port: int | None = None):
        self.directory = directory
        self.directory.mkdir(exist_ok=True)
        self.port = port or peers.free_port()
        self.process = None

    def start(self) -> None:
        command, environment = self.command()
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=os.environ | environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        peers.wait_for_port(self.process, self.port, limit_s=180)

    def end(self, with_signal: signal.Signals) -> None:
        if self.process is not None:
            group, deadline = self.process.pid, time.monotonic() + 180
            os.killpg(group, with_signal)
            self.process.wait(timeout=180)
            self.process = None
            # The process that was started may be a shell, which ends before the server does.
            with contextlib.suppress(ProcessLookupError):
                while time.monotonic() < deadline:
                    os.killpg(group, 0)
                    time.sleep(0.05)
                raise AssertionError("the broker does not end")

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def stop(self) -> None:
        self.end(signal.SIGTERM)


class NatsServer(Broker):
    """A nats-server with JetStream."""

    kind = "nats"
    scheme = "nats"

    def __init__(self, directory: Path, *options: str):
        super().__init__(directory)
        self.options = options

    def command(self):
        store = str(self.directory / "store")
        return [peers.program("nats-server"), "-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", store, *self.options], {}


class RabbitMq(Broker):
    """A RabbitMQ of one node, without the wrapper of Debian, which runs it as another user."""

    kind = "amqp"
    scheme = "amqp"

    def __init__(self, directory: Path, *configuration: str):
        super().__init__(directory)
        self.distribution, self.epmd = peers.free_port(), peers.free_port()
        (self.directory / "rabbitmq.conf").write_text("\n".join((f"listeners.tcp.1 = 127.0.0.1:{self.port}", *configuration)) + "\n")
        (self.directory / "plugins").write_text("[].\n")

    def command(self):
        program = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
        assert program.exists(), "the peer rabbitmq-server is not installed"
        directory = str(self.directory)
        return [str(program)], {
            "HOME": directory,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self.epmd),
            "RABBITMQ_NODENAME": f"interop{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self.distribution),
            "RABBITMQ_MNESIA_BASE": f"{directory}/data",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_LOG_BASE": directory,
            "RABBITMQ_PID_FILE": f"{directory}/pid",
            "RABBITMQ_CONFIG_FILE": f"{directory}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{directory}/plugins",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +S 1",
        }

    def end(self, with_signal: signal.Signals) -> None:
        super().end(with_signal)
        # The name server of Erlang stays behind.
        subprocess.run(["epmd", "-port", str(self.epmd), "-kill"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
