"""Celery's settings, nothing else."""

from celery import Celery

from app.jobs.queue import QUEUE
from app.settings import Settings

settings = Settings.from_environment()

app = Celery("penjing", broker=settings.resolved_broker_url, include=["worker.tasks"])
app.conf.update(
    accept_content=["json"],
    task_serializer="json",
    task_ignore_result=True,
    task_default_queue=QUEUE,
    # The database says whose a job is; a message is done with as soon as it has been read.
    task_acks_late=False,
    worker_prefetch_multiplier=1,
    worker_concurrency=settings.worker_concurrency,
    worker_pool="threads",
    worker_enable_remote_control=False,
    worker_hijack_root_logger=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={"socket_connect_timeout": 5, "socket_keepalive": True},
)
