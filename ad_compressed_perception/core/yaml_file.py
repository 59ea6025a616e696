# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reads YAML of unknown origin: no code, bounded time and memory, and every fault in one line.

Stricter than YAML 1.1: keys are text and occur once, numbers are finite and short, a date stays text, and
aliases and merge keys count as often as they are used, which bounds what a few bytes can expand to.
"""

from __future__ import annotations

import math
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from yaml.constructor import ConstructorError

from ad_compressed_perception.core.one_line import shorten

MAX_BYTES: Final = 1 << 20
MAX_NODES: Final = 50_000
"""Values, keys, lists and mappings of a document, those behind an alias once for each use."""
MAX_DEPTH: Final = 32
MAX_NUMBER_CHARACTERS: Final = 100
_TAG_DIRECTIVE = re.compile(r"^%TAG\b", re.MULTILINE)
_PREFIX = "tag:yaml.org,2002:"
_TIMESTAMP, _TEXT, _INTEGER, _MERGE = (_PREFIX + name for name in ("timestamp", "str", "int", "merge"))
# Not bytes, sets, dates and pairs, which no document of this package has and which are written in other ways.
_TYPES = ("null", "bool", "int", "float", "str", "seq", "map", "value")
# The parser of libyaml where PyYAML was built with it: some 20 times as fast.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlError(ValueError):
    """What is wrong with a YAML text, in one line that begins with the line's number where there is one."""


