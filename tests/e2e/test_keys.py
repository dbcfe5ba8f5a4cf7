"""A stack that other machines can reach: no key, no service; a key opens it until it is revoked."""

import json
import os
from pathlib import Path

import httpx
import pytest

from tests.e2e.stacks import descendants, penjing, penjing_up

# No job is run here.
QUICK = {**os.environ, "PENJING_WARM_SPARE": "false", "PENJING_SHUTDOWN_GRACE_S": "0"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_stack_on_every_address_is_for_who_has_a_key(home: Path) -> None:
    made = penjing("keys", "create", "--name", "me", "--scope", "admin", "--json", home=home)
    key = json.loads(made.stdout)
    with_key = {**QUICK, "PENJING_API_KEY": key["key"]}
    headers = {"Authorization": f"Bearer {key['key']}"}

    with penjing_up(home, "--host", "0.0.0.0", environment=with_key) as up:

        def status(headers: dict[str, str] | None = None) -> int:
            url = f"{up.url}/v1/models"
            return httpx.get(url, headers=headers, trust_env=False, timeout=30).status_code

        # On this machine, too: it was told to be open to others.
        assert (status(), status(headers)) == (401, 200)
        assert penjing("jobs", "list", home=home).returncode == 2
        assert penjing("jobs", "list", home=home, environment=with_key).returncode == 0
        for pid in descendants(up.process.pid):
            assert key["key"].encode() not in told_of(pid)

        assert penjing("keys", "revoke", key["id"], home=home).returncode == 0
        assert status(headers) == 401

    logs = b"".join(path.read_bytes() for path in (home / "logs").iterdir())
    assert key["key"].encode() not in logs
    assert key["key"] not in (home.parent / "up.stderr").read_text()


def told_of(pid: int) -> bytes:
    """What others on this machine can see of a process: its command line and its environment."""
    folder = Path(f"/proc/{pid}")
    try:
        return (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
    except OSError:  # it has ended
        return b""
