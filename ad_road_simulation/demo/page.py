# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A Markdown report as one self-contained HTML file: images are embedded, links become plain text."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from ad_compressed_perception.core.errors import DataError

_KINDS = {".png": "image/png", ".jpg": "image/jpeg"}
_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; margin: 2rem 0 0.6rem; }
h2 { border-top: 1px solid #8886; padding-top: 1.2rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; font-size: 0.9rem; margin: 0.8rem 0; }
th, td { border-bottom: 1px solid #8885; padding: 0.3rem 0.7rem; text-align: left; vertical-align: top; }
th { border-bottom-width: 2px; }
img { max-width: 100%; height: auto; display: block; margin: 0.6rem 0; }
code { background: #8882; border-radius: 3px; padding: 0.1em 0.3em; }
pre { background: #8882; padding: 0.8rem; overflow-x: auto; }
pre code { background: none; padding: 0; }
"""


def render_page(markdown: str, folder: Path) -> str:
    """Return GitHub-flavored Markdown as an HTML document.

    Args:
        markdown: image paths are relative to the folder; HTML in it is escaped.
        folder: of the images.

    Raises:
        DataError: an image cannot be read.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.add_render_rule("image", _embed)
    # Relative links would break when the page is moved.
    parser.add_render_rule("link_open", _nothing)
    parser.add_render_rule("link_close", _nothing)
    body = parser.render(markdown, {"folder": folder})
    first = next((line for line in markdown.splitlines() if line.startswith("# ")), "# Report")
    head = (
        f'<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(first[2:])}</title>\n<style>{_STYLE}</style>"
    )
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}</body>\n</html>\n'


def _embed(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: dict[str, Any]) -> str:
    token = tokens[index]
    name = str(token.attrs["src"])
    path = Path(env["folder"]) / name
    try:
        data = base64.b64encode(path.read_bytes()).decode("ascii")
    except OSError as error:
        raise DataError(f"cannot read image {path}: {error.strerror or error}") from error
    return f'<img alt="{html.escape(token.content)}" src="data:{_KINDS[path.suffix]};base64,{data}">'


def _nothing(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: dict[str, Any]) -> str:
    return ""
