# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters every inference node has: declared, described and defaulted here only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.core.one_line import shorten
from ad_compressed_perception.core.yaml_file import YamlError, parse_yaml
from ad_compressed_perception.monitor.frame_health import HealthLimits


class SetupOptions(StrictModel):
    """Parameters that take effect at configure.

    Those that name the model are live: a change of them exchanges it (swap_parameters.py). A change of
    another one needs an unconfigured node.
    """

    ros_names: ClassVar[Mapping[str, str]] = {"image_transport": "transport"}

    model: str = Field("", description="folder with a model.yaml")
    variant: str = Field(
        "",
        description="variant of the model; empty: its baseline; accepted: the first one that its accept gate "
        "accepted and whose runtime is installed",
    )
    backend: str = Field("", description="runtime; empty: the one the manifest names")
    backend_options: list[str] = Field(
        default_factory=list,
        description='options of the backend as "key=value", such as "provider=cuda"',
    )
    threads: int = Field(
        1, ge=0, le=1024, description="threads inside one inference; 0: the runtime's choice"
    )
    allow_rejected: bool = Field(False, description="load a variant its accept gate rejected")
    allow_outside: bool = Field(
        False,
        description="let model.yaml name files outside of its folder, and a cache outside of the user's",
    )
    public_key: str = Field(
        "",
        description="PEM file of the ed25519 key that must have signed model.yaml (adcp sign); empty: none",
    )
    strict_backend: bool = Field(
        False,
        description="refuse a model that runs on another device than its options ask for, or in another "
        "precision than its manifest states for this runtime; false: that is a WARN",
    )
    load_timeout_s: float = Field(
        120.0, ge=0.1, le=86400.0, description="time after which loading the model is given up"
    )
    transport: Literal["raw", "compressed", "compressed_on_image"] = Field(
        "raw",
        description="subscribe to image (raw), to image/compressed (compressed), or to compressed images "
        "on image itself (compressed_on_image); accepted as image_transport, too",
    )
    max_image_pixels: int = Field(
        1 << 24,
        ge=1,
        le=1 << 28,
        description="largest width times height of an image; larger ones fail before they are decoded "
        "(a 16-bit color PNG counts twice)",
    )
    sample_bits: int = Field(
        0,
        ge=0,
        le=16,
        description="bits that 16-bit samples use, such as 12 (of 9 to 16); 0: the environment variable "
        "ADCP_SAMPLE_BITS, else 16. Where it is set, 16UC1 and gray 16-bit PNG are images whatever they are "
        "called",
    )
    qos_reliability: Literal["best_effort", "reliable"] = Field(
        "best_effort", description="reliability of the image subscription"
    )
    qos_depth: int = Field(
        16,
        ge=1,
        le=1000,
        description="history depth of the image subscription; 16 at least, to count the frames that come "
        "while one is in work",
    )
    age_reference: Literal["header_stamp", "publish_time"] = Field(
        "header_stamp",
        description="transport_age counts from the source stamp, or from the time the middleware "
        "sent the message (for bags whose stamps are of another day)",
    )
    every_nth: int = Field(
        1,
        ge=1,
        le=1000,
        description="answer one of so many frames, chosen by their stamps, so that all nodes of a camera "
        "answer the same ones; needs camera_rate_hz",
    )
    camera_rate_hz: float = Field(0.0, ge=0.0, le=1000.0, description="rate of the camera, for every_nth")
    keep_when_busy: Literal["newest", "ranked"] = Field(
        "newest",
        description="which frame waits while one is processed: the newest, or the one whose stamp ranks "
        "highest, so that nodes of different speed answer the same ones (results are older)",
    )
    camera_batch: int = Field(
        1,
        ge=1,
        le=64,
        description="frames of different cameras that wait at the same time and share one inference, at "
        "most; more than 1 needs several cameras, and a model whose batch is dynamic",
    )

    @model_validator(mode="after")
    def _together(self) -> SetupOptions:
        if self.every_nth > 1 and not self.camera_rate_hz:
            raise ValueError("every_nth needs camera_rate_hz, the rate of the camera")
        if 0 < self.sample_bits < 9:
            raise ValueError("sample_bits is 0, or 9 to 16")
        return self


class LiveOptions(StrictModel):
    """Parameters that may change at any time."""

    max_age_ms: float = Field(
        0.0, ge=0.0, description="drop frames older than this when the worker takes them; 0: never"
    )


class HealthOptions(HealthLimits):
    """Limits of a healthy node, and what the watchdog does; they may change at any time."""

    max_lost_share: float = Field(
        0.1, ge=0.0, le=1.0, description="largest share of frames lost before the node; WARN above"
    )
    watchdog_error_s: float = Field(
        5.0,
        ge=0.1,
        le=3600.0,
        description="time with a frame and without a finished one after which the worker hangs: ERROR, "
        "and it is replaced",
    )
    watchdog_exit_s: float = Field(
        0.0,
        ge=0.0,
        le=86400.0,
        description="time without a finished frame, although the worker was replaced, after which the "
        "process ends with status 75; 0: never",
    )


class StartOptions(StrictModel):
    """Parameters that are read once, at the node's start."""

    autostart: bool = Field(
        True, description="configure and activate at the start, without a lifecycle manager"
    )
    diagnostics_period_s: float = Field(1.0, gt=0.0, le=60.0, description="period of /diagnostics, seconds")
    timing_period_s: float = Field(
        0.2,
        ge=0.0,
        le=0.5,
        description="how long ~/timing collects frames for a message, seconds; 0: a message a frame",
    )
    process_watchdog_s: float = Field(
        0.0,
        ge=0.0,
        le=3600.0,
        description="time without a sign of life after which a small process of its own ends the node's "
        "process (SIGKILL), for respawn: a runtime that hangs with Python's interpreter lock stops all "
        "threads; 0: never",
    )

    @field_validator("process_watchdog_s")
    @classmethod
    def _not_too_short(cls, value: float) -> float:
        if 0.0 < value < 1.0:
            raise ValueError("process_watchdog_s is 0, or 1 and more: a loaded computer delays signs of life")
        return value


def parse_backend_options(entries: list[str]) -> dict[str, Any]:
    """Return "key=value" entries as a mapping, values read as YAML scalars.

    Raises:
        BackendError: an entry has no key or no value; the line quotes it.
    """
    options: dict[str, Any] = {}
    for entry in entries:
        key, equals, value = entry.partition("=")
        if not key.strip() or not equals:
            raise BackendError(f'backend_options: {shorten(repr(entry))} is not of the form "key=value"')
        try:
            options[key.strip()] = parse_yaml(value)
        except YamlError as error:
            raise BackendError(
                f"backend_options: {shorten(repr(entry))} has no readable value ({error})"
            ) from error
    return options
