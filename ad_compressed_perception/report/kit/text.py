# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Names and sentences of others (models, labels, topics, files, errors) inside Markdown, as they are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote

# An underscore inside a word is no mark of emphasis, and names are full of them.
_MARKS = re.compile(r"[\\`*\[\]]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|<(?=[A-Za-z/!?])|&(?=#|[A-Za-z0-9]+;)")
_LINE_START = re.compile(r"^(?=[#+=~>-])|^(\d+)(?=[.)])")
# Control characters, those that turn the direction of writing, and halves of characters: a file of UTF-8
# cannot hold the last, and the others would show another text than there is.
_UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_BACKTICKS = re.compile(r"`{3,}")


def shown(text: str) -> str:
    """Return a text as one line of characters that can be shown and stored."""
    return _UNSHOWN.sub("\ufffd", " ".join(text.split()))


def plain(text: str) -> str:
    """Return a text as one line of Markdown that shows exactly it: no mark, link, image or block.

    A label ``**accepted**`` or a reason with a line ``# accepted`` must not look like a verdict. ``|`` is
    escaped by table, where it matters.
    """
    one_line = _MARKS.sub(lambda found: f"\\{found[0]}", shown(text))
    return _LINE_START.sub(lambda found: f"{found[1] or ''}\\", one_line)


def code(text: str) -> str:
    """Return a name as a code span; a backtick, which would end it, becomes an apostrophe."""
    return f"`{shown(text).replace('`', chr(39))}`"


def fenced(text: str, language: str = "") -> str:
    """Return a text as a block of code behind a fence longer than any in it."""
    text = "\n".join(_UNSHOWN.sub("\ufffd", line) for line in text.splitlines())
    fence = "`" * max([3, *(len(run) + 1 for run in _BACKTICKS.findall(text))])
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def image(words: str, name: str) -> str:
    """Return a link to an image beside the report."""
    return f"![{plain(words)}]({quote(shown(name))})"


def bullets(lines: Iterable[str]) -> str:
    """Return texts of others as a list."""
    return "\n".join(f"- {plain(line)}" for line in lines)
