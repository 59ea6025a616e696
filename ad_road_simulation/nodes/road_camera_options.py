# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the road camera."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ad_compressed_perception.core.manifest import StrictModel

WeatherOption = Literal["any", "day", "dusk", "rain", "glare"]
"""``any`` and world.weather.NAMES, literal for type checkers."""


class RoadCameraOptions(StrictModel):
    """Parameters of the node; read once, at its start."""

    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="seed of the first route's world")
    route_length_m: float = Field(
        default=1000.0, ge=200.0, le=20000.0, description="length of each route, meters"
    )
    traffic: float = Field(default=1.0, ge=0.0, le=2.0, description="factor on vehicles and pedestrians")
    weather: WeatherOption = Field(
        default="any", description="weather of all routes; any: drawn from each route's seed"
    )
    loop: bool = Field(default=True, description="start the route of the next seed at the end of one")
    width: int = Field(default=640, ge=32, le=4096, description="width of the image, pixels")
    height: int = Field(default=360, ge=32, le=4096, description="height of the image, pixels")
    rate_hz: float = Field(default=10.0, ge=0.5, le=100.0, description="images per second")
    transport: Literal["raw", "compressed", "both"] = Field(
        default="raw", description="publish ~/image (raw), ~/image/compressed (compressed) or both"
    )
    jpeg_quality: int = Field(default=92, ge=1, le=100, description="JPEG quality of compressed images")
    qos_reliability: Literal["best_effort", "reliable"] = Field(
        default="reliable", description="reliability of the images"
    )
    qos_depth: int = Field(default=5, ge=1, le=1000, description="images kept for slow subscriptions")
    drive: Literal["expert", "command"] = Field(
        default="expert", description="driver: the built-in expert, or commands on ~/drive_command"
    )
    command_timeout_s: float = Field(
        default=1.0, gt=0.0, le=60.0, description="the car brakes after this time without a command, seconds"
    )
    diagnostics_period_s: float = Field(
        default=1.0, gt=0.0, le=60.0, description="period of /diagnostics, seconds"
    )
