# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rendering speed on one core: python -m ad_road_simulation.renderer.benchmark."""

from __future__ import annotations

import argparse
import time

import cv2
import numpy as np

from ad_road_simulation.renderer.renderer import Renderer
from ad_road_simulation.world.camera import Camera
from ad_road_simulation.world.sampling import training_samples


def milliseconds_per_image(
    width_px: int, height_px: int, scenes: int, *, with_ground_truth: bool = True
) -> float:
    """Return the median time of rendering training scenes, in ms of CPU time of one thread.

    Args:
        width_px: of the images.
        height_px: of the images.
        scenes: number of different scenes; each is rendered three times and the fastest time counts.
        with_ground_truth: boxes and mask included.
    """
    cv2.setNumThreads(1)
    renderer = Renderer(Camera(width_px=width_px, height_px=height_px))
    drawn = [sample.scene for sample in training_samples(1, scenes)]
    best = []
    for scene in drawn:
        times = []
        for _ in range(3):
            begin = time.thread_time()
            renderer.render(scene, with_ground_truth=with_ground_truth)
            times.append(time.thread_time() - begin)
        best.append(min(times))
    return float(np.median(best)) * 1e3


def main() -> None:
    """Print the rendering time of an image with its ground truth, and the images per second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--scenes", type=int, default=60)
    given = parser.parse_args()
    cost = milliseconds_per_image(given.width, given.height, given.scenes)
    print(
        f"{given.width}x{given.height} with ground truth: {cost:.1f} ms, "
        f"{1e3 / cost:.0f} images/s on one core"
    )


if __name__ == "__main__":
    main()
