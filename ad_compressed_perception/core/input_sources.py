# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where the inputs of a model besides its image come from: ``inputs`` of a manifest, by tensor name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from ad_compressed_perception.core.field_path import parse_field_path
from ad_compressed_perception.core.strict_model import StrictModel

ODOMETRY_TYPE = "nav_msgs/msg/Odometry"
ODOMETRY_SPEED = "twist.twist.linear.x"
_MOST_VALUES = 1 << 16


class PreviousInput(StrictModel):
    """Earlier images of the same camera, prepared as the image is, stacked in one tensor.

    Frames follow each other where the stamp grows by at most ``max_gap_s``: after a gap, or where stamps go
    back as at the loop of a recording, the history begins anew.
    """

    source: Literal["previous"]
    frames: int = Field(1, ge=1, le=64, description="earlier images")
    include_current: bool = Field(False, description="stack the present image, too, as the newest one")
    order: Literal["oldest_first", "newest_first"] = "oldest_first"
    axis: int = Field(1, ge=0, le=4, description="axis of the tensor along which they are stacked")
    stack: Literal["concatenate", "new_axis"] = Field(
        "concatenate", description="along an axis that an image has, or along a new one"
    )
    max_gap_s: float = Field(1.0, gt=0.0, le=3600.0, description="longest time between neighbors, seconds")
    at_start: Literal["fail", "repeat"] = Field(
        "fail",
        description="frames before there are enough earlier ones: they fail, or the oldest one stands for "
        "those that are missing",
    )


class ConstantInput(StrictModel):
    """The same numbers for every frame; adcp import bakes them into the graph."""

    source: Literal["constant"]
    value: float | list[Any] | None = Field(
        None, description="a number, or lists of them of the tensor's shape"
    )
    file: str | None = Field(None, description="of adcp import only: a .npy file with the numbers")

    @model_validator(mode="after")
    def _one(self) -> ConstantInput:
        if (self.value is None) == (self.file is None):
            raise ValueError("a constant has a value or a file")
        _check_numbers(self.value)
        return self


class TopicInput(StrictModel):
    """A field of a topic's messages: that of the newest one that is not newer than the frame."""

    source: Literal["topic"]
    topic: str = Field(min_length=1, max_length=255, description="name; in a node it may be remapped")
    type: str = Field(
        pattern=r"^[a-zA-Z]\w*/(msg/)?[a-zA-Z]\w*$", description="of the messages: package/msg/Name"
    )
    field: str = Field(description="path to a number, or to an array of them: twist.twist.linear.x, data[0]")
    scale: float = Field(1.0, description="factor on the number")
    offset: float = Field(0.0, description="added after that")
    max_age_s: float = Field(
        0.5, gt=0.0, le=3600.0, description="oldest value taken for a frame, by the stamps, seconds"
    )

    @field_validator("field")
    @classmethod
    def _is_path(cls, text: str) -> str:
        parse_field_path(text)
        return text

    @property
    def message_type(self) -> str:
        """The type in its long form."""
        package, _, name = self.type.rpartition("/")
        return f"{package.removesuffix('/msg')}/msg/{name}"


class OdometrySpeedInput(StrictModel):
    """The vehicle's speed along its heading in m/s, from odometry: a TopicInput with all fields known."""

    source: Literal["odometry_speed"]
    topic: str = Field("odometry", min_length=1, max_length=255, description="as of a topic")
    scale: float = Field(1.0, description="factor on the speed, such as 3.6 for km/h")
    offset: float = Field(0.0, description="added after that")
    max_age_s: float = Field(0.5, gt=0.0, le=3600.0, description="as of a topic")
    type: ClassVar[str] = ODOMETRY_TYPE

    def as_topic(self) -> TopicInput:
        """Return it as the field of a topic."""
        return TopicInput(
            source="topic", topic=self.topic, type=ODOMETRY_TYPE, field=ODOMETRY_SPEED,
            scale=self.scale, offset=self.offset, max_age_s=self.max_age_s,
        )  # fmt: skip


InputSource = Annotated[
    PreviousInput | ConstantInput | TopicInput | OdometrySpeedInput, Field(discriminator="source")
]


def topics_of(inputs: Mapping[str, Any] | None) -> dict[str, TopicInput]:
    """Return the inputs that are read from topics, by tensor name."""
    found = {}
    for name, source in (inputs or {}).items():
        if isinstance(source, OdometrySpeedInput):
            found[name] = source.as_topic()
        elif isinstance(source, TopicInput):
            found[name] = source
    return found


def history_of(inputs: Mapping[str, Any] | None) -> int:
    """Return how many earlier frames a model's inputs need at most."""
    return max(
        (source.frames for source in (inputs or {}).values() if isinstance(source, PreviousInput)), default=0
    )


def split_image(inputs: Mapping[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return the image's fields with its tensor name, and the other inputs, of a manifest's ``inputs``.

    Raises:
        ValueError: there are several images.
    """
    images = {
        name: value
        for name, value in inputs.items()
        if isinstance(value, Mapping) and value.get("source") == "image"
    }
    if len(images) > 1:
        raise ValueError(f"one input is the image, these are several: {', '.join(images)}")
    rest = {name: value for name, value in inputs.items() if name not in images}
    for name, value in images.items():
        return {**{key: item for key, item in value.items() if key != "source"}, "name": name}, rest
    return None, rest


def _check_numbers(value: Any, room: int = _MOST_VALUES) -> int:
    """Return how many numbers nested lists hold; raise ValueError where something is none or not finite."""
    if value is None:
        return 0
    if isinstance(value, list):
        count = sum(_check_numbers(each, room) for each in value)
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        count = 1
    else:
        raise ValueError(f"{value!r} is no finite number")
    if count > room:
        raise ValueError(f"a constant has at most {room} numbers here")
    return count
