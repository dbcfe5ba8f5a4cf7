"""What is said of the box that uploads are inspected in, and what uploads get, with and without."""

import asyncio
import io
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from app.api.checks import READ_UNCONFINED
from app.cli.output import Output
from app.cli.up import announce
from app.embedded.lock import RunningStack
from app.settings import Settings
from app.uploads import inspecting
from app.uploads.box import Examine, try_box
from tests.app.api.conftest import Api
from tests.app.api.test_dashboard import alarms, opened, rows
from tests.app.uploads import without_landlock

pytestmark = pytest.mark.anyio

MODEL = (Path(__file__).parents[2] / "corpus" / "m01_ok.keras").read_bytes()
CONFINED = "every inspection is confined"
REFUSED = (
    "this machine cannot confine the process that reads uploads; the log of the API and "
    "`penjing doctor` say what is missing"
)
RED = "\x1b[1;37;41m"


@pytest.fixture(params=[False])
def is_allowed(request: pytest.FixtureRequest) -> bool:
    allowed: bool = request.param
    return allowed


@pytest.fixture
def settings(settings: Settings, is_allowed: bool) -> Settings:
    return settings.model_copy(update={"allow_unconfined": is_allowed, "inspection_wait_s": 60})


@pytest.fixture
def no_landlock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspecting, "command", without_landlock.command)


@pytest.fixture
def examine(request: pytest.FixtureRequest, tmp_path: Path) -> Examine:
    """Tried for real, and before: on a busy machine it takes longer than readiness waits."""
    is_as_usual = "no_landlock" not in request.fixturenames
    trial = try_box(tmp_path) if is_as_usual else try_box(tmp_path, without_landlock.__name__)
    return lambda home: trial


async def said_of_inspections(api: Api) -> tuple[str, str]:
    check = (await api.get("/readyz")).json()["checks"]["inspection"]
    return check["status"], check["detail"]


async def uploaded(api: Api) -> httpx.Response:
    return await api.post("/v1/models?name=m.keras", content=MODEL)


@pytest.mark.parametrize("is_allowed", [False, True], indirect=True)
async def test_inspections_are_confined_where_the_box_holds_whatever_is_allowed(api: Api) -> None:
    assert await said_of_inspections(api) == ("ok", CONFINED)
    assert READ_UNCONFINED not in alarms(await opened(api))
    assert (await uploaded(api)).json()["status"] == "ready"


@pytest.mark.usefixtures("no_landlock")
async def test_service_is_not_ready_where_it_can_inspect_nothing(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    assert await said_of_inspections(api) == ("failing", REFUSED)
    page = await opened(api)
    assert ["inspection", "✗ failing", REFUSED] in rows(page, "service")
    assert READ_UNCONFINED not in alarms(page)
    [told] = [record for record in caplog.records if record.message == "box.missing"]
    assert "this kernel has no Landlock. Boot a kernel of 5.13" in vars(told)["why"]
    assert vars(told)["inspections"] == "none"
    answer = await uploaded(api)
    assert (answer.status_code, answer.json()["code"]) == (503, "cannot_confine")


@pytest.mark.usefixtures("no_landlock")
@pytest.mark.parametrize("is_allowed", [True], indirect=True)
async def test_inspections_without_a_box_are_shouted_about(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await uploaded(api)).json()["status"] == "ready"
    assert await said_of_inspections(api) == ("ok", READ_UNCONFINED)
    page = await opened(api)
    assert READ_UNCONFINED in alarms(page)
    assert ["inspection", "✗ warning", READ_UNCONFINED] in rows(page, "service")
    [told] = [record for record in caplog.records if record.message == "box.missing"]
    assert vars(told)["inspections"] == "unconfined"


@pytest.mark.usefixtures("no_landlock")
@pytest.mark.parametrize("is_allowed", [True], indirect=True)
async def test_up_shouts_in_red_as_the_page_does(url: str, tmp_path: Path) -> None:
    output, terminal = Output(is_json=False), io.StringIO()
    output.news = Console(file=terminal, force_terminal=True, color_system="standard", width=200)

    await asyncio.to_thread(announce, output, tmp_path, RunningStack(url=url, pid=1, parts={}))

    assert f"{RED}{READ_UNCONFINED}\x1b[0m\n" in terminal.getvalue()
