"""The same cases as uploads to a whole `penjing up`, and an honest job after them."""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.stacks import Up, penjing_up
from tests.fuzz.over_http import MOST_BYTES, WAIT_S, send_to
from tests.hostile_files import CORPUS

JOB_LIMIT_S = 240
HONEST = (CORPUS / "m01_ok.keras").read_bytes()
PRUNING: dict[str, Any] = {"technique": "magnitude_pruning", "sparsity": 0.5}


def send_to_stack(start: int, count: int, formats: tuple[str, ...] = ()) -> list[str]:
    """Upload `count` cases. Returns: what is wrong; as over ASGI, or a part that died of them."""
    environment = {
        **os.environ,
        "PENJING_MAX_UPLOAD_BYTES": str(MOST_BYTES),
        "PENJING_INSPECTION_WAIT_S": str(WAIT_S),
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        penjing_up(Path(folder) / "home", environment=environment) as up,
    ):
        return asyncio.run(_send(up, range(start, start + count), formats))


async def _send(up: Up, numbers: range, formats: tuple[str, ...]) -> list[str]:
    parts = up.parts
    async with httpx.AsyncClient(base_url=up.url, timeout=WAIT_S + 30, trust_env=False) as http:
        complaints = await send_to(http, up.home, parts["api"], numbers, formats)
        state = await _honest_job(http)
    complaints += [f"an honest job is {state}"] if state != "succeeded" else []
    complaints += ["a part was started anew"] if up.parts != parts else []
    left = [path.name for path in (up.home / "inspections").glob("*")]
    return complaints + ([f"left of inspections: {left}"] if left else [])


async def _honest_job(http: httpx.AsyncClient) -> str:
    """What becomes of a job that nothing is wrong with."""
    model = (await http.post("/v1/models", params={"name": "m"}, content=HONEST)).json()
    body = {"model_id": model["id"], "recipe": {"steps": [PRUNING]}, "outputs": ["tflite"]}
    job = (await http.post("/v1/jobs", json=body)).json()
    async with asyncio.timeout(JOB_LIMIT_S):
        while not job["finished_at"]:
            waiting = {"Prefer": "wait=30"}
            job = (await http.get(f"/v1/jobs/{job['id']}", headers=waiting)).json()
    return str(job["state"])
