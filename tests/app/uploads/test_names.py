"""What is shown of a client's file name."""

import pytest

from app.errors import Invalid
from app.uploads.names import MAX_LENGTH, display_name, showable, suffix


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("lenet5.keras", "lenet5.keras"),
        ("../../../../var/tmp/x.keras", "x.keras"),
        ("..\\..\\x.keras", "x.keras"),
        ("/etc/passwd", "passwd"),
        ("C:\\models\\net.h5", "net.h5"),
        ("模型\u202e.keras", "模型.keras"),
        ("a\r\nSet-Cookie: b.keras", "aSet-Cookie: b.keras"),
        ("red\x1b[31m.keras", "red[31m.keras"),
        ("  spaced.npz ", "spaced.npz"),
        ("<script>.keras", "<script>.keras"),
    ],
)
def test_display_name_keeps_what_can_be_shown_of_the_last_part(given: str, shown: str) -> None:
    assert display_name(given) == shown


@pytest.mark.parametrize(
    "given",
    ["", ".", "..", "../..", "a/", "\u202e", "a\x00.keras", "\u2800\u3164", " \u0301", "\uffa0"],
)
def test_display_name_refuses_when_nothing_is_left(given: str) -> None:
    with pytest.raises(Invalid):
        display_name(given)


def test_display_name_keeps_the_ending_when_it_shortens() -> None:
    shown = display_name("n" * 4000 + ".keras")
    assert len(shown) == MAX_LENGTH
    assert shown.endswith("n.keras")


@pytest.mark.parametrize(
    ("name", "ending"), [("a.KERAS", ".keras"), ("LeNet v1.5", ".5"), ("model", ""), ("a.b/c", "")]
)
def test_suffix_is_the_ending_in_lower_case(name: str, ending: str) -> None:
    assert suffix(name) == ending


def test_what_cannot_be_shown_has_a_mark_in_its_place() -> None:
    assert showable("a\x07\n\u202eb\u3164 <é>") == "a\ufffd\ufffd\ufffdb\ufffd <é>"
