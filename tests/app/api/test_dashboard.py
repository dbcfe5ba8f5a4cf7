"""The dashboard: what a person sees, what shouts, and what a stranger does not see."""

from collections.abc import Callable
from dataclasses import replace

import httpx
import pytest

from app.accounts.principal import Scope
from app.accounts.quotas import agree_on_quotas
from app.api.checks import NOT_INSPECTED, UNCONFINED, check_nothing_of_uploads
from app.api.dashboard import MOST_JOBS, NO_KEYS
from app.errors import OutOfMemory, Unavailable
from app.jobs.job import JobState
from app.jobs.outcomes import Outcome
from app.jobs.presence import Box, Standing
from tests.app.api import given
from tests.app.api.conftest import Api
from tests.app.web.markup import Element, read

pytestmark = pytest.mark.anyio

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
# A connection to this machine.
HERE = "http://127.0.0.1:8000/"
# Markup, what would end an attribute, a line, a terminal's bell, an override of direction.
HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }}\n\x07\u202egnp.exe\u202c\u2066"
SHOWN = "<script>alert(1)</script>\"'&{{ 7*7 }}\ufffd\ufffd\ufffdgnp.exe\ufffd\ufffd"
LACKING = "signals to others are kept off by the user or the call filter alone (Linux 6.12)"


async def opened(api: Api, path: str = "/", key: str | None = None) -> Element:
    """The page, having been read strictly."""
    headers = {**BROWSER, **(given.bearing(key) if key else {})}
    answer = await api.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return read(answer.text)


def alarms(page: Element) -> list[str]:
    return [alarm.words().removeprefix("⚠ ") for alarm in page.all("p", class_="alarm")]


def rows(page: Element, heading: str) -> list[list[str]]:
    """The cells of the table below a heading, in words."""
    [section] = page.all("section", aria_labelledby=heading)
    bodies = section.all("tbody")
    return [[cell.words() for cell in row.children] for body in bodies for row in body.all("tr")]


def says(detail: str) -> Callable[[], str]:
    return lambda: detail


async def test_page_says_in_words_what_readiness_says(api: Api) -> None:
    checks = (await api.get("/readyz")).json()["checks"]

    page = await opened(api)

    assert page.all("title")[0].text == "Penjing is NOT ready"
    assert page.all("h1")[0].words() == "✗ The service is not ready"
    assert rows(page, "service") == [
        [
            name.replace("_", " "),
            "✓ ok" if check["status"] == "ok" else "✗ failing",
            check["detail"],
        ]
        for name, check in checks.items()
    ]


