# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A report as one HTML file that needs nothing else: verdict first, images inside, no script, no address."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

from ad_compressed_perception.report.kit.document import write_text
from ad_compressed_perception.report.kit.findings import LEVELS, VERDICT_LEVELS, Finding
from ad_compressed_perception.report.kit.page_images import embedded_images
from ad_compressed_perception.report.kit.text import shown

HTML_NAME = "report.html"
_STATUS_COLUMNS = {"accept gate", "gate", "verdict", "verdict of its gate"}
_FEWEST_ENTRIES = 3
_STYLE = """
:root { color-scheme: light dark; --ok: #00674b; --note: #55606b; --warning: #9a5b00; --alarm: #b3001b; }
@media (prefers-color-scheme: dark) {
  :root { --ok: #4cc9a0; --note: #a7b0ba; --warning: #f0b45a; --alarm: #ff7b86; }
}
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; margin: 2rem 0 0.6rem; overflow-wrap: anywhere; }
h2 { border-top: 1px solid #8886; padding-top: 1.2rem; }
.scroll { overflow-x: auto; margin: 0.8rem 0; }
table { border-collapse: collapse; font-size: 0.9rem; }
th, td { border-bottom: 1px solid #8885; padding: 0.3rem 0.7rem; text-align: left; vertical-align: top; }
th { border-bottom-width: 2px; }
th.right, td.right { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; height: auto; display: block; margin: 0.6rem 0; }
code { background: #8882; border-radius: 3px; padding: 0.1em 0.3em; overflow-wrap: anywhere; }
pre { background: #8882; padding: 0.8rem; overflow-x: auto; }
pre code { background: none; padding: 0; }
blockquote { border-left: 4px solid var(--alarm); margin-left: 0; padding-left: 0.8rem; }
.findings { list-style: none; padding: 0; }
.findings li { border-left: 6px solid; margin: 0.3rem 0; padding: 0.3rem 0.8rem; }
.findings li { display: grid; grid-template-columns: 5.5rem 1fr; overflow-wrap: anywhere; }
.findings li strong { text-transform: uppercase; font-size: 0.8rem; }
.ok { color: var(--ok); } .note { color: var(--note); }
.warning { color: var(--warning); font-weight: 600; } .alarm { color: var(--alarm); font-weight: 600; }
nav { font-size: 0.9rem; } nav ul { columns: 3 14rem; padding-left: 1.2rem; }
.missing { border: 1px dashed #888; padding: 0.4rem 0.8rem; }
@page { size: landscape; margin: 12mm; }
@media print {
  body { max-width: none; margin: 0; font-size: 11px; } nav { display: none; }
  table { font-size: 8px; } th, td { padding: 1px 3px; } .scroll { overflow: visible; }
  h2, h3 { break-after: avoid; } img, tr, .findings li { break-inside: avoid; } img { max-height: 170mm; }
  pre { white-space: pre-wrap; }
}
"""


