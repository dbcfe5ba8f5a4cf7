"""Names that a data set brings along: of its columns, of its classes; pure.

They are shown, never run: JSON escapes them, and no page of the service holds them. So `<` or `&`
in a name ("income >50K", "R&D") is data. What cannot be seen for what it is, is refused: control
characters, and those that turn the direction of a text.
"""


def is_usable(name: str, longest: int) -> bool:
    """Whether people can be shown it as it is."""
    return 0 < len(name) <= longest and name.isprintable()
