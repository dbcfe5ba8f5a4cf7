"""What is on the broker is data: a message that would run code as it is read is thrown away."""

import os
import uuid
from pathlib import Path

import pytest
from celery import Celery
from kombu import Queue
from kombu.serialization import registry

from app.jobs.job import JobState
from app.jobs.queue import QUEUE, TASK
from tests.e2e.faults.conftest import Farm, wait_until

pytestmark = pytest.mark.e2e


class Marks:
    """Makes a folder in whatever process unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def send(farm: Farm, body: object, serializer: str, task: str = TASK) -> None:
    """As somebody would who has got hold of the broker."""
    with Celery(broker=farm.environment["PENJING_BROKER_URL"], set_as_current=False) as celery:
        registry.enable("pickle")
        with celery.producer_pool.acquire() as producer:
            producer.publish(
                ((), {"job_id": body}, {}),
                serializer=serializer,
                routing_key=QUEUE,
                declare=[Queue(QUEUE)],
                headers={"task": task, "id": str(uuid.uuid4()), "lang": "py", "argsrepr": ""},
            )


def test_pickled_message_is_refused_and_does_no_harm(farm: Farm) -> None:
    mark = farm.home / "unpickled"
    worker = farm.start_worker()
    send(farm, Marks(mark), "pickle")
    said = farm.home / "worker.log"
    wait_until(lambda: b"Refusing to deserialize" in said.read_bytes(), "the worker refused it")
    farm.wait_for(farm.submit("quick"), JobState.SUCCEEDED)
    assert worker.poll() is None
    assert not mark.exists()


def test_message_that_names_another_task_runs_nothing(farm: Farm) -> None:
    worker = farm.start_worker()
    send(farm, "job_1", "json", task="os.system")
    said = farm.home / "worker.log"
    wait_until(lambda: b"unregistered task" in said.read_bytes(), "the worker refused it")
    farm.wait_for(farm.submit("quick"), JobState.SUCCEEDED)
    assert worker.poll() is None
