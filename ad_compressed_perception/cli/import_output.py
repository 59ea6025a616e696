# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What ``adcp import`` prints: the model, the candidates with their figures, and what stays unsure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ad_compressed_perception.core.one_line import shorten

if TYPE_CHECKING:
    from ad_compressed_perception.importing.choices import Guess, Row
    from ad_compressed_perception.importing.import_model import Imported
    from ad_compressed_perception.report.schemas.importing import ImportReport

_MOST_ROWS = 14


def as_document(imported: Imported, warnings: Sequence[str]) -> ImportReport:
    """Return everything of an import as one document."""
    from ad_compressed_perception.importing.report import guess_section
    from ad_compressed_perception.report.kit.document import copied
    from ad_compressed_perception.report.schemas.importing import ImportReport

    manifest = imported.manifest
    return copied(
        ImportReport,
        manifest,
        model=manifest.name,
        kind=imported.framework,
        manifest=str(manifest.folder / "model.yaml"),
        file=str(manifest.variant_path(manifest.baseline)),
        backend=manifest.variant(manifest.baseline).backend,
        guess=guess_section(imported.guess),
        images=[str(path) for path in imported.images],
        warnings=list(warnings),
    )


def print_imported(imported: Imported, warnings: Sequence[str]) -> None:
    """Print an import, and warnings about its results on the sample, for people."""
    from ad_compressed_perception.cli.output import table_console

    console = table_console()
    manifest, guess = imported.manifest, imported.guess
    variant = manifest.variant(manifest.baseline)
    spec = manifest.input

    command = shlex.join(_command(f"{manifest.folder}_2"))

    def show(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    file = manifest.variant_path(manifest.baseline)
    show(f"{manifest.name}: {imported.framework} -> {file} ({variant.backend})")
    show(
        f"task {manifest.task}, {len(manifest.labels)} labels" if manifest.labels else f"task {manifest.task}"
    )
    resize = spec.resize if spec.resize != "letterbox" else f"letterbox {spec.letterbox_align}"
    show(f"input {spec.name}: {spec.dtype} {list(spec.shape)} {spec.layout}, {spec.color}, {resize}")
    show(f"scale {spec.scale:g}, mean {spec.mean}, std {spec.std}")
    for tensor, source in (manifest.inputs or {}).items():
        show(f"input {tensor}: {source.source}")
    if manifest.outputs is None:
        show(f"output: {manifest.output.decoder} {manifest.output.options}")
    for head, one in (manifest.outputs or {}).items():
        show(f"head {head}: {one.task}, {len(one.labels)} labels, {one.decoder} {one.options}")
    show(f"manifest: {manifest.folder / 'model.yaml'}")
    if guess.rows and (guess.frames or len(guess.rows) > 1):
        console.print(_table(guess), markup=False)
    for choice in guess.choices:
        known = "certain" if choice.is_certain else "unsure"
        show(f"{known}: {choice.what} {choice.value} ({choice.why})")
        if not choice.is_certain and choice.fix:
            show(f"  otherwise: {command} {choice.fix}")
    for note in guess.notes:
        show(f"note: {note}")
    if imported.images:
        show(f"results drawn on {len(imported.images)} frames: {imported.images[0].parent}")
    for warning in warnings:
        show(warning)


def _command(new_folder: str) -> list[str]:
    """Return this command's words with what was given, for a new folder."""
    import click

    context = click.get_current_context()
    words = ["adcp", "import", str(context.params["source"]), new_folder]
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if not isinstance(parameter, click.Option) or value in (None, False) or value == parameter.default:
            continue
        for one in value if isinstance(value, (list, tuple)) else [value]:
            words += [parameter.opts[0], str(getattr(one, "value", one))]
    return [word for word in words if word != "--json"]


def _table(guess: Guess) -> Any:
    from rich import box
    from rich.table import Table

    title = f"candidates on {guess.frames} frames" if guess.frames else "candidates by metadata and shapes"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    rows = _shown(guess.rows)
    has_accuracy = any(row.accuracy is not None for row in rows)
    has_notes = any(row.judgment is not None and row.judgment.failed for row in rows)
    for name in ("", "decoder", "images"):
        table.add_column(name, overflow="fold")
    for name in ("mirrored", "other frame", "skill", "found", *(["accuracy"] if has_accuracy else [])):
        table.add_column(name, justify="right")
    if has_notes:
        table.add_column("note", overflow="fold")
    for row in rows:
        found = row.judgment
        figures = ["-"] * 4 if found is None or found.failed else _figures(row)
        # Without "model 'name' on 16 frames of BAG: ", which every row would begin with.
        why = "" if found is None else found.failed.partition(": ")[2] or found.failed
        options = " ".join(f"{key}={value}" for key, value in row.candidate.options.items())
        table.add_row(
            "*" if row.is_chosen else "",
            shorten(f"{row.candidate.task} {row.candidate.decoder} {options}", 70),
            row.preparation,
            *figures,
            *(["-" if row.accuracy is None else f"{row.accuracy:.3f}"] if has_accuracy else []),
            *([shorten(why, 70)] if has_notes else []),
        )
    return table


def _figures(row: Row) -> list[str]:
    from ad_compressed_perception.report.kit.figures import number

    found = row.judgment
    assert found is not None, "rows without a judgment have no figures"

    return [*(number(value, 2) for value in (found.same, found.other, found.skill)), str(found.found)]


def _shown(rows: Sequence[Row]) -> list[Row]:
    """Return the first rows, and the chosen ones wherever they are."""
    return [row for index, row in enumerate(rows) if index < _MOST_ROWS or row.is_chosen]
