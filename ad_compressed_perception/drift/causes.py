# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which of camera, world and model an alarm is about, by what the change left as it was.

A camera's fault leaves out what a world's change brings with it: defocus takes fine detail only; exposure
and gain scale all of the image alike and bring no noise; exchanged channels leave every brightness as it
was; dirt stays where it is. Night, rain and fog change several at once. docs/guides/drift.md
names what cannot be distinguished.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from ad_compressed_perception.drift.figures import RESULTS

Kind = Literal["world", "camera", "model"]

_NOISE_SHARE: Final = 0.2
"""Night, rain and fog add at least this share of their loss of light in noise; less light alone adds less."""

_GRAIN_SHARE: Final = 1.5
"""Another camera is sharper or noisier without such a loss."""

_CLEAR: Final = 4.0
"""Standard deviations from which a figure is taken to have moved."""

_GRAIN: Final = 3.0

_EXCHANGED: Final = 0.7
_GRAY: Final = 0.55
_STREAKS: Final = 0.8


def cause(
    ratios: Mapping[str, float], unexplained: Mapping[str, float], exchanged: float, is_mask: bool = False
) -> Kind | None:
    """Return what changed; None where no figure is beyond its threshold.

    Args:
        ratios: each figure divided by its threshold.
        unexplained: of the window, by name of the figure, see WindowFigures.unexplained.
        exchanged: of the window, see WindowFigures.exchanged.
        is_mask: whether results label every pixel: their areas do not change while images stay as they were.
    """
    moved = {name for name, ratio in ratios.items() if ratio >= 1.0}
    if not moved:
        return None
    if moved <= set(RESULTS):
        return "model" if is_mask or RESULTS[1] in moved else "world"
    off = unexplained
    image = ratios["image"]
    is_camera = (
        _is_exchanged(ratios, off, exchanged)
        or any(name in moved and ratios[name] >= 0.5 * image for name in ("covered", "spots"))
        # Streaks of rain take fine detail in one direction and not in the other.
        or ("blur" in moved and ratios["blur"] >= 0.5 * image and abs(off["upright"]) < abs(off["sharpness"]))
        or _is_light_alone(off)
        or _is_grain_alone(off)
        or _is_balance_alone(off)
    )
    return "camera" if is_camera else "world"


def _is_exchanged(ratios: Mapping[str, float], off: Mapping[str, float], exchanged: float) -> bool:
    """Return whether colors are exchanged, and light and detail are not what changed most."""
    if "exchange" in ratios:
        moved = max(abs(off[name]) for name in ("white", "black", "sharpness", "sharpness_near"))
        return ratios["exchange"] >= max(ratios["image"], 1.0) and exchanged > _GRAY and moved < _CLEAR
    if not _EXCHANGED <= exchanged <= 2.0 - _EXCHANGED:
        return False
    is_calm = max(abs(off[name]) for name in ("white", "black", "sharpness")) < _CLEAR
    return is_calm or ratios.get("channel order", 0.0) >= max(ratios["image"], 1.0)


def _is_light_alone(off: Mapping[str, float]) -> bool:
    """Return whether the image became darker or lighter without more noise, and black stayed black."""
    largest = max(off, key=lambda name: abs(off[name]))
    if largest not in ("white", "bright_share") or abs(off[largest]) < 2.0 * _CLEAR:
        return False
    is_veiled = largest == "white" and off["black"] > 0.5 * _CLEAR
    if largest == "bright_share" and off[largest] > 0.0:
        return True  # neither night nor rain nor fog overexposes
    noise = max(off["sharpness"], off["sharpness_near"])
    return not is_veiled and noise < _NOISE_SHARE * abs(off[largest])


def _is_grain_alone(off: Mapping[str, float]) -> bool:
    """Return whether the image became sharper or noisier in all directions, and hardly darker."""
    grain = (off["sharpness"] + off["sharpness_near"]) / 2.0
    is_noisy = grain > max(_GRAIN, -_GRAIN_SHARE * off["white"]) and off["even_share"] < 0.5 * _CLEAR
    return is_noisy and off["upright"] < _STREAKS * grain


def _is_balance_alone(off: Mapping[str, float]) -> bool:
    """Return whether blue or red are stronger or weaker against green than anything else has changed."""
    others = max(abs(off[name]) for name in ("white", "black", "upright", "texture", "contrast"))
    return max(abs(off[name]) for name in ("blue_green", "red_green")) > max(_CLEAR, 1.5 * others)
