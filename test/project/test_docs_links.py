# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Links between the documents, the README's size, and that every page is behind a door of the index."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
if not DOCS.is_dir():
    pytest.skip("no docs beside the tests", allow_module_level=True)
PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(DOCS.rglob("*.md")),
    *sorted((REPOSITORY / "models").rglob("*.md")),
    *sorted((REPOSITORY / "examples").rglob("*.md")),
]
_LINK = re.compile(r"\]\(([^)\s#]*)(?:#([^)\s]*))?\)")
_FENCED = re.compile(r"(?ms)^```.*?^```")


def prose(path: Path) -> str:
    return _FENCED.sub("", path.read_text("utf-8"))


@cache
def anchors(path: Path) -> frozenset[str]:
    """Return the anchors that GitHub and MyST give to a page's headings."""
    headings = re.findall(r"(?m)^#+ (.*)$", prose(path))
    texts = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return frozenset(re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-") for text in texts)


def broken(path: Path) -> list[str]:
    found = []
    for target, anchor in _LINK.findall(prose(path)):
        if "://" in target or target.startswith("mailto:"):
            continue
        place = (path.parent / target).resolve() if target else path
        if not place.exists() or (anchor and place.suffix == ".md" and anchor not in anchors(place)):
            found.append(f"{target}#{anchor}")
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_link_leads_somewhere(path: Path) -> None:
    assert broken(path) == []


def linked_from(page: Path) -> set[Path]:
    return {(page.parent / target).resolve() for target, _ in _LINK.findall(prose(page)) if target}


def test_a_broken_link_and_a_broken_anchor_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One heading: `x`\n[a](none.md) [b](#one-heading-x) [c](#two)\n```\n[d](code.md)\n```\n"
    )
    assert broken(page) == ["none.md#", "#two"]


def test_every_page_is_behind_one_of_the_four_doors() -> None:
    index = DOCS / "index.md"
    doors = re.findall(r"(?m)^## (.*)$", index.read_text("utf-8"))
    assert doors == ["Start", "Guides", "Reference", "Design"]
    linked = linked_from(index)
    for page in [page for page in linked if page.name == "index.md"]:  # of a folder's pages
        linked |= linked_from(page)
    pages = {path for path in DOCS.rglob("*.md") if path != index}
    assert {str(path.relative_to(DOCS)) for path in pages - linked} == set()


@pytest.mark.parametrize("page", ["api", "extend"])
def test_what_the_api_pages_take_from_docstrings_is_there_and_has_one(page: str) -> None:
    """Without Sphinx, which not every environment has; make docs renders them."""
    text = (DOCS / "reference" / f"{page}.md").read_text("utf-8")
    named = re.findall(r"(?m)^\.\. auto(\w+):: ([\w.]+)$", text)
    assert len(named) > 10
    missing = []
    for kind, path in named:
        module, _, name = (path, "", "") if kind == "module" else path.rpartition(".")
        found = getattr(import_module(module), name, None) if name else import_module(module)
        if not getattr(found, "__doc__", None):
            missing.append(path)
    assert not missing


def test_documents_named_in_code_and_configuration_exist() -> None:
    """Messages and comments that send a reader to a page."""
    missing = []
    folders = (
        "ad_compressed_perception",
        "ad_road_simulation",
        "benchmark",
        "config",
        "launch",
        "test",
        "dev",
    )
    for folder in folders:
        for path in (REPOSITORY / folder).rglob("*"):
            if path.parent.name == "rules":  # sources in other projects
                continue
            if path.suffix in (".py", ".yaml", ".xml", ".txt", ".env"):
                for named in re.findall(r"(?<![\w./])docs/[\w/-]+\.md", path.read_text("utf-8")):
                    # ONNX's own documents are quoted by their places in its repository.
                    own = not named.startswith(
                        ("docs/Operators", "docs/Contrib", "docs/IR", "docs/Version", "docs/Change")
                    )
                    if own and not (REPOSITORY / named).is_file():
                        missing.append(f"{path.relative_to(REPOSITORY)}: {named}")
    assert not missing


def test_the_readme_is_short_and_its_figures_are_those_of_the_measurements() -> None:
    text = (REPOSITORY / "README.md").read_text("utf-8")
    lines = text.splitlines()
    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 100] == []
    measured = "".join(page.read_text("utf-8") for page in (DOCS / "measurements").glob("*.md"))
    rows = [line for line in lines if line.startswith("|") and re.search(r"\d", line)]
    figures = [figure for row in rows for figure in re.findall(r"\d+\.\d+", row.partition(")")[2] or row)]
    assert len(figures) >= 12
    assert [figure for figure in figures if not re.search(rf"(?<![\d.]){figure}(?!\d)", measured)] == []
