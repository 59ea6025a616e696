# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The figures that cards and documents quote: quoted_figures.json, and the Markdown tables made from it.

A table stands between ``<!-- quoted figures: MODEL -->`` and ``<!-- end of quoted figures -->``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import yaml
from data_use import DataUse
from pydantic import Field

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import Manifest, StrictModel, load_manifest
from ad_compressed_perception.metrics.interval import Interval

FILE = Path(__file__).with_name("quoted_figures.json")
ROOT = FILE.parents[1]
STRAIGHT = "straight ahead"
"""Row of a planner that never steers and keeps the present speed."""
UNITS = {"map": "", "ap50": "", "miou": "", "iou_road": "", "ade_m": "m", "rmse_rad": "rad"}
TITLES = {
    "map": "mAP", "ap50": "AP50", "miou": "mIoU", "iou_road": "road IoU", "ade_m": "ADE, m",
    "rmse_rad": "steering RMSE, rad",
}  # fmt: skip
_WORDS = {
    "map": r"\bmAP\b", "ap50": r"\bAP50\b", "miou": r"\bmIoU\b", "iou_road": r"\bIoU\b", "ade_m": r"\bADE\b",
    "rmse_rad": r"\bRMSE\b|\brad\b",
}  # fmt: skip
_BLOCK = re.compile(r"(<!-- quoted figures: (\w+) -->\n).*?(\n<!-- end of quoted figures -->)", re.DOTALL)
SELECTION = "**Figures of selection.**"
"""Begins the paragraph of a section whose figures are of frames that chose among its rows."""


class Quoted(StrictModel):
    """One figure.

    Attributes:
        model: key of data_use.yaml.
        variant: of the manifest, a recipe, or STRAIGHT.
        sha256: of the variant's file; empty for STRAIGHT.
        part: key of data_use.yaml.
        frames: number of frames.
        metric: as ``adcp evaluate`` names it.
        unit: "" of a share.
        figure: absolute.
        difference: to the baseline, paired; None for the baseline itself.
        command: that measures it.
    """

    model: str
    variant: str
    sha256: str
    part: str
    frames: int = Field(ge=1)
    metric: str
    unit: str
    figure: Interval
    difference: Interval | None = None
    command: str


class QuotedFigures(StrictModel):
    """The whole file."""

    schema_: Literal["adcp-quoted-figures/1"] = Field("adcp-quoted-figures/1", alias="schema")
    figures: list[Quoted]


def load_figures(path: Path = FILE) -> list[Quoted]:
    """Read the figures; raise DataError where the file is malformed."""
    try:
        return QuotedFigures.model_validate(json.loads(path.read_text(encoding="utf-8"))).figures
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}") from error


def write_figures(figures: Sequence[Quoted], path: Path = FILE) -> None:
    """Write the figures in the order given, one a line."""
    lines = ",\n".join(json.dumps(one.model_dump(mode="json")) for one in figures)
    text = f'{{"schema": "adcp-quoted-figures/1", "figures": [\n{lines}\n]}}\n'
    path.write_text(text, encoding="utf-8")


def find_model(name: str) -> Manifest:
    """Return the manifest of a default or reference model."""
    folders = (ROOT / "models" / name, ROOT / "config" / "reference_models" / name)
    return load_manifest(next(folder for folder in folders if folder.is_dir()))


def undeclared(use: DataUse, figures: Sequence[Quoted]) -> Iterator[str]:
    """Yield a sentence for every figure that no quoting part declares, and for every one missing."""
    known = {(one.model, one.variant, one.part, one.metric) for one in figures}
    for one in figures:
        declared = use.models[one.model].quote if one.model in use.models else {}
        if one.metric not in declared.get(one.part, []):
            yield f"{one.model}: {one.part} is not declared to quote {one.metric}"
    for model, entry in use.models.items():
        manifest = find_model(model)
        for variant in (*manifest.variants, *entry.recipes):
            for part, metrics in entry.quote.items():
                for metric in metrics:
                    if (model, variant, part, metric) not in known:
                        yield f"{model}: {metric} of {variant} on {part} is not measured"


