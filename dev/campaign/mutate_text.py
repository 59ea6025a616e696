# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Mutants of YAML files: of their values, of their text, and texts that cost far more than their size."""

from __future__ import annotations

import copy
import random
from typing import Any

import yaml

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, -(2**63), 2**64, 10**30, 0.0, -0.5, 1e-300, 1e308),
    *(float("nan"), float("inf"), -float("inf"), "", " ", "nan", "0", "a\nb", "\u2028", "\U0001f697", "~"),
    *("x" * 9000, "../../../../etc/passwd", "/dev/zero", "/dev/stdin", "${HOME}", "${NO_SUCH}", "${A:-${B}}"),
    *(
        "a/b\\c",
        "con",
        ".",
        "..",
        "-rf",
        "%s%n{0}",
        [],
        {},
        [[]],
        [None],
        {"": ""},
        [1, "a", None],
        {"a": {}},
    ),
)
WORDS = (
    *(
        "2020-99-99",
        "0001-01-01T99:99:99Z",
        "!!timestamp x",
        "!!int x",
        "!!float x",
        "!!binary ;",
        "!!set {a}",
    ),
    *(
        "!!python/object/apply:os.system [ls]",
        "!!omap [a]",
        "&a",
        "*a",
        "<<: *a",
        "<<: 5",
        "<<: [1]",
        "? [a]",
    ),
    *("9" * 5000, "0x" + "f" * 5000, "1" + ":59" * 900, "0b1", "1_000", ".nan", "-.inf", "1e999", "1.0e+999"),
    *(
        "\t",
        "\0",
        "\ufeff",
        "\x85",
        "\ud800",
        "---",
        "...",
        "%TAG ! x",
        "%YAML 9.9",
        "|",
        ">-",
        "@",
        "`",
        "{",
        "[",
    ),
    *(
        "true: 1",
        "8: 1",
        "null: 1",
        "[a]: 1",
        "schema: adcp-model/1",
        "yes",
        "on",
        "!",
        "!<>",
        "&" + "a" * 3000,
    ),
)


def bombs() -> tuple[str, ...]:
    """Return texts that expand, nest or repeat beyond any use."""
    lists = "a0: &a0 [x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )
    merges = "a0: &a0 {k: 1}\n" + "".join(
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}], k{n}: 1}}\n" for n in range(1, 12)
    )
    chain = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 3000))
    return (
        *(
            lists,
            merges,
            chain,
            "a: &a [*a]\n",
            "a: &a {b: *a}\n",
            "[" * 50_000,
            "{a: " * 20_000,
            "- " * 50_000,
        ),
        *(
            "? " * 20_000,
            "a: " + "9" * 200_000,
            "".join(f"k{n}: 1\n" for n in range(60_000)),
            "x" * (3 << 20),
        ),
        *("a: 'x" + "\n" * 100_000, "&a " * 10_000, "!!str " * 10_000, "a: |\n" + " x\n" * 100_000),
    )


_BOMBS = bombs()


def mutant(pick: random.Random, text: str) -> bytes:
    """Return a mutant of a YAML file's text."""
    kind = pick.random()
    if kind < 0.02:
        return (text + "\n" + pick.choice(_BOMBS)).encode("utf-8", "surrogatepass")
    if kind < 0.6:
        document = yaml.safe_load(text)
        for _ in range(pick.choice((1, 1, 1, 2, 3))):
            document = _change_value(pick, document)
        dumped: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        return dumped.encode("utf-8", "surrogatepass")
    content = text
    for _ in range(pick.choice((1, 1, 2, 5))):
        content = _change_text(pick, content)
    encoded = content.encode(pick.choice(("utf-8",) * 20 + ("utf-16",)), "surrogatepass")
    return _change_bytes(pick, encoded) if pick.random() < 0.25 else encoded


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key or index) of a document."""
    found: list[tuple[Any, Any]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        found += [(value, key), *_places(part)]
    return found


def _change_value(pick: random.Random, document: Any) -> Any:
    places = _places(document)
    if not places or pick.random() < 0.01:
        return pick.choice(VALUES)
    container, key = pick.choice(places)
    kind = pick.randrange(8)
    if kind < 3:
        container[key] = copy.deepcopy(pick.choice(VALUES))
    elif kind == 3:
        del container[key]
    elif kind == 4:
        other, other_key = pick.choice(places)
        container[key] = copy.deepcopy(other[other_key])
    elif kind == 5 and isinstance(container, dict):
        new = pick.choice((*(str(value) for value in VALUES), 8, True, None, 2.5))
        container[new] = container.pop(key)
    elif kind == 6:
        container[key] = pick.choice(([container[key]], {"a": container[key]}, [container[key]] * 300))
    else:
        container[key] = _near(pick, container[key])
    return document


def _near(pick: random.Random, value: Any) -> Any:
    """Return a value of the same type, often still a valid one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return pick.choice((value + 1, value - 1, -value, value * 1000, value // 2))
    if isinstance(value, float):
        return pick.choice((value * 2, value / 2, -value, value + 1.0, 1.0 - value))
    if isinstance(value, str):
        place = pick.randrange(len(value) + 1)
        return pick.choice(
            (value[:place], value.upper(), value + value, value[:place] + "\0" + value[place:])
        )
    if isinstance(value, list):
        return pick.choice((value[::-1], value + value, value[:1]))
    return value


def _change_text(pick: random.Random, text: str) -> str:
    lines = text.split("\n")
    place = pick.randrange(len(lines))
    kind = pick.randrange(7)
    if kind == 0:
        lines.insert(place, lines[pick.randrange(len(lines))])
    elif kind == 1:
        del lines[place]
    elif kind == 2:
        lines[place] = " " * pick.randrange(9) + lines[place]
    elif kind == 3:
        lines[place] = lines[place].partition(":")[0] + ": " + pick.choice(WORDS)
    elif kind == 4:
        column = pick.randrange(len(lines[place]) + 1)
        lines[place] = lines[place][:column] + pick.choice(WORDS) + lines[place][column:]
    elif kind == 5:
        return text[: pick.randrange(len(text) + 1)]
    else:
        lines.insert(place, pick.choice(WORDS))
    return "\n".join(lines)


def _change_bytes(pick: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(pick.choice((1, 3, 20))):
        if changed:
            changed[pick.randrange(len(changed))] = pick.randrange(256)
    return bytes(changed)
