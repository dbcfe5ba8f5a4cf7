"""What the documents say is still true: links, commands, settings, techniques, recipes."""

import json
import re
from pathlib import Path

import click
import pytest

from app.cli.main import penjing
from app.jobs.request import JobRequest
from app.recipes.recipe import Recipe
from app.recipes.steps import step_types
from app.settings import PREFIX, Settings

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
README = (ROOT / "README.md").read_text()
GUIDE = (ROOT / "docs/guide.md").read_text()
OF_THE_COMMAND_LINE = {"PENJING_URL", "PENJING_API_KEY"}
PAGE = "app/web/templates/dashboard.html"
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def headings(document: Path) -> set[str]:
    """The anchors of a document, as they are linked to."""
    titles = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


@each_document
def test_links_lead_somewhere(document: Path) -> None:
    for target, anchor in re.findall(
        r"\]\((?!\w+://)([^)#]*)(?:#([^)]*))?\)", document.read_text()
    ):
        linked = (document.parent / target).resolve() if target else document
        assert linked.exists(), target
        assert not anchor or anchor in headings(linked), anchor


@each_document
def test_make_commands_exist(document: Path) -> None:
    targets = re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"`make ([a-z-]+)", document.read_text())) <= set(targets)


@each_document
def test_settings_named_exist(document: Path) -> None:
    known = {PREFIX + field.upper() for field in Settings.model_fields} | OF_THE_COMMAND_LINE
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", document.read_text())) <= known


def test_guide_lists_every_setting_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(PENJING_\w+)` \| (?:`(.*?)`)? *\|", GUIDE, re.MULTILINE))
    assert set(rows) == {PREFIX + field.upper() for field in Settings.model_fields}
    given = {name: value for name, value in rows.items() if value}
    assert Settings.from_environment(given) == Settings.from_environment({})


def test_readme_describes_every_technique() -> None:
    assert set(re.findall(r"^\| `(\w+)` \| (?:transform|conversion)", README, re.MULTILINE)) == set(
        step_types()
    )


def test_recipe_of_the_guide_is_accepted() -> None:
    (body,) = re.findall(r"<<'JSON'\n(.*?)\nJSON", GUIDE, re.DOTALL)
    assert JobRequest.model_validate_json(body).constraints.max_accuracy_drop == 0.005


@pytest.mark.parametrize("path", sorted((ROOT / "examples/recipes").glob("*.json")), ids=str)
def test_example_recipe_is_accepted(path: Path) -> None:
    recipe = json.loads(path.read_text())["recipe"]
    assert Recipe.model_validate(recipe).steps


ACCOUNT_COMMANDS = sorted(
    {
        command.strip()
        for path in ("README.md", "SECURITY.md", "docs/guide.md", "docker-compose.yml", PAGE)
        for command in re.findall(
            r"penjing ((?:keys|quotas|audit) [^`#<\n]* [^`#<\n]*)", (ROOT / path).read_text()
        )
    }
)


@pytest.mark.parametrize("line", ACCOUNT_COMMANDS)
def test_commands_of_accounts_are_complete(line: str) -> None:
    """Nothing is done: they are only read."""
    words = line.split()
    command: click.Command = penjing
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    command.make_context(command.name, words)


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs/decisions"
    index = (folder / "README.md").read_text()
    assert set(re.findall(r"\((\d{4}-.*?\.md)\)", index)) == {p.name for p in folder.glob("0*.md")}
