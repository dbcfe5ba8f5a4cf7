"""The queue: wakes a worker with a job's id. What it loses, the reaper sends again."""

from typing import Protocol

from celery import Celery

TASK = "worker.tasks.optimize"
QUEUE = "penjing"
SOCKET_TIMEOUT_S = 2


class Queue(Protocol):
    def send(self, job_id: str) -> None:
        """Raises: whatever the broker's client raises when it cannot be reached."""


class CeleryQueue:
    """Sends a task's name and a job's id; knows nothing of the code that runs it."""

    def __init__(self, broker_url: str) -> None:
        self._celery = Celery(broker=broker_url, set_as_current=False)
        self._celery.conf.update(
            task_serializer="json",
            accept_content=["json"],
            task_ignore_result=True,
            broker_transport_options={
                "socket_connect_timeout": SOCKET_TIMEOUT_S,
                "socket_timeout": SOCKET_TIMEOUT_S,
                "max_retries": 0,
            },
            broker_connection_timeout=SOCKET_TIMEOUT_S,
        )

    def send(self, job_id: str) -> None:
        self._celery.send_task(TASK, kwargs={"job_id": job_id}, queue=QUEUE, retry=False)

    def close(self) -> None:
        self._celery.close()