class _Loader(_Base):
    """PyYAML's safe loader with the rules of this module."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in _Base.yaml_implicit_resolvers.items()
    }
    strict = True
    number_keys = False

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Return a mapping; refuse a key that is not text or is given twice."""
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key.tag == _MERGE:
                continue
            if self.number_keys and key.tag == _INTEGER:
                key.tag = _TEXT
            if key.tag != _TEXT:
                shown = shorten(repr(key.value)) if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                raise _refusal(f"the key {shown} is not text: put it in quotes", key)
            if key.value in seen and self.strict:
                raise _refusal(f"the key {shorten(repr(key.value))} is given twice", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """Return a node's value; PyYAML lets ValueError, KeyError and others out of wrong scalars."""
        name = node.tag.rpartition(":")[2]
        if name not in _TYPES or not node.tag.startswith(_PREFIX):
            raise _refusal(f"values of the type {shorten(repr(node.tag))} are not read", node)
        if not isinstance(node, yaml.ScalarNode):
            return super().construct_object(node, deep=deep)
        if name in ("int", "float") and len(node.value) > MAX_NUMBER_CHARACTERS:
            raise _refusal(f"a number of {len(node.value)} characters", node)
        try:
            value = super().construct_object(node, deep=deep)
        except yaml.YAMLError:
            raise
        except Exception as error:
            problem = f"{shorten(repr(node.value))} is no {name}"
            raise _refusal(problem, node) from error
        if self.strict and isinstance(value, float) and not math.isfinite(value):
            raise _refusal(f"{shorten(repr(node.value))} is not a finite number", node)
        return value


def parse_yaml(text: str, *, strict: bool = True, number_keys: bool = False) -> Any:
    """Return the value of a YAML text: None, bool, int, float, str, list or dict with keys of text.

    Args:
        text: one document.
        strict: refuse NaN, infinities and keys given twice; ROS 2's parameter files may have them.
        number_keys: take keys that are whole numbers as text, as files of other tools have them.

    Raises:
        YamlError: it is no YAML, breaks a rule of this module or exceeds one of its limits.
    """
    if len(text) > MAX_BYTES:
        raise YamlError(f"it has more than {MAX_BYTES} characters")
    if _TAG_DIRECTIVE.search(text):  # libyaml compares each with all before it
        raise YamlError("%TAG directives are not read")
    loader = None
    try:
        _check_limits(text)
        loader = _Loader(text)
        loader.strict, loader.number_keys = strict, number_keys
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = shorten(" ".join(str(error.problem or error.context).split()), 200)
        raise YamlError(f"line {mark.line + 1}: {problem}" if mark else problem) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlError(f"line {line}: character {error.character!r} is not allowed") from error
    except yaml.YAMLError as error:
        raise YamlError(shorten(" ".join(str(error).split()), 200)) from error
    finally:
        if loader is not None:
            loader.dispose()


def read_yaml_text(path: Path) -> str:
    """Return the text of a YAML file without a byte order mark.

    Raises:
        YamlError: it cannot be read, is no regular file (a pipe may never end), too large or not UTF-8.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise YamlError("it is not a regular file")
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise YamlError(error.strerror or str(error)) from error
    except ValueError as error:  # a null character in the path
        raise YamlError(str(error)) from error
    return _decode(content)


def _decode(content: bytes) -> str:
    if len(content) > MAX_BYTES:
        raise YamlError(f"it is larger than {MAX_BYTES >> 10} KiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise YamlError(f"line {line}: not UTF-8") from error


def read_yaml_mapping(
    path: Path,
    kind: str,
    error: type[Exception],
    *,
    strict: bool = True,
    number_keys: bool = False,
    content: bytes | None = None,
) -> dict[str, Any]:
    """Read a YAML file (its ``content``, if read already) that must hold a mapping; or raise ``error``."""
    try:
        text = read_yaml_text(path) if content is None else _decode(content)
    except YamlError as cause:
        raise error(f"cannot read {kind} {path}: {cause}") from cause
    try:
        data = parse_yaml(text, strict=strict, number_keys=number_keys)
    except YamlError as cause:
        raise error(f"{kind} {path} is not YAML that can be used: {cause}") from cause
    if not isinstance(data, dict):
        raise error(f"{kind} {path} must hold a mapping, not {type(data).__name__}")
    return data


def line_of(path: Path, location: Sequence[int | str]) -> str:
    """Return ", line N" for a place in a YAML file that was read before, or "" where it is not found.

    Args:
        path: the file.
        location: keys and indices that lead to the place; where one is missing, the line is that of the last
            one found.
    """
    try:
        node = yaml.compose(read_yaml_text(path), Loader=_Loader)
    except (YamlError, yaml.YAMLError):
        return ""
    line = None
    for part in location:
        found = next((pair for key, *pair in _parts(node) if key == part), None)
        if found is None:
            break
        node, line = found
    return "" if line is None else f", line {line + 1}"


def _parts(node: Any) -> Iterator[tuple[Any, Any, int]]:
    """Yield key or index, value and line (from 0) of what a mapping or list holds."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key.value if isinstance(key, yaml.ScalarNode) else None, value, key.start_mark.line
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield index, value, value.start_mark.line


def _check_limits(text: str) -> None:
    """Raise ConstructorError where a document is too deep or expands to too much; reads no values."""
    total = 0
    open_nodes: list[_Size] = []
    finished: dict[str, _Size] = {}
    for event in yaml.parse(text, Loader=_Base):
        if isinstance(event, yaml.AliasEvent):
            size = finished.get(str(event.anchor))
            if size is None:
                problem = f"the alias {shorten(repr(event.anchor))} has no anchor before it, or is inside it"
                raise _refusal(problem, event)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            open_nodes.append(_Size(event.anchor))
            _refuse_depth(len(open_nodes), event)
            continue
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            size = open_nodes.pop()
        elif isinstance(event, yaml.ScalarEvent):
            size = _Size(event.anchor)
        else:
            continue
        _refuse_depth(len(open_nodes) + size.depth, event)
        if not isinstance(event, yaml.AliasEvent) and size.anchor is not None:
            finished[size.anchor] = size
        if open_nodes:
            open_nodes[-1].add(size)
        total = max(total, size.nodes, *(part.nodes for part in open_nodes[:1]))
        if total > MAX_NODES:
            raise _refusal(f"more than {MAX_NODES} values, aliases counted in full", event)


class _Size:
    """How much a node holds: nodes with itself, and levels below it with its own."""

    def __init__(self, anchor: str | None) -> None:
        self.anchor, self.nodes, self.depth = anchor, 1, 1

    def add(self, part: _Size) -> None:
        """Count a part of this node."""
        self.nodes += part.nodes
        self.depth = max(self.depth, part.depth + 1)


def _refuse_depth(depth: int, event: Any) -> None:
    if depth > MAX_DEPTH + 1:
        raise _refusal(f"nested more than {MAX_DEPTH} levels deep", event)


def _refusal(problem: str, place: Any) -> ConstructorError:
    """Return an error at a node or event."""
    return ConstructorError(None, None, problem, place.start_mark)
