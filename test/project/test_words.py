# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Code, tests and documents use the field's standard terms and American spelling."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDERS = (
    "ad_compressed_perception",
    "ad_road_simulation",
    "benchmark",
    "config",
    "dev",
    "docs",
    "examples",
    "launch",
    "test",
)
FILES = ("CHANGELOG.rst", "CONTRIBUTING.md", "Makefile", "README.md", "SECURITY.md", "setup.py")
# This list, and the test that uses old names on purpose.
EXEMPT = {"test/project/test_words.py", "test/project/test_old_names.py"}
# Words without a technical meaning here, each with the standard term. A word is a part of an identifier
# between underscores or capitals, or a word of a sentence.
TERMS = {
    r"school(s|ed)?": "DistillationTrainer",
    r"lessons?": "distillation dataset, training images",
    r"tutors?": "teacher adapter",
    r"teach(es|ing)?|taught": "train, fine-tune, distill",
    r"books?|booked|booking": "counters, account for; a book of a codebook is an entry list",
    r"told|tells?|telling": "report, print, notify, given; informative",
    r"said": "message, stated; outputs",
    r"wanted": "expected, requested",
    r"pictures?|pictured": "image (pixels), frame (image with a stamp), plot",
    r"contests?": "interleaved timing",
    r"cull(s|ed|ing)?": "discard",
    r"crowding": "object density",
    r"hears?|heard|ears?": "subscribe, receive",
    r"brush(es)?|canvas(es)?|painters?": "rasterizer, framebuffer, renderer",
    r"heal(s|ed|ing)?": "fine-tune",
    r"relearn(s|ed|ing)?": "fine-tune",
    r"courses?": "training task",
    r"judgements?|judges": "validation, evaluators, assesses",
    r"corpus|corpora": "dataset",
}
PHRASES = {
    r"at the wheel": "in closed loop",
    r"\b(in|take|takes|taking|by) turns\b|turn by turn": "interleaved",
    r"the whole way": "end to end",
    r"clock's noise": "timing noise",
    r"plays the": "is the reference",
    r"dead ends?": "refused checkpoints",
    r"\beats\b": "inputs",
    r"give[- _]backs?": "requantization trials",
}
BRITISH = (
    r"\w*colour\w*|\w*grey\w*|\w*labelled\w*|\w*labelling|\w*behaviour\w*|\w*neighbour\w*|\w*favour\w*"
    r"|centre\w*|centring|(?:centi|kilo|milli)?metres?|learnt|unlearnt|judgement\w*|travell\w+|cancelled|cancelling"
    r"|distils?|artefacts?|kerbs?|tyres?|storeys?|whilst|licence\w*|catalogues?|programmes?"
    r"|\w*(?:quanti|normali|equali|palettis?|seriali|initiali|optimi|materiali|minimi|maximi|summari|vectori|organi"
    r"|recogni|reali|generali|regulari|visuali|synchroni|memori|utili|standardi|locali|parametri|rasteri|stabili)"
    r"s(?:e|ed|es|ing|ation|ations|er|ers)"
    r"|analys(?:e|ed|es|ing)|model(?:led|ling)|signal(?:led|ling)|label(?:led|ling)|level(?:led|ling)|total(?:led|ling)"
    r"|(?:random|discret|special|final|penal|prior|neutral|linear|central|categor|custom|emphas|factor|harmon)"
    r"is(?:e|ed|es|ing|ation|ations)|defence|offence|fulfil|skilful|manoeuvr\w*|sceptic\w*|ageing|mould\w*"
)


def sources() -> list[Path]:
    """Return the files whose words are checked."""
    found = [REPOSITORY / name for name in FILES]
    for folder in FOLDERS:
        for pattern in ("*.py", "*.md", "*.yaml"):
            found += sorted((REPOSITORY / folder).rglob(pattern))
    found += sorted((REPOSITORY / "models").rglob("*.md"))
    # Labels of data sets are what they are.
    found = [path for path in found if path.name != "model.yaml"]
    found += sorted((REPOSITORY / "models").rglob("model.yaml"))
    return [path for path in found if path.relative_to(REPOSITORY).as_posix() not in EXEMPT]


def tables_of_old_names(text: str) -> Iterator[ast.Assign | ast.AnnAssign | ast.Call]:
    """Yield the places of Python source where accepted old names stand.

    Assignments to names such as ``renamed`` and ``_RENAMED_OPTIONS``, decorators that accept old attributes.
    """
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [one.id.lower().strip("_") for one in targets if isinstance(one, ast.Name)]
            if any(name.startswith("renamed") for name in names):
                yield node
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "accept_old_attributes":
            yield node


@cache
def old_names() -> frozenset[str]:
    """Return every accepted old name."""
    found: set[str] = set()
    for package in FOLDERS[:2]:
        for path in (REPOSITORY / package).rglob("*.py"):
            for table in tables_of_old_names(path.read_text("utf-8")):
                for node in ast.walk(table):
                    if isinstance(node, ast.Dict):
                        found |= {str(key.value) for key in node.keys if isinstance(key, ast.Constant)}
                    elif isinstance(node, ast.keyword):
                        found.add(node.arg or "")
    return frozenset(found)


def without_old_names(path: Path, text: str) -> str:
    """Return a file's text with accepted old names blanked: their tables, and in documents `code`."""
    if path.suffix != ".py":

        def blanked(span: re.Match[str]) -> str:
            return "" if old_names().intersection(re.split(r"[~/ .]+", span[1])) else span[0]

        return re.sub(r"`+([^`\n]+)`+", blanked, text)
    lines = text.splitlines()
    for node in tables_of_old_names(text):
        for number in range(node.lineno - 1, node.end_lineno or node.lineno):
            lines[number] = ""
    return "\n".join(lines)


def words_of(line: str) -> list[str]:
    """Return a line's words in small letters, identifiers split at underscores and capitals."""
    return [
        part.lower()
        for word in re.findall(r"[A-Za-z]+", line)
        for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", word)
    ]


_TERMS = re.compile("|".join(f"(?:{pattern})" for pattern in TERMS))
_PHRASES = re.compile("|".join(f"(?:{pattern})" for pattern in PHRASES), re.IGNORECASE)
_BRITISH = re.compile(rf"(?:{BRITISH})", re.IGNORECASE)


def faults(path: Path) -> list[str]:
    """Return a line for each word that the lists name."""
    text = without_old_names(path, path.read_text("utf-8"))
    if path.name == "model.yaml":  # its labels and the recipes in it are as they are
        text = "\n".join(line for line in text.splitlines() if line.startswith(("name:", "description:")))
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        plain = re.sub(r"https?://\S+", "", line)
        words = words_of(plain)
        named = {word for word in words if _TERMS.fullmatch(word)}
        named |= {
            pair[1]
            for pair in pairwise(["", *words])
            if pair[1] in ("truth", "truths") and pair[0] != "ground"
        }
        named |= {
            word for word in re.findall(r"[A-Za-z]+", plain.replace("_", " ")) if _BRITISH.fullmatch(word)
        }
        named |= {match.group() for match in _PHRASES.finditer(plain.replace("_", " "))}
        if named:
            found.append(
                f"{path.relative_to(REPOSITORY)}:{number}: {', '.join(sorted(named))}: {line.strip()}"
            )
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_standard_terms_and_american_spelling(path: Path) -> None:
    assert not faults(path)


if __name__ == "__main__":
    import sys

    for source in sources():
        if not sys.argv[1:] or any(
            source.relative_to(REPOSITORY).as_posix().startswith(one) for one in sys.argv[1:]
        ):
            print(*faults(source), sep="\n", end="\n" if faults(source) else "")