def render_page(markdown: str, folders: Sequence[Path], findings: Sequence[Finding] = ()) -> str:
    """Return GitHub-flavored Markdown as an HTML document that loads nothing.

    HTML in the Markdown is shown as text, links become plain text (a relative one would break when the file
    is moved, and an outside one would leave the page), and the page itself forbids scripts and addresses.

    Args:
        markdown: begins with its title; image paths are relative to a folder.
        folders: of the images, searched in turn; an image that cannot be shown is named in its place.
        findings: shown in colors under the title, in this order.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    for kind, rule in _RULES.items():
        parser.add_render_rule(kind, rule)
    tokens = parser.parse(markdown)
    images = [str(one.attrs["src"]) for one in _inline(tokens) if one.type == "image"]
    addresses, missing = embedded_images(folders, map(unquote, images))
    headings = _name_headings(tokens)
    _classify_cells(tokens)
    place = next((index + 1 for index, one in enumerate(tokens) if one.type == "heading_close"), 0)
    env = {"addresses": addresses, "missing": missing}
    body = "".join(
        (
            parser.renderer.render(tokens[:place], parser.options, env),
            _findings(findings),
            _contents(headings),
            parser.renderer.render(tokens[place:], parser.options, env),
        )
    )
    return _document(_title(tokens), body)


def write_page(
    path: Path, markdown: str, findings: Sequence[Finding], folders: Sequence[Path] | None = None
) -> Path:
    """Write a page and return its path; images are looked for in ``folders``, by default the page's own.

    Raises:
        DataError: the file cannot be written.
    """
    return write_text(path, render_page(markdown, folders or (path.parent,), findings))


def _document(title: str, body: str) -> str:
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    head = (
        '<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>"
    )
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}</body>\n</html>\n'


def _findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return ""
    rows = [
        f'<li class="{one.level}"><strong>{one.level}</strong> '
        f"<span>{html.escape(shown(one.text))}</span></li>"
        for one in findings
        if one.level in LEVELS
    ]
    return '<ul class="findings">\n' + "\n".join(rows) + "\n</ul>\n"


def _contents(headings: Sequence[tuple[str, str]]) -> str:
    if len(headings) < _FEWEST_ENTRIES:
        return ""
    rows = [f'<li><a href="#{anchor}">{html.escape(text)}</a></li>' for anchor, text in headings]
    return "<nav>\n<ul>\n" + "\n".join(rows) + "\n</ul>\n</nav>\n"


def _inline(tokens: Sequence[Token]) -> Iterator[Token]:
    for token in tokens:
        yield from token.children or ()


def _text(token: Token) -> str:
    return "".join(one.content for one in token.children or () if one.type in ("text", "code_inline"))


def _title(tokens: Sequence[Token]) -> str:
    for index, token in enumerate(tokens):
        if token.type == "heading_open" and token.tag == "h1":
            return _text(tokens[index + 1])
    return "Report"


def _name_headings(tokens: Sequence[Token]) -> list[tuple[str, str]]:
    """Give each heading an id of its own; return id and text of those of the second level."""
    found = []
    used: set[str] = set()
    for index, token in enumerate(tokens):
        if token.type != "heading_open":
            continue
        text = _text(tokens[index + 1])
        base = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "section"
        anchor, number = base, 1
        while anchor in used:
            number += 1
            anchor = f"{base}-{number}"
        used.add(anchor)
        token.attrs["id"] = anchor
        if token.tag == "h2":
            found.append((anchor, text))
    return found


def _classify_cells(tokens: Sequence[Token]) -> None:
    """Turn the alignment of columns into classes, which the policy allows, and color verdicts of a gate."""
    columns: list[str] = []
    column = 0
    for index, token in enumerate(tokens):
        if token.type == "table_open":
            columns = []
        elif token.type == "tr_open":
            column = 0
        elif token.type in ("th_open", "td_open"):
            classes = []
            if "right" in str(token.attrs.pop("style", "")):
                classes.append("right")
            text = _text(tokens[index + 1])
            if token.type == "th_open":
                columns.append(text)
            elif columns[column : column + 1] and columns[column] in _STATUS_COLUMNS:
                classes += [VERDICT_LEVELS[text]] if text in VERDICT_LEVELS else []
            if classes:
                token.attrs["class"] = " ".join(classes)
            column += 1


def _image(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: dict[str, Any]) -> str:
    token = tokens[index]
    name = unquote(str(token.attrs["src"]))
    words = html.escape(token.content)
    if name in env["addresses"]:
        return f'<img alt="{words}" src="{env["addresses"][name]}">'
    reason = env["missing"].get(name, "is not shown")
    return f'<span class="missing">{words}: {html.escape(name)} {html.escape(reason)}.</span>'


def _constant(text: str) -> Any:
    def rule(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        return text

    return rule


_RULES = {
    "image": _image,
    "link_open": _constant(""),
    "link_close": _constant(""),
    "table_open": _constant('<div class="scroll"><table>\n'),
    "table_close": _constant("</table></div>\n"),
}
