# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Shortens error texts of runtimes (several lines with C++ locations) to one readable line."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ad_compressed_perception.core.errors import AdcpError

MAX_CHARACTERS = 320
SHOWN_CHARACTERS = 80
"""Of a name or value that an error quotes."""

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_ORT_STATUS = re.compile(r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ")
_ORT_LOAD = re.compile(r"Load model from .*? failed: ?")
_ORT_NODE = re.compile(
    r"Non-zero status code returned while running (\w+) node\. Name: ?'([^']*)' Status Message: "
)
# A source location and the signature of the C++ function that follows it.
_ORT_LOCATION = re.compile(
    r"/\S+\.(?:h|hpp|cc|cpp|cu|cuh):\d+ (?:[^(]*\((?:[^()]|\([^()]*\))*\)(?: const)?(?: \[with [^\]]*\])? ?)?"
)
_ORT_OPSET = re.compile(
    r"Opset (\d+) is under development.*support for domain (\S+) is till opset (\d+)", re.S
)
_OPENVINO_NOISE = re.compile(
    r"^(?:Exception from \S+:\s*|Check '.*' failed at \S+:\s*|FrontEnd API failed with \w+:\s*)$"
)


def one_line(error: BaseException | str) -> str:
    """Return an exception's text as one line, without source locations, cut to a readable length.

    Of any exception, and a text that any message can hold: neither lone surrogates nor control characters.
    """
    try:
        text = str(error)
    except Exception:  # __str__ of a foreign class; its error must not take this one's place
        text = ""
    # Texts of others may hold escape sequences, which a terminal that shows a log would obey.
    text = _CONTROL.sub(" ", text.encode("utf-8", "replace").decode())
    opset = _ORT_OPSET.search(text)
    if opset:
        domain = "" if opset[2] == "ai.onnx" else f" of domain {opset[2]}"
        return f"the file uses opset {opset[1]}{domain}, this runtime knows opsets up to {opset[3]}"
    text = _ORT_STATUS.sub("", text)
    text = _ORT_LOAD.sub("", text)
    text = _ORT_NODE.sub(r"\1 node '\2': ", text)
    text = _ORT_LOCATION.sub("", text)
    lines = [line for line in text.splitlines() if not _OPENVINO_NOISE.match(line.strip())]
    line = " ".join(" ".join(lines).split()) or type(error).__name__
    return line if len(line) <= MAX_CHARACTERS else line[: MAX_CHARACTERS - 3] + "..."


def describe_error(error: BaseException) -> str:
    """Return an exception as one line, with its type where it is not an error of this package."""
    text, kind = one_line(error), type(error).__name__
    return text if isinstance(error, AdcpError) or text == kind else f"{kind}: {text}"


def shorten(text: str, characters: int = SHOWN_CHARACTERS) -> str:
    """Return a text cut to so many characters, for an error's line."""
    return text if len(text) <= characters else f"{text[: characters - 3]}..."


def shorten_list(texts: Iterable[str], shown: int = 6) -> str:
    """Return the first texts, each cut, and how many more there are, joined by semicolons."""
    listed = list(texts)
    more = [f"and {len(listed) - shown} more"] if len(listed) > shown else []
    return "; ".join([*(shorten(text, 300) for text in listed[:shown]), *more])