def table(use: DataUse, figures: Sequence[Quoted], model: str) -> str:
    """Return a model's figures as a Markdown table; of a shipped model with its times and sizes."""
    manifest = find_model(model)
    entry = use.models[model]
    columns = [(part, metric) for part, metrics in entry.quote.items() for metric in metrics]
    by_key = {(one.variant, one.part, one.metric): one for one in figures if one.model == model}
    shipped = not entry.recipes
    names = [manifest.baseline, *(name for name in manifest.variants if name != manifest.baseline)]
    names += entry.recipes
    head = ["variant", *(["time", "MB", "size"] if shipped else [])]
    for part, metric in columns:
        frames = next(one.frames for key, one in by_key.items() if key[1:] == (part, metric))
        head.append(f"{TITLES[metric]}; {use.parts[part].title}, {frames} images")
    rows = [head, ["---"] * len(head)]
    for name in names:
        row = [f"`{name}`", *(_times_and_sizes(manifest, name) if shipped else [])]
        rows.append(row + [_cell(by_key[(name, *column)]) for column in columns])
    if any(key[0] == STRAIGHT for key in by_key):
        row = [STRAIGHT, *([""] * 3 if shipped else [])]
        found = [by_key.get((STRAIGHT, *column)) for column in columns]
        rows.append(row + ["" if one is None else f"{one.figure.value:.3f}" for one in found])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(one: Quoted) -> str:
    shown, sign = (one.figure, "") if one.difference is None else (one.difference, "+")
    return f"{shown.value:{sign}.3f} [{shown.low:{sign}.3f}, {shown.high:{sign}.3f}]"


def _times_and_sizes(manifest: Manifest, name: str) -> list[str]:
    sizes = [manifest.variant_path(one).stat().st_size for one in (manifest.baseline, name)]
    megabytes = f"{sizes[1] / 1e6:.2f}"
    if name == manifest.baseline:
        return ["1", megabytes, "1"]
    times = manifest.variant(name).figures["inference"]
    ratio, low, high = (times[key] for key in ("speedup_p50", "speedup_p50_low", "speedup_p50_high"))
    smaller = f"{sizes[0] / sizes[1]:.1f}x smaller"
    return [f"{ratio:.2f}x [{low:.2f}, {high:.2f}] faster", megabytes, smaller]


def with_tables(text: str, use: DataUse, figures: Sequence[Quoted]) -> str:
    """Return a document with its tables of quoted figures made anew."""
    return _BLOCK.sub(lambda match: f"{match[1]}\n{table(use, figures, match[2])}\n{match[3]}", text)


def documents() -> list[Path]:
    """Return the documents that hold figures: README, the model cards, docs."""
    return [ROOT / "README.md", *sorted(ROOT.glob("models/*/README.md")), *sorted(ROOT.glob("docs/**/*.md"))]


def write_tables(use: DataUse, figures: Sequence[Quoted]) -> list[Path]:
    """Make the tables of all documents anew; return those that changed."""
    changed = []
    for path in documents():
        before = path.read_text(encoding="utf-8")
        after = with_tables(before, use, figures)
        if after != before:
            path.write_text(after, encoding="utf-8")
            changed.append(path)
    return changed


_ACCURACY = r"\b(mAP|AP50|m?IoU|(?<!lateral )RMSE|ADE|FDE|steering error|rad)\b"
_METRIC = {False: re.compile(_ACCURACY), True: re.compile(_ACCURACY + r"|\bF1\b", re.IGNORECASE)}
"""What makes a block one about accuracy; in a card (True) agreement too."""
_NUMBER = re.compile(r"(?<![\w.])0\.\d{3,4}(?!\d)|\d\.\d+ (?:to \d\.\d+ )?points")


def unquoted(text: str, figures: Sequence[Quoted], *, card: bool) -> Iterator[str]:
    """Yield the blocks of a document with accuracies that are neither quoted nor marked.

    A block is a paragraph, a list item or a table outside those of quoted figures. Its numbers must equal
    declared figures of a metric that it names; or its section begins with SELECTION, which a card must not.

    Args:
        text: Markdown.
        figures: the declared ones; in a card those of its model.
        card: whether it is a model card or the README.
    """
    for section in re.split(r"(?m)^(?=#{1,6} )", _BLOCK.sub("", text)):
        if SELECTION in section and not card:
            continue
        for block in re.split(r"\n\s*\n|\n(?=[*-] )", section):
            if not _METRIC[card].search(block):
                continue
            named = [one for one in figures if re.search(_WORDS[one.metric], block)]
            declared = {number for one in named for number in _numbers(one)}
            wrong = sorted(set(_NUMBER.findall(block)) - declared)
            if wrong:
                yield f"{', '.join(wrong)}: {' '.join(block.split())[:120]}"


def _numbers(one: Quoted) -> Iterator[str]:
    for shown in (one.figure, one.difference):
        if shown is not None:
            yield f"{abs(shown.value):.3f}"
            if not one.unit:
                yield f"{abs(100 * shown.value):.1f} points"


def trainings() -> Iterator[tuple[str, str, dict[str, object]]]:
    """Yield (file, model, document) of every training configuration."""
    for path in sorted((ROOT / "config" / "training").glob("*.yaml")):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        yield path.stem, document["name"], document
