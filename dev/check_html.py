# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Checks that a report's HTML file stands alone: no outside address, no script, no broken reference.

``python -m dev.check_html FILE...`` prints what is wrong and exits with 1.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

MOST_BYTES = 5_000_000
_VOID = {"meta", "img", "br", "hr", "wbr", "col"}
# What a report is made of. Whatever loads, runs or sends is not in it: script, link, base, iframe, object,
# embed, form, svg, style attributes, handlers.
_ELEMENTS = {
    *(
        "html",
        "head",
        "title",
        "style",
        "body",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "p",
        "ul",
        "ol",
        "li",
        "nav",
    ),
    *(
        "a",
        "strong",
        "em",
        "code",
        "pre",
        "blockquote",
        "div",
        "span",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    ),
    *_VOID,
}
_ATTRIBUTES = {
    "html": {"lang"},
    "meta": {"charset", "name", "content", "http-equiv"},
    "img": {"alt", "src", "title"},
    "a": {"href"},
    "ol": {"start"},
    "*": {"id", "class"},
}
_METAS = {"viewport", "Content-Security-Policy"}
_SOURCE = re.compile(r"data:image/(png|jpeg);base64,([A-Za-z0-9+/]+=*)")
_OUTSIDE_CSS = re.compile(r"url\s*\(|@import|image-set|expression|//|\\", re.IGNORECASE)
_POLICY = ("default-src 'none'", "img-src data:", "base-uri 'none'", "form-action 'none'")


class _Page(HTMLParser):
    """Collects what is wrong while a page is read."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.wrong: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.anchors: list[str] = []
        self.policy = ""
        self.style = ""
        self.images = 0
        self.has_doctype = False

    def handle_decl(self, decl: str) -> None:
        self.has_doctype = decl.lower() == "doctype html" and not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _ELEMENTS:
            self.wrong.append(f"element <{tag}>")
        if tag not in _VOID:
            self.open.append(tag)
        values = {name: value or "" for name, value in attrs}
        if len(values) != len(attrs):
            self.wrong.append(f"<{tag}> has an attribute twice")
        for name in values.keys() - _ATTRIBUTES["*"] - _ATTRIBUTES.get(tag, set()):
            self.wrong.append(f"<{tag} {name}>")
        self.ids += [values["id"]] if "id" in values else []
        if tag == "a":
            self.anchors.append(values.get("href", ""))
        elif tag == "img":
            self._image(values.get("src", ""))
        elif tag == "meta" and "charset" not in values:
            self._meta(values)

    def _meta(self, values: dict[str, str]) -> None:
        kind = values.get("name") or values.get("http-equiv") or ""
        if kind not in _METAS:
            self.wrong.append(f"<meta> {kind!r}")
        if kind == "Content-Security-Policy":
            self.policy = values.get("content", "")

    def _image(self, source: str) -> None:
        self.images += 1
        found = _SOURCE.fullmatch(source)
        if found is None:
            self.wrong.append(f"image {source[:60]!r} is not inside the page")
            return
        try:
            with Image.open(io.BytesIO(base64.b64decode(found[2], validate=True))) as image:
                image.load()
                if (image.format or "").lower() != found[1]:
                    self.wrong.append(f"an image called {found[1]} is {image.format}")
        except (OSError, ValueError, binascii.Error) as error:
            self.wrong.append(f"image {self.images} does not decode: {error}")

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID or not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> closes nothing that is open, line {self.getpos()[0]}")

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["style"]:
            self.style += data
        elif not self.open and data.strip():
            self.wrong.append(f"text outside of the document: {data.strip()[:40]!r}")

    def handle_comment(self, data: str) -> None:
        self.wrong.append(f"a comment: {data[:40]!r}")

    def unknown_decl(self, data: str) -> None:
        self.wrong.append(f"declaration {data[:40]!r}")

    def handle_pi(self, data: str) -> None:
        self.wrong.append(f"processing instruction {data[:40]!r}")


def faults(text: str) -> list[str]:
    """Return what is wrong with a report's HTML, in sentences; empty where it stands alone."""
    page = _Page()
    page.feed(text)
    page.close()
    wrong = list(page.wrong)
    if not page.has_doctype:
        wrong.append("no <!DOCTYPE html> at the beginning")
    if page.open:
        wrong.append(f"not closed: {', '.join(page.open)}")
    wrong += [f"id {one!r} twice" for one in sorted({one for one in page.ids if page.ids.count(one) > 1})]
    targets = {f"#{one}" for one in page.ids}
    wrong += [f"link {one[:60]!r} leads nowhere in the page" for one in page.anchors if one not in targets]
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    policy = [part.strip() for part in page.policy.split(";")]
    wrong += [f"the policy lacks {part}" for part in _POLICY if part not in policy]
    if f"style-src 'sha256-{digest}'" not in policy:
        wrong.append("the policy does not allow the page's own style")
    if len(policy) != len(_POLICY) + 1:
        wrong.append(f"the policy allows more than it should: {page.policy}")
    found = _OUTSIDE_CSS.search(page.style)
    if found:
        wrong.append(f"the style has {found[0]!r}")
    size = len(text.encode("utf-8"))
    if size > MOST_BYTES:
        wrong.append(f"{size} bytes; at most {MOST_BYTES}")
    return wrong


def main() -> int:
    """Check the files named on the command line."""
    status = 0
    for name in sys.argv[1:]:
        for fault in faults(Path(name).read_text("utf-8")):
            print(f"{name}: {fault}")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
