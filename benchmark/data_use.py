# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which frames trained, chose and measure each model: reads and checks data_use.yaml.

A figure that chose among variants is too good for the chosen one. So a part of the data that quotes is of a
source that neither trained nor chose, and no frame of it occurs, under any name, in a part that did.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, model_validator

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.data.frames import is_stamp, list_images, open_frames

FILE = Path(__file__).with_name("data_use.yaml")


class Part(StrictModel):
    """Frames of one source: a folder of images or a share of it, a bag, or seeds of the road camera.

    Attributes:
        source: key of ``sources``.
        images: folder below the reference data.
        bag: likewise.
        share: first and last share of the images, in order of time.
        seeds: first and last, both included.
        frames: number of images of a seed.
        title: in tables.
    """

    source: str
    images: str | None = None
    bag: str | None = None
    share: tuple[float, float] = (0.0, 1.0)
    seeds: tuple[int, int] | None = None
    frames: int | None = None
    title: str = ""

    def paths(self, shared: Path) -> list[Path]:
        """Return the image files; none of a bag or of seeds."""
        if self.images is None:
            return []
        files = list_images(shared / self.images)
        low, high = (round(share * len(files)) for share in self.share)
        return files[low:high]

    def span(self, shared: Path | None) -> tuple[int, int] | None:
        """Return first and last stamp, nanoseconds, or seed; None where frames have neither."""
        if self.seeds is not None:
            return self.seeds
        if shared is None:
            return None
        if self.bag is not None:
            stamps = open_frames(str(shared / self.bag)).stamps_ns()
            return min(stamps), max(stamps)
        names = [path.stem for path in self.paths(shared)]
        if not names or not all(is_stamp(name) and len(name) >= _STAMP_DIGITS for name in names):
            return None
        return int(names[0]), int(names[-1])


_STAMP_DIGITS = 16
"""Shorter names are numbers of frames, which other recordings have too."""


class ModelUse(StrictModel):
    """The parts by their use.

    Attributes:
        train: their frames set weights or quantization ranges.
        choose: figures on them selected.
        quote: name to the figures that it gives, as ``adcp evaluate`` names them.
        recipes: of a reference model, whose variants are not shipped: those measured.
        calibration: of these recipes; of several parts every 20th image of a drive, every fourth of others.
    """

    train: list[str] = Field(min_length=1)
    choose: list[str] = Field(min_length=1)
    quote: dict[str, list[str]] = Field(min_length=1)
    recipes: list[str] = Field(default_factory=list)
    calibration: list[str] = Field(default_factory=list)


class DataUse(StrictModel):
    """The whole declaration."""

    schema_: Literal["adcp-data-use/1"] = Field(alias="schema")
    sources: dict[str, str]
    independent_sources: list[str] = Field(default_factory=list)
    parts: dict[str, Part]
    models: dict[str, ModelUse]

    @model_validator(mode="after")
    def _known(self) -> DataUse:
        named = {part for use in self.models.values() for part in (*use.train, *use.choose, *use.quote)}
        unknown = sorted(named - set(self.parts)) + sorted(
            {part.source for part in self.parts.values()} - set(self.sources)
        )
        if unknown:
            raise ValueError(f"not declared: {', '.join(unknown)}")
        return self


def load_data_use(path: Path = FILE) -> DataUse:
    """Read the declaration; raise DataError where it is malformed."""
    try:
        return DataUse.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def problems(use: DataUse, shared: Path | None) -> Iterator[str]:
    """Yield what is wrong, a sentence each: quoting parts that are not independent of training and choosing.

    Args:
        use: the declaration.
        shared: the reference data; None to check sources and seeds alone.
    """
    digests: dict[str, dict[str, str]] = {}
    for model, one in use.models.items():
        for quoting in one.quote:
            for role, others in (("trained", one.train), ("chose", one.choose)):
                for other in others:
                    text = _shared_frames(use, quoting, other, shared, digests)
                    if text:
                        yield f"{model}: {quoting} quotes, but {other} {role}: {text}"


def _shared_frames(
    use: DataUse, quoting: str, other: str, shared: Path | None, digests: dict[str, dict[str, str]]
) -> str:
    a, b = use.parts[quoting], use.parts[other]
    if a.source == b.source and a.source not in use.independent_sources:
        return f"both are of the source {a.source}"
    spans = (a.span(shared), b.span(shared))
    if a.source == b.source and None in spans:
        return f"independent parts of {a.source} need seeds or stamps"
    if None not in spans and _seeds_or_stamps(a) == _seeds_or_stamps(b):
        (a_low, a_high), (b_low, b_high) = spans  # type: ignore[misc]
        if a_low <= b_high and b_low <= a_high:
            return f"{spans[0]} and {spans[1]} overlap"
    if shared is not None:
        for name in (quoting, other):
            digests.setdefault(name, _digests(use.parts[name], shared))
        same = digests[quoting].keys() & digests[other].keys()
        if same:
            digest = sorted(same)[0]
            return f"{digests[quoting][digest]} is {digests[other][digest]}"
    return ""


def _seeds_or_stamps(part: Part) -> str:
    return "seeds" if part.seeds is not None else "stamps"


def _digests(part: Part, shared: Path) -> dict[str, str]:
    return {hashlib.sha256(path.read_bytes()).hexdigest(): path.name for path in part.paths(shared)}
