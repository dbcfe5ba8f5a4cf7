"""`penjing quotas` and `penjing audit` on the database of a home."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.accounts.quotas import NO_QUOTAS, quotas_of
from app.cli.main import penjing
from app.database.engine import Database


def run(home: Path, *words: str) -> Result:
    return CliRunner().invoke(penjing, [*words, "--home", str(home)])


def given(home: Path, *words: str) -> dict[str, Any]:
    result = run(home, *words, "--json")
    assert result.exit_code == 0, result.output
    read: dict[str, Any] = json.loads(result.stdout)
    return read


def test_quotas_are_agreed_on_and_taken_back(tmp_path: Path) -> None:
    agreed = given(
        tmp_path,
        *("quotas", "default", "storage_bytes=10GiB", "run_s=100h", "jobs_running=2"),
        "jobs_queued=any",
    )
    assert agreed["quotas"] == {
        "storage_bytes": 10 * 2**30,
        "run_s": 360_000,
        "jobs_running": 2,
        "jobs_queued": None,
    }
    seconds = given(tmp_path, "quotas", "default", "run_s=90s")["quotas"]["run_s"]
    assert seconds == 90
    assert "90s" in run(tmp_path, "quotas", "default").stdout
    left = given(tmp_path, "quotas", "default", "run_s=default", "jobs_running=3")["quotas"]
    assert left == {"storage_bytes": 10 * 2**30, "jobs_running": 3, "jobs_queued": None}
    assert given(tmp_path, "quotas", "default")["quotas"] == left

    database = Database(f"sqlite:///{tmp_path / 'penjing.db'}")
    with database.read() as connection:
        assert quotas_of(connection, "ten_default", NO_QUOTAS).storage_bytes == 10 * 2**30
    database.close()


@pytest.mark.parametrize(
    "change",
    [
        *("storage=1", "storage_bytes", "jobs_running=-1", "jobs_running=1.5", "run_s=x"),
        *("run_s=inf", "jobs_running=1_0", "jobs_queued=\u0661\u0660", "storage_bytes=1_0"),
        *(
            "storage_bytes=\u0661GiB",
            "run_s=1_0h",
            f"run_s={'9' * 12}d",
            "run_s=s",
            "jobs_queued=1s",
        ),
    ],
)
def test_quota_that_is_none_is_refused_and_changes_nothing(tmp_path: Path, change: str) -> None:
    assert run(tmp_path, "quotas", "default", change).exit_code == 2
    assert given(tmp_path, "quotas", "default")["quotas"] == {}


def test_quotas_are_shown_as_they_would_be_given(tmp_path: Path) -> None:
    changes = ("storage_bytes=20GiB", "run_s=100h", "jobs_running=2", "jobs_queued=any")

    shown = run(tmp_path, "quotas", "default", *changes).stdout

    for words in ("21474836480 (20.0 GiB)", "100h", "2 ", "any", "as the settings say"):
        assert f"│ {words}" in shown


def test_audit_log_is_shown_with_times_in_one_piece(tmp_path: Path) -> None:
    given(tmp_path, "quotas", "default", "jobs_queued=5")
    [entry] = given(tmp_path, "audit")["items"]

    shown = run(tmp_path, "audit").stdout

    assert f"│ {entry['at'][:19].replace('T', ' ')} │ default" in shown


def test_quotas_of_a_tenant_that_is_not_there_are_refused(tmp_path: Path) -> None:
    result = run(tmp_path, "quotas", "nobody")
    assert result.exit_code != 0
    assert "there is no tenant 'nobody'" in result.output


def test_what_is_done_on_the_host_is_written_down(tmp_path: Path) -> None:
    made = given(
        tmp_path, "keys", "create", "--name", "ci", "--scope", "read", "--tenant", "vision"
    )
    given(tmp_path, "keys", "revoke", made["id"])
    given(tmp_path, "quotas", "default", "jobs_queued=5")

    entries = given(tmp_path, "audit")["items"][::-1]

    assert [(one["action"], one["tenant"], one["object_id"]) for one in entries] == [
        ("tenant.create", "vision", entries[0]["tenant_id"]),
        ("api_key.create", "vision", made["id"]),
        ("api_key.revoke", "vision", made["id"]),
        ("quotas.set", "default", "ten_default"),
    ]
    assert made["key"] not in json.dumps(entries)
    assert len(given(tmp_path, "audit", "--tenant", "vision")["items"]) == 3
    assert len(given(tmp_path, "audit", "--limit", "1")["items"]) == 1
    assert "api_key.create" in run(tmp_path, "audit").output
