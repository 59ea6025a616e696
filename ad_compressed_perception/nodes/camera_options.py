# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters of a node that serves several cameras with one model."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import ClassVar

from pydantic import Field, ValidationInfo, field_validator

from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.nodes.fair_slots import MOST_WEIGHT

MOST_CAMERAS = 64
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def parse_entries(entries: Iterable[str]) -> dict[str, float]:
    """Return camera to number of entries such as "front=80".

    Raises:
        ValueError: an entry is not of that form, has no positive number, or names a camera twice.
    """
    found: dict[str, float] = {}
    for entry in entries:
        camera, _, text = entry.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not _NAME.fullmatch(camera) or not 0.0 < value < math.inf:
            raise ValueError(f"{entry!r}: expected CAMERA=NUMBER")
        if camera in found:
            raise ValueError(f"{entry!r}: {camera} has a number already")
        found[camera] = value
    return found


class CameraOptions(StrictModel):
    """Without ``cameras`` a node has one camera, on the topic image."""

    setup_names: ClassVar[tuple[str, ...]] = ("cameras",)

    cameras: list[str] = Field(
        default_factory=list,
        description="names of cameras that this node serves with one model: images of each come on its topic "
        "CAMERA/image, results go to CAMERA/NODE/...; empty: one camera, on image",
    )
    camera_weights: list[str] = Field(
        default_factory=list,
        description='turns that a camera has while others wait, as "front=2", whole numbers up to '
        f"{MOST_WEIGHT}; 1 for those not named",
    )
    camera_deadlines_ms: list[str] = Field(
        default_factory=list,
        description='end-to-end deadlines of single cameras, as "front=80", ms; deadline_ms for the others',
    )

    @field_validator("cameras")
    @classmethod
    def _check_names(cls, value: list[str]) -> list[str]:
        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r}: only letters, digits and underscores, no digit first")
            if value.count(name) > 1:
                raise ValueError(f"{name!r} is named twice")
        if len(value) > MOST_CAMERAS:
            raise ValueError(f"{len(value)} cameras, at most {MOST_CAMERAS}")
        return value

    @field_validator("camera_weights", "camera_deadlines_ms")
    @classmethod
    def _check_entries(cls, value: list[str], info: ValidationInfo) -> list[str]:
        cameras = info.data.get("cameras")  # missing where they are refused themselves
        for camera, number in parse_entries(value).items():
            if cameras is not None and camera not in cameras:
                raise ValueError(f"{camera!r} is not one of cameras ({', '.join(cameras)})")
            if info.field_name == "camera_weights" and not (
                number == int(number) and 1 <= number <= MOST_WEIGHT
            ):
                raise ValueError(f"{camera}={number:g}: a whole number up to {MOST_WEIGHT}")
        return value

    @property
    def names(self) -> tuple[str, ...]:
        """The cameras; one without a name where none is named."""
        return tuple(self.cameras) or ("",)

    def weights(self) -> dict[str, int]:
        """Return the weights of the cameras that have one."""
        return {camera: int(weight) for camera, weight in parse_entries(self.camera_weights).items()}
