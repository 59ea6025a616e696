# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Random weather of a world, constant over its time."""

from __future__ import annotations

import numpy as np

from ad_road_simulation.world.scene import Weather

NAMES = ("day", "dusk", "rain", "glare")
SHARES = (0.55, 0.15, 0.15, 0.15)


def random_weather(rng: np.random.Generator, name: str | None, road_heading_rad: float) -> Weather:
    """Return a weather with random values.

    Args:
        rng: source of randomness; the number of draws does not depend on the outcome of the choice.
        name: one of NAMES, or None to draw one with SHARES.
        road_heading_rad: median heading of the road; the sun of "glare" is in this direction.

    Raises:
        KeyError: a name that is not in NAMES.
    """
    drawn = str(rng.choice(NAMES, p=SHARES))
    u = rng.uniform(0.0, 1.0, 8)

    def between(index: int, low: float, high: float) -> float:
        return float(low + u[index] * (high - low))

    any_azimuth = between(0, -np.pi, np.pi)
    presets = {
        "day": lambda: Weather(
            name="day",
            sun_azimuth_rad=any_azimuth,
            sun_elevation_rad=between(1, 0.45, 1.1),
            brightness=between(2, 0.85, 1.0),
            noise_std=between(3, 1.0, 3.0),
            visibility_m=between(4, 400.0, 1500.0),
            exposure_s=between(5, 0.002, 0.005),
        ),
        "dusk": lambda: Weather(
            name="dusk",
            sun_azimuth_rad=any_azimuth,
            sun_elevation_rad=between(1, 0.01, 0.10),
            brightness=between(2, 0.22, 0.50),
            noise_std=between(3, 3.0, 7.0),
            visibility_m=between(4, 250.0, 900.0),
            exposure_s=between(5, 0.008, 0.016),
        ),
        "rain": lambda: Weather(
            name="rain",
            sun_azimuth_rad=any_azimuth,
            sun_elevation_rad=between(1, 0.4, 0.9),
            brightness=between(2, 0.50, 0.80),
            rain=between(6, 0.3, 1.0),
            noise_std=between(3, 2.0, 5.0),
            visibility_m=between(4, 90.0, 300.0),
            exposure_s=between(5, 0.004, 0.010),
        ),
        "glare": lambda: Weather(
            name="glare",
            sun_azimuth_rad=road_heading_rad + between(0, -0.5, 0.5),
            sun_elevation_rad=between(1, 0.08, 0.28),
            brightness=between(2, 0.85, 1.0),
            glare=between(7, 0.4, 1.0),
            noise_std=between(3, 1.0, 3.0),
            visibility_m=between(4, 250.0, 900.0),
            exposure_s=between(5, 0.002, 0.004),
        ),
    }
    return presets[name or drawn]()
