"""A page as a strict reader has it: what is not well formed is an error, not something to mend."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = frozenset({"br", "link", "meta"})
REFERENCES = ("aria-labelledby", "for")


@dataclass
class Element:
    """`text`: all of it, that of its children, too."""

    tag: str
    attributes: dict[str, str]
    children: list["Element"] = field(default_factory=list)
    text: str = ""

    def all(self, tag: str = "", **attributes: str) -> list["Element"]:
        """Those below it, in the order of the page, that have this tag and these attributes.

        `class_` holds if it is one of several; `aria_label` is aria-label.
        """
        wanted = {name.strip("_").replace("_", "-"): text for name, text in attributes.items()}
        found = []
        for child in self.children:
            if tag in ("", child.tag) and all(child._has(*pair) for pair in wanted.items()):
                found.append(child)
            found += child.all(tag, **attributes)
        return found

    def words(self) -> str:
        return " ".join(self.text.split())

    def _has(self, name: str, value: str) -> bool:
        given = self.attributes.get(name, "")
        return value in given.split() if name == "class" else value == given


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice: {attrs}"
        assert all(value is not None for _, value in attrs), f"an attribute of nothing: {attrs}"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)
        elif tag == "br":
            self.handle_data("\n")

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> where <{self.open[-1].tag}> is open"
        self.open.pop()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        raise AssertionError(f"<{tag}/> is no HTML")

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")


def read(html: str) -> Element:
    """The whole page. Raises: AssertionError where it is not as it should be."""
    assert html.startswith("<!doctype html>\n")
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == [reader.root], f"left open: {reader.open[-1].tag}"
    page = reader.root
    ids = [element.attributes["id"] for element in page.all() if "id" in element.attributes]
    assert len(ids) == len(set(ids)), f"an id twice: {ids}"
    for element in page.all():
        for name in REFERENCES:
            named = element.attributes.get(name)
            assert named is None or named in ids, f"{name}={named} leads nowhere"
    _check_structure(page)
    return page


def _check_structure(page: Element) -> None:
    """What who does not see it finds their way by."""
    [html] = page.all("html")
    assert html.attributes["lang"] == "en"
    for landmark in ("title", "header", "nav", "main", "footer", "h1"):
        assert len(page.all(landmark)) == 1, landmark
    for section in page.all("section"):
        assert section.attributes.keys() & {"aria-label", "aria-labelledby"}
    for table in page.all("table"):
        assert table.all("caption") or table.attributes["aria-labelledby"]
        columns = table.all("th", scope="col")
        assert columns
        for row in table.all("tbody")[0].all("tr"):
            assert len(row.children) == len(columns)
            assert row.children[0].attributes["scope"] == "row"
