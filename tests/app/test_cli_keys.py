"""`penjing keys`, the key that commands send, and what `penjing up` asks for on other addresses."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.accounts.keys import digest_of
from app.cli.keys import accounts_of
from app.cli.main import penjing

MADE = ("keys", "create", "--name", "ci")


def run(*arguments: str, home: Path, environment: Mapping[str, str] | None = None) -> Result:
    return CliRunner().invoke(penjing, [*arguments, "--home", str(home)], env=environment)


def made(home: Path, *arguments: str) -> dict[str, Any]:
    result = run(*MADE, *arguments, "--json", home=home)
    assert result.exit_code == 0, result.stderr
    view: dict[str, Any] = json.loads(result.stdout)
    return view


def test_create_prints_the_key_alone_and_what_it_is_beside_it(tmp_path: Path) -> None:
    result = run(*MADE, "--scope", "submit", "--expires", "90d", home=tmp_path)

    text = result.stdout.strip()
    with accounts_of(tmp_path) as accounts:
        [key] = accounts.store.all_keys()
    assert (result.exit_code, key.digest) == (0, digest_of(text))
    assert key.expires_at is not None
    assert (key.expires_at - key.created_at).days == 90
    assert text not in result.stderr
    assert key.id in result.stderr
    assert "shown this once" in result.stderr
    assert "PENJING_API_KEY" in result.stderr


def test_list_shows_ids_in_one_piece(tmp_path: Path) -> None:
    key = made(tmp_path, "--scope", "read", "--tenant", "a-tenant-of-a-long-name")

    shown = run("keys", "list", home=tmp_path).stdout

    assert key["id"] in shown
    assert key["prefix"] in shown


def test_key_is_nowhere_in_the_home(tmp_path: Path) -> None:
    text = made(tmp_path, "--scope", "admin")["key"]
    secret = text.rpartition("_")[2].encode()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "penjing.db" for path in files)
    assert not any(secret in path.read_bytes() for path in files)


def test_create_makes_the_tenant_of_a_new_name(tmp_path: Path) -> None:
    first = made(tmp_path, "--scope", "read", "--tenant", "vision")
    again = made(tmp_path, "--scope", "read", "--tenant", "vision")

    assert (first["tenant"], again["tenant"]) == ("vision", "vision")
    with accounts_of(tmp_path) as accounts:
        assert sorted(accounts.store.tenant_names().values()) == ["default", "vision"]


def test_list_shows_every_key_but_no_text(tmp_path: Path) -> None:
    keys = [made(tmp_path, "--scope", "read", "--tenant", name) for name in ("one", "two")]

    every = run("keys", "list", "--json", home=tmp_path)
    of_one = run("keys", "list", "--tenant", "one", "--json", home=tmp_path)
    for_a_person = run("keys", "list", home=tmp_path)

    assert {key["id"] for key in json.loads(every.stdout)["items"]} == {key["id"] for key in keys}
    assert [key["id"] for key in json.loads(of_one.stdout)["items"]] == [keys[0]["id"]]
    for result in (every, of_one, for_a_person):
        assert not any(key["key"] in result.output for key in keys)
    assert keys[1]["prefix"] in for_a_person.stdout


@pytest.mark.parametrize("named_by", ["id", "prefix", "key"])
def test_revoke_takes_an_id_a_prefix_or_the_key_itself(tmp_path: Path, named_by: str) -> None:
    key = made(tmp_path, "--scope", "read")

    result = run("keys", "revoke", key[named_by], "--json", home=tmp_path)

    assert (result.exit_code, json.loads(result.stdout)["state"]) == (0, "revoked")
    assert key["key"] not in result.output


def test_revoke_of_a_key_that_is_not_there_repeats_no_secret(tmp_path: Path) -> None:
    secret = "f" * 64
    result = run("keys", "revoke", f"pj_{'0' * 12}_{secret}", home=tmp_path)
    assert result.exit_code == 2
    assert secret not in result.output


@pytest.mark.parametrize(
    "wrong",
    [
        ("--scope", "root"),
        ("--scope", "read", "--expires", "0d"),
        ("--scope", "read", "--expires", "soon"),
        ("--scope", "read", "--expires", "9999d"),
        ("--scope", "read", "--expires", "9" * 12 + "d"),
        ("--scope", "read", "--expires", ""),
        ("--scope", "read", "--expires", "1_0d"),
        ("--scope", "read", "--expires", "\u0661d"),
        ("--scope", "read", "--tenant", "a b"),
        ("--scope", "read", "--name", ""),
        (),
    ],
)
def test_create_refuses_what_makes_no_key(tmp_path: Path, wrong: tuple[str, ...]) -> None:
    assert run(*MADE, *wrong, home=tmp_path).exit_code == 2


def test_database_that_does_not_answer_is_told_without_its_password(tmp_path: Path) -> None:
    environment = {"PENJING_DATABASE_URL": "postgresql://u:pass-word@127.0.0.1:1/none"}
    result = run("keys", "list", home=tmp_path, environment=environment)
    assert result.exit_code == 4
    assert "pass-word" not in result.output


def test_up_on_another_address_refuses_to_start_without_an_admin_key(tmp_path: Path) -> None:
    made(tmp_path, "--scope", "submit")
    result = run("up", "--host", "0.0.0.0", "--port", "0", home=tmp_path)

    assert result.exit_code == 2
    assert "penjing keys create" in result.stderr
    assert "--scope admin" in result.stderr


def test_up_on_another_address_refuses_to_go_without_keys(tmp_path: Path) -> None:
    made(tmp_path, "--scope", "admin")
    environment = {"PENJING_REQUIRE_KEYS": "false"}
    result = run("up", "--host", "0.0.0.0", home=tmp_path, environment=environment)
    assert (result.exit_code, "PENJING_REQUIRE_KEYS" in result.stderr) == (2, True)