async def test_page_is_ready_when_every_check_passes(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(api.services.readiness.checks, "broker", says("answers"))
    api.services.presence.beat("host-1-0badf0", api.clock(), Standing.CONFINED)

    page = await opened(api)

    assert page.all("h1")[0].words() == "✓ The service is ready"


async def test_jobs_without_a_box_are_shouted_about(api: Api) -> None:
    api.services.presence.beat("host-1-0badf0", api.clock(), Standing.CONFINED)
    api.services.presence.beat("host-2-c0ffee", api.clock(), Standing.UNCONFINED)

    page = await opened(api)

    assert UNCONFINED in alarms(page)
    assert page.all("main")[0].children[0].attributes["aria-label"] == "Warnings"
    assert ["confinement", "✗ warning", UNCONFINED] in rows(page, "service")
    assert rows(page, "workers")[1][1:] == [
        "✗ UNCONFINED",
        "does not hold: jobs have the worker's own rights",
    ]


async def test_uploads_that_are_not_inspected_are_shouted_about(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(api.services.readiness.checks, "inspection", check_nothing_of_uploads)
    assert NOT_INSPECTED in alarms(await opened(api))


async def test_keys_that_are_off_for_everybody_are_shouted_about(api: Api) -> None:
    assert alarms(await opened(api)) == [NO_KEYS]


async def test_nothing_is_shouted_where_nothing_is_wrong(api: Api) -> None:
    keys_as_usual(api)
    api.services.presence.beat("host-1-0badf0", api.clock(), Standing.CONFINED)

    page = await opened(api, HERE)

    assert alarms(page) == []
    assert "No key is asked for here: everything belongs to the tenant default." in page.words()


def keys_as_usual(api: Api) -> None:
    settings = api.services.settings.model_copy(update={"require_keys": None})
    api.application.state.services = replace(api.services, settings=settings)


async def test_worker_tells_its_edition_of_landlock_and_what_is_lacking(api: Api) -> None:
    presence = api.services.presence
    boxes = {
        "host-1-aaaaaa": (Standing.CONFINED, Box(6, "a user of its own", ())),
        "host-2-bbbbbb": (Standing.CONFINED, Box(5, "a user of its own", (LACKING,))),
        "host-3-cccccc": (Standing.TAKES_NONE, None),
    }
    for name, (standing, box) in boxes.items():
        presence.beat(name, api.clock(), standing, box)

    page = await opened(api)

    assert rows(page, "workers") == [
        ["aaaaaa", "✓ confined", "Landlock 6, as a user of its own"],
        ["bbbbbb", "✓ confined", f"Landlock 5, as a user of its own {LACKING}"],
        ["cccccc", "✗ takes none", "does not hold: the worker's log says why"],
    ]
    # How a machine is called is nobody's business who has a key of a tenant.
    assert "host" not in page.text


async def test_job_shows_what_it_changed_and_leads_to_its_files(api: Api) -> None:
    target = {"max_size_bytes": 2000}
    job = await given.a_job(api, name="lenet-small", constraints=target)
    given.succeeded(api, job["id"])

    page = await opened(api)

    [[name, state, changes, files]] = rows(page, "jobs")
    assert name == f"lenet-small {job['id']} 2026-01-02 03:04 UTC"
    assert state == "✓ succeeded ✓ targets met"
    assert changes == (
        "accuracy 90.00 % →to 90.00 % ±0.00 points size 1.2 KiB →to 1.2 KiB same "
        "gzip 900 B →to 900 B same"
    )
    assert files == "tflite 1.2 KiB report"
    links = [link.attributes["href"] for link in page.all("main")[0].all("a")]
    assert len(links) == 3
    for link in links:
        assert (await api.get(link)).status_code == 200


async def test_target_that_was_not_set_is_not_met(api: Api) -> None:
    job = await given.a_job(api)
    given.succeeded(api, job["id"])

    [[_, state, *_]] = rows(await opened(api), "jobs")

    assert state == "✓ succeeded ✓ smaller or faster"


async def test_each_state_is_told_in_words(api: Api) -> None:
    jobs = [await given.a_job(api, name=name) for name in ("waits", "runs", "fails", "is late")]
    _, runs, fails, late = (job["id"] for job in jobs)
    given.reported(api, runs, given.started(api, runs), 0.42)
    problem = OutOfMemory("it took more than 1 GiB").as_problem()
    given.ended(api, fails, given.started(api, fails), Outcome(JobState.FAILED, problem=problem))
    given.ended(api, late, given.started(api, late), Outcome(JobState.TIMED_OUT))

    page = await opened(api)

    assert sorted(row[1] for row in rows(page, "jobs")) == sorted(
        [
            "· queued number 1 of yours",
            "▸ running 42 % training",
            f"✗ failed {problem.title} [out_of_memory]",
            "✗ timed out",
        ]
    )
    [bar] = page.all("progress")
    assert bar.attributes == {"max": "100", "value": "42", "aria-label": "Done"}
    assert [number.words() for number in page.all("dd")] == ["1", "1", "0.0 s"]


async def test_queue_tells_its_quotas(api: Api) -> None:
    tenant_id = api.services.accounts.store.add_tenant("vision", api.clock()).id
    key = given.a_key(api, tenant_id=tenant_id)
    changes = {"jobs_queued": 5, "jobs_running": 2, "run_s": 3600}
    with api.services.jobs.database.write() as connection:
        agree_on_quotas(connection, tenant_id, changes, ())

    page = await opened(api, key=key)

    assert [number.words() for number in page.all("dd")] == [
        "0 of 5",
        "0 of 2",
        "0.0 s of 60 min 0 s",
    ]
    assert "Your key is of the tenant vision." in page.words()


async def test_names_are_text_whatever_they_hold(api: Api) -> None:
    job = await given.a_job(api, name=HOSTILE)
    given.reported(api, job["id"], given.started(api, job["id"]), 0.1)

    answer = await api.get("/")
    page = read(answer.text)

    assert SHOWN in page.text
    assert page.all("bdi", class_="name")[0].text == SHOWN
    assert page.all("script") == []
    assert not set("\x07\u202e\u202c\u2066") & set(answer.text)


async def test_page_shows_the_newest_jobs_and_says_that_there_are_more(api: Api) -> None:
    for number in range(MOST_JOBS + 1):
        await given.a_job(api, name=f"job number {number}.")
        api.clock.advance(1)

    page = await opened(api)

    assert len(rows(page, "jobs")) == MOST_JOBS
    assert "job number 20." in page.text
    assert "job number 0." not in page.text
    assert "There are more" in page.text


async def test_page_is_there_while_the_database_is_not(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> str:
        raise Unavailable("the database is away")

    monkeypatch.setitem(api.services.readiness.checks, "database", away)
    job = await given.a_job(api)

    page = await opened(api)

    assert ["database", "✗ failing", "the database is away"] in rows(page, "service")
    assert "cannot be read while the database does not answer" in page.words()
    assert job["id"] not in page.text


async def test_stranger_sees_what_readiness_tells_anybody_and_nothing_of_a_tenant(
    asking: Api,
) -> None:
    before = await asking.get("/", headers=BROWSER)
    key = given.a_key(asking, Scope.SUBMIT)
    body = given.a_body(given.a_model(asking), name="secret plans")
    job = (await asking.post("/v1/jobs", json=body, headers=given.bearing(key))).json()
    given.succeeded(asking, job["id"])

    after = await asking.get("/", headers=BROWSER)

    assert after.status_code == 200
    assert after.text == before.text
    page = read(after.text)
    assert rows(page, "service")
    assert rows(page, "jobs") == []
    assert page.all("dl") == []
    assert "penjing jobs list" in page.text
    assert "secret plans" in (await opened(asking, key=key)).text


async def test_stranger_is_not_told_of_workers(asking: Api) -> None:
    asking.services.presence.beat("host-1-0badf0", asking.clock(), Standing.UNCONFINED)

    page = await opened(asking)

    assert alarms(page) == [UNCONFINED]
    assert "0badf0" not in page.text
    assert "Landlock" not in page.text


async def test_wrong_key_is_refused_and_a_proxys_credentials_are_none(asking: Api) -> None:
    wrong = given.bearing(f"pj_{'0' * 12}_{'0' * 64}")
    assert (await asking.get("/", headers={**BROWSER, **wrong})).status_code == 401
    proxys = {"Authorization": "Basic dXNlcjpwYXNz"}
    assert (await asking.get("/", headers={**BROWSER, **proxys})).status_code == 200


@pytest.mark.parametrize("accept", [*BROWSER.values(), "*/*", ""])
async def test_page_is_for_whoever_does_not_ask_for_data(api: Api, accept: str) -> None:
    answer = await api.get("/", headers={"Accept": accept})
    assert answer.text.startswith("<!doctype html>")
    assert answer.headers["vary"] == "Accept, Authorization"


async def test_program_finds_nothing_there_as_before(api: Api) -> None:
    asked = {"Accept": "application/json"}
    here, nowhere = [await api.get(path, headers=asked) for path in ("/", "/nowhere")]
    assert here.status_code == nowhere.status_code == 404
    assert without_its_own(here, "/") == without_its_own(nowhere, "/nowhere")


def without_its_own(answer: httpx.Response, path: str) -> str:
    own = answer.json()["request_id"]
    text = answer.text.replace(f"GET {path}:", "GET").replace(f'"{path}"', '""')
    return text.replace(own, "")


async def test_page_has_no_address_of_elsewhere(api: Api) -> None:
    await given.a_job(api)
    page = await opened(api)
    for element in page.all():
        assert "style" not in element.attributes
        assert not [name for name in element.attributes if name.startswith("on")]
        for name in ("href", "src", "action"):
            assert element.attributes.get(name, "/").startswith(("/", "data:,"))
    assert [link.attributes["href"] for link in page.all("nav")[0].all("a")] == [
        "/docs",
        "/openapi.json",
    ]
