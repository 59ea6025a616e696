# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Refuses a loaded model that runs on another device, or in another precision, than was asked for."""

from __future__ import annotations

from ad_compressed_perception.backends.base import SessionInfo
from ad_compressed_perception.core.errors import BackendError

_FLOATS = ("fp32", "fp16", "bf16", "fp64")


def refuse_fallback(info: SessionInfo, precision: str | None, option: str | None = None) -> None:
    """Raise BackendError where a session is not what was asked for.

    Args:
        info: of the session. A device without a number (GPU) may be any of its kind (GPU.0).
        precision: the one that the model's manifest states for its variant on this runtime; None: any.
        option: the runtime's option precision, which is that of float operators; None: not given.
    """
    asked, actual = info.requested_provider, info.provider
    if actual != asked and not actual.startswith(f"{asked}."):
        raise BackendError(
            f"strict_backend: {info.backend} runs the model on {actual}, {asked} was asked for"
        )
    if precision is not None and info.precision != precision:
        raise BackendError(
            f"strict_backend: {info.backend} runs the model in {info.precision} here, its manifest says "
            f"{precision}"
        )
    if option in _FLOATS and info.precision in _FLOATS and info.precision != option:
        raise BackendError(
            f"strict_backend: {info.backend} runs the model in {info.precision} here, the option precision "
            f"says {option}"
        )
