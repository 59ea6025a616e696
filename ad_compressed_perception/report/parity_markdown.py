# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A run of ``adcp parity`` for people, from its document alone: what is wrong first, then who is fastest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from ad_compressed_perception.report.kit.figures import NONE, interval_text, milliseconds, number
from ad_compressed_perception.report.kit.findings import Finding, Level, sort_findings
from ad_compressed_perception.report.kit.rendered import Rendered
from ad_compressed_perception.report.kit.table import records, table
from ad_compressed_perception.report.kit.text import code, plain
from ad_compressed_perception.report.schemas.parity import Parity, ParityCell

HEAD = (
    *("backend", "variant", "precision", "status", "agreement", "speed-up (95 %)", "p50, ms", "load, ms"),
    "memory, MiB",
)
_LEVELS: dict[str, Level] = {"wrong": "alarm", "failed": "warning", "undecided": "warning"}


def render_document(text: bytes, where: str, folder: Path) -> Rendered:
    """Render an adcp-parity document.

    Raises:
        DataError: it is no such document; one line.
    """
    return render_parity(Parity.parse(text, where))


def render_parity(found: Parity) -> Rendered:
    """Return the Markdown and the findings of a run."""
    blocks = (*_head(found), *_cells(found), *_why(found), *_missing(found), *_host(found))
    return Rendered("\n\n".join(blocks) + "\n", sort_findings(list(_findings(found))))


def cell_rows(found: Parity, shown: Callable[[str], str] = str) -> list[tuple[str, ...]]:
    """Return a row of HEAD for each cell: the reference, the fastest that are right, then the others.

    Args:
        found: the document.
        shown: makes a name fit for where the rows are shown.
    """

    def order(one: ParityCell) -> tuple[int, float]:
        rank = ("reference", "ok", "undecided", "wrong", "failed").index(one.status)
        return rank, -one.speedup.value if one.speedup is not None else 0.0

    return [_row(one, shown) for one in sorted(found.cells.values(), key=order)]


def _row(one: ParityCell, shown: Callable[[str], str]) -> tuple[str, ...]:
    device = one.provider.removesuffix("ExecutionProvider")
    return (
        shown(f"{one.backend} {device}".strip()),
        shown(one.variant),
        one.precision,
        one.status,
        _agreement(one),
        "reference" if one.status == "reference" else _speedup(one),
        NONE if one.infer_ms is None else milliseconds(one.infer_ms.p50),
        number(one.load_ms, 0),
        NONE if one.memory is None else number(one.memory.running_bytes / 2**20, 0),
    )


def _speedup(one: ParityCell) -> str:
    return NONE if one.speedup is None else interval_text(one.speedup, 2)


def _agreement(one: ParityCell) -> str:
    agreement = one.agreement
    if agreement is None:
        return NONE
    value = NONE if agreement.value is None else f"{agreement.value:.4g}"
    return f"{agreement.measure} {value}"


def reasons(found: Parity) -> Iterator[tuple[str, str]]:
    """Yield each cell that is not right with its reasons, and each with a remark."""
    for name, one in found.cells.items():
        if one.reasons or one.remarks:
            status = f"{one.status}: " if one.reasons else ""
            yield name, status + "; ".join([*one.reasons, *one.remarks])


def _findings(found: Parity) -> Iterator[Finding]:
    for name, one in found.cells.items():
        if one.status in _LEVELS:
            yield Finding(_LEVELS[one.status], f"{name}: {one.status}: {'; '.join(one.reasons)}")
    if found.best is not None:
        ratio = found.cells[found.best].speedup
        assert ratio is not None
        yield Finding("ok", f"{found.best} is {ratio.value:.2f} times as fast as {found.reference}.")
    else:
        yield Finding("note", f"No cell is right and surely faster than {found.reference}.")


def _head(found: Parity) -> Iterator[str]:
    yield f"# {plain(found.model)}: backends and precisions"
    yield (
        f"{len(found.cells)} cells against {plain(found.reference)}, {found.rounds} interleaved rounds on "
        f"{plain(found.source)}, {found.frames} frames."
    )


def _cells(found: Parity) -> Iterator[str]:
    yield "## Cells"
    yield table(HEAD, cell_rows(found, plain), right_from=5)
    yield (
        "Speed-up: reference / this one, inference alone, median of the rounds' ratios; a cell that is not "
        "right has none. Load and memory are of a process of its own, memory with the runtime after one run."
    )


def _why(found: Parity) -> Iterator[str]:
    lines = list(reasons(found))
    if lines:
        yield "## Why"
        yield table(("cell", "why"), [(code(name), plain(why)) for name, why in lines])


def _missing(found: Parity) -> Iterator[str]:
    if found.missing:
        yield "## Not run"
        yield records(
            [
                {
                    "backend": plain(one.backend),
                    "precision": one.precision or "all",
                    "why": plain(one.why),
                    "install": code(one.install) if one.install else NONE,
                }
                for one in found.missing
            ]
        )


def _host(found: Parity) -> Iterator[str]:
    host = found.host
    yield "## Host"
    features = plain(" ".join(host.cpu_features))
    yield f"{plain(host.cpu or host.machine)}, {host.logical_cores} cores, {features}"
