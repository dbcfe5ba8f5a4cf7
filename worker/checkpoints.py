"""What attempts of a job leave for the next one: a folder a job, beside those of the workers.

The folder is this host's. An attempt on another host starts anew, unless they share that folder.
"""

from pathlib import Path

from worker.removal import remove_tree
from worker.workshop import Workshop


def checkpoint_folder(shop: Workshop, job_id: str) -> Path:
    return _root(shop) / job_id


def forget_checkpoints(shop: Workshop, job_id: str) -> None:
    """The job has ended: nobody will go on with it."""
    remove_tree(checkpoint_folder(shop, job_id))


def sweep_checkpoints(shop: Workshop) -> None:
    """Remove those of jobs that ended elsewhere, or are gone."""
    root = _root(shop)
    for folder in root.iterdir() if root.exists() else ():
        if shop.leases.has_ended(folder.name):
            forget_checkpoints(shop, folder.name)


def _root(shop: Workshop) -> Path:
    return shop.folder.parent / "checkpoints"
