"""Two tenants, every route, every verb: nothing of one reaches the other.

The requests come from the OpenAPI document, so a new route is covered as soon as it is there. One
with a path parameter, a query parameter or a field that names something unknown fails here, until
it is said what a tenant owns of it.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from sqlalchemy import event, select

from app.accounts.principal import Scope
from app.accounts.service import KeyWish
from app.api.deps import Services
from app.database.tables import audit_log, metadata
from app.ids import new_id
from app.jobs.listing import decode_cursor, encode_cursor
from app.jobs.request import JobRequest
from app.main import assemble
from app.settings import Settings
from tests.app.api import given
from tests.app.api.conftest import Api
from tests.app.api.generated import (
    ID,
    OPERATIONS,
    VERBS,
    Operation,
    bodies_with_an_id,
    is_id,
)
from tests.fakes import FakeClock, FakeQueue, a_change

each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=str)
guarded = pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.scope], ids=str)
# Path parameters that name what is the same for everybody.
SHARED = {"name": "magnitude_pruning"}
# Bodies are models and data sets under other names, too.
KINDS = {
    "teacher_model_id": "model_id",
    "teacher_model_ids": "model_id",
    "student_model_id": "model_id",
    "source_model_id": "model_id",
}
SETTINGS: Mapping[str, Any] = {
    "require_keys": True,
    # These tests ask more than anybody may.
    "rate_limit_requests": 0,
    "rate_limit_uploads": 0,
    "rate_limit_refused_keys": 0,
}
JSON = {"Accept": "application/json"}
STREAM = {"Accept": "text/event-stream"}
PAGE = {"Accept": "text/html"}
# For a person, and not in the OpenAPI document.
PAGES = ("/",)
PASSING = ("x-request-id", "date")
PASSING_FAMILIES = ("ratelimit", "x-ratelimit")


@dataclass(frozen=True)
class Tenant:
    """Somebody with one of everything. `owned`: ids by the parameter that names them."""

    id: str
    key: str
    reader: str
    owned: Mapping[str, list[str]]

    @property
    def ids(self) -> set[str]:
        return {self.id, *(id_ for ids in self.owned.values() for id_ in ids)}

    @property
    def some(self) -> dict[str, str]:
        """One of each, by every name it goes by."""
        one = {name: ids[0] for name, ids in self.owned.items()}
        return {**one, **{name: one[kind] for name, kind in KINDS.items()}}

    def ids_for(self, name: str) -> list[str]:
        """What it owns of what this parameter names; fails for one that nobody has heard of."""
        kind = KINDS.get(name, name)
        assert kind in self.owned, f"say in this file what a tenant owns that {name!r} names"
        return self.owned[kind]


NOBODY = Tenant("", "", "", {})


@dataclass(frozen=True)
class World:
    """The API, and the first of the two tenants."""

    portal: BlockingPortal
    api: Api
    a: Tenant

    @property
    def services(self) -> Services:
        return self.api.services

    def ask(self, method: str, path: str, key: str | None, **request: Any) -> httpx.Response:
        headers = {**JSON, **request.pop("headers", {})}
        if key is not None:
            headers |= given.bearing(key)
        asking = partial(self.api.http.request, method, path, headers=headers, **request)
        return self.portal.call(asking)

    def newcomer(self, name: str) -> Tenant:
        """Another tenant with one of everything."""
        accounts = self.services.accounts
        tenant_id = accounts.store.add_tenant(name, self.api.clock()).id
        _, key = accounts.issue(a_change(tenant_id), wish(Scope.ADMIN))
        reader, its_text = accounts.issue(a_change(tenant_id), wish(Scope.READ))
        owned = {**self.things(tenant_id), "key_id": [reader.id]}
        return Tenant(tenant_id, key, its_text, owned)

    def things(self, tenant_id: str) -> dict[str, list[str]]:
        """A free model and a free data set; a job that waits, one that runs, one that is done."""
        models = [given.a_model(self.api, f"of {tenant_id}", tenant_id=tenant_id) for _ in "12"]
        datasets = [given.a_dataset(self.api, f"of {tenant_id}", tenant_id=tenant_id) for _ in "12"]
        body = given.a_body(models[1], name=f"of {tenant_id}", tags={"whose": tenant_id})
        request = JobRequest.model_validate(body | {"dataset_id": datasets[1]})
        jobs = [self.services.jobs.submit(a_change(tenant_id), request, None).id for _ in range(3)]
        given.started(self.api, jobs[1])
        given.succeeded(self.api, jobs[2])
        artifacts = self.services.jobs.artifacts(tenant_id, jobs[2])
        return {
            "model_id": models,
            "dataset_id": datasets,
            "job_id": jobs,
            "artifact_id": [artifact.id for artifact in artifacts],
        }

    def rows_about(self, tenant: Tenant) -> list[str]:
        """Every row of every table that names the tenant, or something that it owns.

        The audit log tells who asked for what, so there only what the tenant did is about it.
        """
        rows = []
        with self.services.jobs.database.read() as connection:
            for table in metadata.sorted_tables:
                for row in connection.execute(select(table)).mappings():
                    text = f"{table.name}: {json.dumps(dict(row), default=str)}"
                    names = {row["tenant_id"] or ""} if table is audit_log else {text}
                    if any(id_ in name for id_ in tenant.ids for name in names):
                        rows.append(text)
        return sorted(rows)

    @contextmanager
    def untouched(self, tenant: Tenant) -> Iterator[None]:
        """Nothing that is about the tenant changes meanwhile, and nothing new is about it."""
        before = self.rows_about(tenant)
        assert len(before) > 20
        yield
        assert self.rows_about(tenant) == before

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """What the database is asked meanwhile."""
        seen: list[str] = []

        def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
            seen.append(statement)

        engine = self.services.jobs.database.engine
        event.listen(engine, "before_cursor_execute", note)
        try:
            yield seen
        finally:
            event.remove(engine, "before_cursor_execute", note)


def wish(scope: Scope) -> KeyWish:
    return KeyWish("one of everything", frozenset({scope}), None)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[World]:
    home = tmp_path_factory.mktemp("two-tenants")
    with start_blocking_portal() as portal, new_world(portal, home, empty_database) as world:
        yield replace(world, a=world.newcomer("a"))


@contextmanager
def new_world(portal: BlockingPortal, home: Path, empty_database: Path) -> Iterator[World]:
    """A service where nobody did anything yet."""
    home.mkdir(exist_ok=True)
    shutil.copy(empty_database, home / "penjing.db")
    queue, clock = FakeQueue(), FakeClock()
    application = assemble(Settings(home=home, **SETTINGS), queue, clock)
    http = httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://api")
    with (
        portal.wrap_async_context_manager(application.router.lifespan_context(application)),
        portal.wrap_async_context_manager(http),
    ):
        yield World(portal, Api(http, application, queue, clock), NOBODY)


@pytest.fixture(scope="module")
def b(world: World) -> Tenant:
    """The other tenant; what it does in these tests changes nothing."""
    tenant = world.newcomer("b")
    for key in (tenant.key, tenant.reader):
        world.ask("GET", "/v1/me", key)  # the first use of a key is written down
    return tenant


def unknown(id_: str) -> str:
    """An id of the same form and age that nobody has."""
    return id_[:-1] + ("0" if id_[-1] != "0" else "1")


def answer_text(answer: httpx.Response, id_: str) -> tuple[int, dict[str, str], str]:
    """What an answer says, but for the id that was asked for, and for its own."""
    headers = {
        name: value.replace(id_, ID)
        for name, value in answer.headers.items()
        if name not in PASSING and not name.startswith(PASSING_FAMILIES)
    }
    body = answer.text.replace(id_, ID)
    request_id = answer.headers.get("x-request-id")
    return answer.status_code, headers, body.replace(request_id, "") if request_id else body


def paths_for(path: str, tenant: Tenant) -> list[tuple[str, str]]:
    """The path with each thing that the tenant owns in it: (path with `ID`, id)."""
    names = {part.strip("{}") for part in path.split("/") if part.startswith("{")} - set(SHARED)
    for shared, value in SHARED.items():
        path = path.replace(f"{{{shared}}}", value)
    if not names:
        return []
    [name] = names
    return [(path.replace(f"{{{name}}}", ID), id_) for id_ in tenant.ids_for(name)]


PATHS = sorted({operation.path for operation in OPERATIONS if "{" in operation.path})


@pytest.mark.parametrize("path", PATHS)
def test_foreign_id_in_a_path_is_as_an_unknown_one(world: World, b: Tenant, path: str) -> None:
    with world.untouched(world.a):
        for verb, accept in (*((verb, JSON) for verb in VERBS), ("GET", STREAM)):
            for where, id_ in paths_for(path, world.a):
                nobodys = unknown(id_)
                with world.statements() as of_foreign:
                    foreign = world.ask(verb, where.replace(ID, id_), b.key, headers=accept)
                with world.statements() as of_unknown:
                    other = world.ask(verb, where.replace(ID, nobodys), b.key, headers=accept)
                assert foreign.status_code in (404, 405), f"{verb} {where}"
                assert answer_text(foreign, id_) == answer_text(other, nobodys)
                assert of_foreign == of_unknown


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if "{" in o.path], ids=str)
def test_own_id_in_a_path_is_found(world: World, b: Tenant, operation: Operation) -> None:
    """So that the test above says something: the id is what makes the difference."""
    owner = b if operation.method == "GET" else world.newcomer(new_id("c"))
    answers = [
        world.ask(operation.method, where.replace(ID, id_), owner.key)
        for where, id_ in paths_for(operation.path, owner)
    ]
    assert not answers or any(answer.is_success for answer in answers)


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.body], ids=str)
def test_foreign_id_in_a_body_is_as_an_unknown_one(
    world: World, b: Tenant, operation: Operation
) -> None:
    for field, body in bodies_with_an_id(operation.body or {}, b.some):
        for id_ in world.a.ids_for(field):
            with world.untouched(world.a):
                foreign = sent(world, b, operation, body, id_)
            nobodys = unknown(id_)
            other = sent(world, b, operation, body, nobodys)
            assert foreign.status_code in (404, 422), foreign.text
            assert id_ in foreign.text, f"{field} was not looked at: {foreign.text}"
            assert answer_text(foreign, id_) == answer_text(other, nobodys)
        answer = sent(world, b, operation, body, b.ids_for(field)[0])
        assert "there is no" not in answer.text, "not even one's own is found"


def sent(world: World, who: Tenant, operation: Operation, body: Any, id_: str) -> httpx.Response:
    filled = json.loads(json.dumps(body).replace(ID, id_))
    return world.ask(operation.method, operation.path, who.key, json=filled)


LISTS = [o for o in OPERATIONS if o.scope and o.method == "GET" and "{" not in o.path]


@pytest.mark.parametrize("operation", LISTS, ids=str)
def test_list_holds_nothing_of_others_and_does_not_move_with_them(
    world: World, b: Tenant, operation: Operation
) -> None:
    before = world.ask("GET", operation.path, b.key)
    world.things(world.a.id)
    world.services.accounts.issue(a_change(world.a.id), wish(Scope.READ))
    after = world.ask("GET", operation.path, b.key)

    assert before.status_code == 200
    assert not any(id_ in after.text for id_ in world.a.ids)
    assert answer_text(before, ID) == answer_text(after, ID)


@pytest.mark.parametrize("path", PAGES)
def test_page_holds_nothing_of_others_and_does_not_move_with_them(
    world: World, b: Tenant, path: str
) -> None:
    before = world.ask("GET", path, b.key, headers=PAGE)
    strangers = world.ask("GET", path, None, headers=PAGE)
    world.things(world.a.id)
    after = world.ask("GET", path, b.key, headers=PAGE)

    assert all(job_id in after.text for job_id in b.owned["job_id"])
    assert not any(id_ in after.text for id_ in world.a.ids)
    assert answer_text(before, ID) == answer_text(after, ID)
    assert strangers.status_code == 200
    assert not any(id_ in strangers.text for id_ in world.a.ids | b.ids)
    assert answer_text(strangers, ID) == answer_text(world.ask("GET", path, None, headers=PAGE), ID)


@pytest.mark.parametrize("operation", LISTS, ids=str)
def test_foreign_id_and_cursor_in_a_query_are_as_unknown_ones(
    world: World, b: Tenant, operation: Operation
) -> None:
    for name in operation.parameters:
        if name == "cursor":
            for _ in range(2):
                world.ask("POST", "/v1/jobs/" + world.a.owned["job_id"][0] + "/cancel", world.a.key)
            page = world.ask("GET", f"{operation.path}?limit=1", world.a.key).json()
            values = [(page["next_cursor"], unknown_cursor(page["next_cursor"]))]
        elif is_id(name):
            values = [(id_, unknown(id_)) for id_ in world.a.ids_for(name)]
        else:
            continue
        for theirs, nobodys in values:
            foreign = world.ask("GET", operation.path, b.key, params={name: theirs})
            other = world.ask("GET", operation.path, b.key, params={name: nobodys})
            # A cursor may be a plain number, which stands for other things elsewhere.
            echoed = (theirs, nobodys) if is_id(name) else (ID, ID)
            assert answer_text(foreign, echoed[0]) == answer_text(other, echoed[1])
            assert not any(id_ in foreign.text for id_ in world.a.ids - {theirs})


def unknown_cursor(cursor: str) -> str:
    """One of the same form and place in the list, that was never given out."""
    if cursor.isdecimal():
        return str(int(cursor) + 1)
    if re.fullmatch("[a-z]{3}_[0-9a-f]{26}", cursor):
        return unknown(cursor)
    created_at, id_ = decode_cursor(cursor)
    return encode_cursor(created_at, unknown(id_))


@each_operation
def test_without_a_key_nothing_is_open_but_what_says_so(world: World, operation: Operation) -> None:
    [(where, id_)] = paths_for(operation.path, world.a)[:1] or [(operation.path, "")]
    with world.untouched(world.a):
        answer = world.ask(operation.method, where.replace(ID, id_), None)
    if operation.scope is None:
        assert answer.status_code in (200, 503)
        assert not any(id_ in answer.text for id_ in world.a.ids)
    else:
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


@guarded
def test_key_to_read_with_changes_nothing(world: World, b: Tenant, operation: Operation) -> None:
    for where, id_ in paths_for(operation.path, b) or [(operation.path, "")]:
        before = without_log(world.rows_about(b))
        answer = world.ask(operation.method, where.replace(ID, id_), b.reader)
        assert without_log(world.rows_about(b)) == before
        if operation.scope == "read":
            assert answer.status_code not in (401, 403)
        else:
            assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
            assert repr(operation.scope) in answer.json()["detail"]


def without_log(rows: list[str]) -> list[str]:
    """A refusal is written down."""
    return [row for row in rows if not row.startswith(f"{audit_log.name}:")]


@pytest.fixture
def lone_worlds(tmp_path: Path, empty_database: Path) -> Iterator[list[World]]:
    """Two services that differ in nothing."""
    with start_blocking_portal() as portal, ExitStack() as stack:
        yield [
            stack.enter_context(new_world(portal, tmp_path / name, empty_database))
            for name in ("quiet", "busy")
        ]


def test_answers_are_the_same_byte_for_byte_whatever_others_do(lone_worlds: list[World]) -> None:
    quiet, busy = lone_worlds
    assert what_b_is_told(busy, busy.newcomer("a")) == what_b_is_told(quiet, None)


def what_b_is_told(world: World, a: Tenant | None) -> list[str]:
    """What every list, each job and each page says.

    Between any two things that B does, A does as much.
    """
    b = world.newcomer("b")
    told = []
    for operation in LISTS:
        for tenant in (a, b):
            if tenant is not None:
                world.things(tenant.id)
                body = {"name": "one more", "scopes": ["read"]}
                world.ask("POST", "/v1/api-keys", tenant.key, json=body)
                world.ask("DELETE", "/v1/jobs/job_none", tenant.reader)
        queries = ("", "?limit=2") if "limit" in operation.parameters else ("",)
        told += [nameless(world.ask("GET", operation.path + query, b.key)) for query in queries]
    told += [nameless(world.ask("GET", f"/v1/jobs/{job}", b.key)) for job in b.owned["job_id"]]
    told += [nameless(world.ask("GET", path, b.key, headers=PAGE)) for path in PAGES]
    return told


def nameless(answer: httpx.Response) -> str:
    """With each id and each key's prefix as the number of its first appearance."""
    _, headers, body = answer_text(answer, ID)
    is_page = answer.headers["content-type"].startswith("text/html")
    cursor = ID if is_page else answer.json().get("next_cursor") or ID
    told = f"{headers} {body}".replace(cursor, "cursor").replace(quote(cursor), "cursor")
    seen: dict[str, int] = {}
    return re.sub(
        r"[a-z]{3}_[0-9a-f]{26}|pj_[0-9a-f]{12}",
        lambda found: str(seen.setdefault(found[0], len(seen))),
        re.sub(r"etag': '[^']+'|req_[0-9a-f]{24}", "", told),
    )
