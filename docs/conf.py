# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sphinx: ``make docs`` builds these pages and the API reference as HTML; warnings are errors."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

project = "ad_compressed_perception"
author = "The ad_compressed_perception authors"
copyright = f"2026 {author}"
version = release = re.findall(r'version="([^"]+)"', (ROOT / "setup.py").read_text("utf-8"))[0]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
# contents.rst holds the order of the pages, so that these read well without Sphinx, too.
root_doc = "contents"
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
smartquotes = False  # options begin with two hyphens
myst_heading_anchors = 4  # links such as page.md#heading

napoleon_use_ivar = True  # a field with a default would be described twice
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_preserve_defaults = True

html_theme = "alabaster"
html_title = project
html_theme_options = {"page_width": "1180px", "sidebar_width": "260px", "show_powered_by": False}
html_show_sourcelink = False

_LINK = re.compile(r"\[([^]\n]*)\]\(((?:\.\./)+[^)#\s]+)(?:#[^)\s]*)?\)")


def _offer_files_outside(app: Sphinx, page: str, source: list[str]) -> None:
    """Make links to files beside docs/, such as model cards and examples, downloads."""
    folder = (Path(app.srcdir) / page).parent

    def replace(match: re.Match[str]) -> str:
        path = (folder / match[2]).resolve()
        if path.is_relative_to(app.srcdir):
            return match[0]
        if not path.is_file():
            return f"{match[1]} (`{path.relative_to(ROOT)}`)"
        return f"{{download}}`{match[1].replace('`', '')} <{match[2]}>`"

    source[0] = _LINK.sub(replace, source[0])


def _commands() -> str:
    """Return Markdown about every command of adcp: its help and its options."""
    import typer.main

    from ad_compressed_perception.cli.main import app

    parts = []
    for name, command in sorted(typer.main.get_command(app).commands.items()):
        parts += [f"## adcp {name}", inspect.cleandoc(command.help or "")]
        for one in command.params:
            options = ", ".join((*one.opts, *one.secondary_opts))
            given = options if one.param_type_name == "option" else one.metavar
            meaning = " ".join((getattr(one, "help", None) or "").split()).replace("<", r"\<")
            parts.append(f"* `{given}`: {meaning}")
    return "\n\n".join(parts)


def _add_commands(app: Sphinx, page: str, source: list[str]) -> None:
    """Append the commands to their page."""
    if page == "reference/commands":
        source[0] += "\n" + _commands() + "\n"


def setup(app: Sphinx) -> None:
    """Connect the hooks above."""
    app.connect("source-read", _offer_files_outside)
    app.connect("source-read", _add_commands)
