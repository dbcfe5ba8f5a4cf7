"""Sending over a real broker on a unix socket: what arrives, and how soon a failure is known."""

import base64
import json
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu.exceptions import OperationalError

from app.embedded.broker import find_server, server_command
from app.jobs.queue import QUEUE, SOCKET_TIMEOUT_S, CeleryQueue

START_LIMIT_S = 60


class Broker:
    """A server of this test alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = folder / "b.sock"
        self.url = f"redis+socket://{self._socket}"
        self.process = self.start()

    def start(self) -> "subprocess.Popen[bytes]":
        command = server_command(find_server(), self._socket, self._folder)
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        end = time.monotonic() + START_LIMIT_S
        while not self._answers():
            assert time.monotonic() < end, "the broker does not answer"
        return self.process

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def messages(self) -> list[dict[str, Any]]:
        """Oldest first."""
        with redis.Redis(unix_socket_path=str(self._socket)) as client:
            return [json.loads(text) for text in client.lrange(QUEUE, 0, -1)][::-1]

    def _answers(self) -> bool:
        try:
            with redis.Redis(unix_socket_path=str(self._socket)) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            time.sleep(0.01)
            return False


@pytest.fixture
def broker() -> Iterator[Broker]:
    # Not tmp_path: a socket's path must stay below 108 bytes.
    with tempfile.TemporaryDirectory(prefix="penjing-") as folder:
        broker = Broker(Path(folder))
        try:
            yield broker
        finally:
            broker.kill()


@pytest.fixture
def queue(broker: Broker) -> Iterator[CeleryQueue]:
    queue = CeleryQueue(broker.url)
    yield queue
    queue.close()


def ids(messages: list[dict[str, Any]]) -> list[str]:
    return [json.loads(base64.b64decode(message["body"]))[1]["job_id"] for message in messages]


def test_message_is_the_name_of_a_task_and_an_id(broker: Broker, queue: CeleryQueue) -> None:
    queue.send("job_1")

    [message] = broker.messages()
    args, kwargs, _ = json.loads(base64.b64decode(message["body"]))
    assert message["headers"]["task"] == "worker.tasks.optimize"
    assert message["content-type"] == "application/json"
    assert (args, kwargs) == ([], {"job_id": "job_1"})


def test_send_fails_at_once_when_the_broker_is_gone_and_works_when_it_is_back(
    broker: Broker, queue: CeleryQueue
) -> None:
    queue.send("job_1")
    broker.kill()
    with pytest.raises(OperationalError):
        queue.send("job_2")

    broker.start()
    queue.send("job_3")

    assert ids(broker.messages())[-1] == "job_3"


def test_send_gives_up_when_the_broker_is_frozen(broker: Broker, queue: CeleryQueue) -> None:
    queue.send("job_1")
    broker.process.send_signal(signal.SIGSTOP)
    started = time.monotonic()

    with pytest.raises(OperationalError):
        queue.send("job_2")

    assert time.monotonic() - started < 20 * SOCKET_TIMEOUT_S
