"""Landlock: from here on this process opens what it was given, and nothing else.

https://docs.kernel.org/userspace-api/landlock.html. Rules hang on files and folders themselves,
not on their names: what is renamed keeps its rule, what takes the old name has none.
"""

import os
import stat
import struct
from collections.abc import Iterable
from contextlib import suppress
from ctypes import Array, c_char, create_string_buffer
from dataclasses import dataclass
from enum import IntFlag

from worker.kernel.calls import system_call

# The same numbers on every architecture.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
ASK_VERSION = 1
RULE_PATH_BENEATH = 1
NEWEST_ABI_USED = 6


class Right(IntFlag):
    """LANDLOCK_ACCESS_FS_*, by their bits."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


FIRST_RIGHTS = Right(Right.REFER - 1)
# ABI: what it added.
LATER_RIGHTS = {2: Right.REFER, 3: Right.TRUNCATE, 5: Right.IOCTL_DEV}
TCP_ABI, TCP_BIND_AND_CONNECT = 4, 0b11
SCOPE_ABI, ABSTRACT_SOCKETS_AND_SIGNALS = 6, 0b11

READ = Right.READ_FILE | Right.READ_DIR
# Plain files and folders alone: a pipe, a socket or a link has no use but to trap who collects.
WRITE = (
    READ
    | Right.WRITE_FILE
    | Right.TRUNCATE
    | Right.MAKE_REG
    | Right.MAKE_DIR
    | Right.REMOVE_FILE
    | Right.REMOVE_DIR
    | Right.REFER
)
RUN = Right.READ_FILE | Right.EXECUTE
DEVICE = Right.READ_FILE | Right.WRITE_FILE
# What a rule for a file, not a folder, may hold.
OF_FILES = Right.EXECUTE | Right.WRITE_FILE | Right.READ_FILE | Right.TRUNCATE | Right.IOCTL_DEV

MISSING = {
    2: "files cannot be moved between its folders (Linux 5.19)",
    3: "cutting files short is kept off by the call filter alone (Linux 6.2)",
    4: "TCP is kept off by the call filter alone (Linux 6.7)",
    5: "commands to devices are kept off by the call filter alone (Linux 6.10)",
    6: "signals to others are kept off by the user or the call filter alone (Linux 6.12)",
}


@dataclass(frozen=True)
class Rule:
    """What may be done with a file, or with all that is beneath a folder."""

    path: str
    rights: Right


def kernel_abi() -> int:
    """Which edition of Landlock this kernel has; 0 if it has none."""
    try:
        return system_call("landlock_create_ruleset", CREATE_RULESET, 0, 0, ASK_VERSION)
    except OSError:
        return 0


def rights_of(abi: int) -> Right:
    rights = FIRST_RIGHTS
    for since, right in LATER_RIGHTS.items():
        if abi >= since:
            rights |= right
    return rights


def missing_from(abi: int) -> tuple[str, ...]:
    """What an older kernel leaves to the other layers, in words."""
    return tuple(words for since, words in MISSING.items() if abi < since)


def restrict(rules: Iterable[Rule], abi: int) -> None:
    """For good, and for all that this process starts. What has no rule cannot be opened.

    Raises: OSError where the kernel refuses. A path that does not exist has no rule.
    """
    handled = rights_of(abi)
    ruleset = system_call("landlock_create_ruleset", CREATE_RULESET, *_attributes(handled, abi), 0)
    try:
        for rule in rules:
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                _add(ruleset, rule, handled)
        system_call("landlock_restrict_self", RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _attributes(handled: Right, abi: int) -> "tuple[Array[c_char], int]":
    """The struct landlock_ruleset_attr, as long as this edition of it is, and its length."""
    fields = [int(handled)]
    if abi >= TCP_ABI:
        fields.append(TCP_BIND_AND_CONNECT)
    if abi >= SCOPE_ABI:
        fields.append(ABSTRACT_SOCKETS_AND_SIGNALS)
    packed = struct.pack(f"={len(fields)}Q", *fields)
    return create_string_buffer(packed, len(packed)), len(packed)


def _add(ruleset: int, rule: Rule, handled: Right) -> None:
    place = os.open(rule.path, os.O_PATH | os.O_CLOEXEC)
    try:
        allowed = rule.rights & handled
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            allowed &= OF_FILES
        packed = struct.pack("=Qi", allowed, place)
        beneath = create_string_buffer(packed, len(packed))
        system_call("landlock_add_rule", ADD_RULE, ruleset, RULE_PATH_BENEATH, beneath, 0)
    finally:
        os.close(place)
