# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How images are prepared for models of several makers: no file says it, their packages do.

| family      | color | value                      | resize                    | source                |
|-------------|-------|----------------------------|---------------------------|-----------------------|
| ultralytics | RGB   | pixel / 255                | letterbox, centered, 114  | data/augment.py       |
| yolox       | BGR   | pixel                      | letterbox, top left, 114  | data_augment.py       |
| nanodet     | BGR   | (pixel - mean) / std       | stretch                   | config/*.yml          |
| detr        | RGB   | (pixel / 255 - mean) / std | stretch                   | datasets/coco.py      |
| ssd         | RGB   | pixel / 127.5 - 1          | stretch                   | TF detection API      |
| darknet     | RGB   | pixel / 255                | letterbox, centered, 128  | src/image.c           |
| centernet   | BGR   | (pixel / 255 - mean) / std | letterbox, centered, 0    | src/lib/detectors     |
| others      | RGB   | (pixel / 255 - mean) / std | stretch                   | torchvision           |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ad_compressed_perception.core.manifest import InputSpec
from ad_compressed_perception.importing.model_facts import ModelFacts

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Scaling:
    """A way to scale pixels; mean and std are in RGB order.

    Attributes:
        name: for tables.
        scale: factor on the 0..255 pixel.
        mean: subtracted after that, one or three numbers.
        std: divisor after that.
    """

    name: str
    scale: float
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def fields(self, color: str) -> dict[str, Any]:
        """Return the fields of an input section for a color order."""

        def ordered(values: tuple[float, ...]) -> list[float]:
            if color == "GRAY" and len(values) > 1:
                return [sum(values) / len(values)]
            return list(reversed(values)) if color == "BGR" else list(values)

        return {"scale": self.scale, "mean": ordered(self.mean), "std": ordered(self.std)}

    @property
    def options(self) -> str:
        """Options of ``adcp import`` that choose it; mean and std in RGB order."""
        text = f"--input-scale {self.scale:.9g}"
        if any(self.mean):
            text += f" --input-mean {','.join(f'{value:g}' for value in self.mean)}"
        if set(self.std) != {1.0}:
            text += f" --input-std {','.join(f'{value:g}' for value in self.std)}"
        return text


BYTES = Scaling("pixel", 1.0)
UNIT = Scaling("pixel / 255", 1.0 / 255.0)
SIGNED = Scaling("pixel / 127.5 - 1", 1.0 / 127.5, (1.0,))
IMAGENET = Scaling("(pixel / 255 - ImageNet mean) / std", 1.0 / 255.0, _IMAGENET_MEAN, _IMAGENET_STD)
CENTERED = Scaling("pixel - mean", 1.0, (123.68, 116.78, 103.94))
NANODET = Scaling("(pixel - mean) / std", 1.0, (103.53, 116.28, 123.675), (57.375, 57.12, 58.395))
# NanoDet's numbers are in its own order, BGR.
NANODET = Scaling(NANODET.name, 1.0, NANODET.mean[::-1], NANODET.std[::-1])
SCALINGS = (BYTES, UNIT, SIGNED, IMAGENET, CENTERED)
"""Candidates in general; all others are close to one of them."""


@dataclass(frozen=True)
class Preparation:
    """A maker's usual preparation."""

    scaling: Scaling
    color: str
    resize: str
    letterbox_align: str = "center"
    pad_value: int = 114

    def geometry(self) -> dict[str, Any]:
        """Return the fields of an input section about resizing."""
        if self.resize != "letterbox":
            return {"resize": self.resize}
        return {"resize": "letterbox", "letterbox_align": self.letterbox_align, "pad_value": self.pad_value}


_USUAL: Mapping[str, Preparation] = {
    "ultralytics": Preparation(UNIT, "RGB", "letterbox"),
    "yolox": Preparation(BYTES, "BGR", "letterbox", "top_left"),
    "yolox_decoded": Preparation(BYTES, "BGR", "letterbox", "top_left"),
    "nanodet": Preparation(NANODET, "BGR", "stretch"),
    "detr": Preparation(IMAGENET, "RGB", "stretch"),
    "rtdetr": Preparation(UNIT, "RGB", "stretch"),
    "torchvision": Preparation(UNIT, "RGB", "stretch"),
    "ssd": Preparation(SIGNED, "RGB", "stretch"),
    "darknet": Preparation(UNIT, "RGB", "letterbox", "center", 128),
    "centernet": Preparation(
        Scaling("(pixel / 255 - mean) / std", 1.0 / 255.0, (0.470, 0.447, 0.408), (0.278, 0.274, 0.289)),
        "BGR",
        "letterbox",
        "center",
        0,
    ),
    "planner": Preparation(UNIT, "RGB", "stretch"),
}
_OTHERS = Preparation(IMAGENET, "RGB", "stretch")


def usual_preparation(family: str, facts: ModelFacts, dtype: str) -> Preparation:
    """Return the preparation that is usual in a family; raw pixels where the graph scales them itself."""
    usual = _USUAL.get(family, _OTHERS)
    if facts.normalizes or dtype == "uint8":
        return Preparation(BYTES, usual.color, usual.resize, usual.letterbox_align, usual.pad_value)
    return usual


def scalings_for(usual: Preparation, spec: InputSpec, given: Mapping[str, Any]) -> list[Scaling]:
    """Return the scalings to try, the usual one first; one alone where it was given, or for bytes."""
    if spec.dtype == "uint8":
        return [BYTES]
    if {"scale", "mean", "std"} & given.keys():
        return [
            Scaling(
                "given",
                float(given.get("scale", 1.0)),
                tuple(given.get("mean", (0.0,))),
                tuple(given.get("std", (1.0,))),
            )
        ]
    return [usual.scaling, *(one for one in SCALINGS if one != usual.scaling)]
