# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames with their ground truth as a folder of labeled data for all three tasks.

``images/NAME.jpg``, ``masks/NAME.png`` with ``labels.json``, ``instances.json`` (COCO), ``steering.csv`` and
``trajectories.jsonl``, where NAME is the stamp in nanoseconds.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.labeled.coco import JSON_NAMES
from ad_compressed_perception.data.labeled.masks import NAMES_NAME
from ad_compressed_perception.data.labeled.paths import PATHS_NAME, PathEntry
from ad_compressed_perception.data.labeled.steering import ANGLE_COLUMN, CSV_NAME, STAMP_COLUMN
from ad_compressed_perception.image.encode import encode_jpeg
from ad_road_simulation.world.road_frame import RoadFrame

JPEG_QUALITY = 92
_STAMP_DIGITS = 15


class RoadFolder:
    """Writes frames to a folder; ``close`` writes the labels."""

    def __init__(self, folder: Path, image_format: Literal["jpg", "png"] = "jpg") -> None:
        """Create the folder, which must not exist."""
        self._folder, self._format = folder, image_format
        for name in ("images", "masks"):
            (folder / name).mkdir(parents=True)
        self._images: list[dict[str, Any]] = []
        self._boxes: list[dict[str, Any]] = []
        self._categories: tuple[str, ...] = ()
        self._mask_names: tuple[str, ...] = ()
        self._angles: list[str] = []
        self._paths: list[str] = []

    def add(self, frame: RoadFrame) -> None:
        """Write image and mask of a frame and collect its labels.

        Raises:
            DataError: a trajectory without times or steering-wheel angle.
        """
        name = f"{frame.stamp_ns:0{_STAMP_DIGITS}d}"
        self._categories, self._mask_names = frame.detections.labels, frame.mask.labels
        image = self._folder / "images" / f"{name}.{self._format}"
        if self._format == "jpg":
            image.write_bytes(encode_jpeg(frame.image_bgr, JPEG_QUALITY))
        else:
            _write_png(image, frame.image_bgr)
        _write_png(self._folder / "masks" / f"{name}.png", frame.mask.label_ids)
        number = len(self._images)
        height, width = frame.image_bgr.shape[:2]
        self._images.append({"id": number, "file_name": image.name, "width": width, "height": height})
        self._boxes += _annotations(frame, number, len(self._boxes))
        entry = path_entry(frame)
        self._angles.append(f"{entry.stamp_ns},{entry.steering_angle_rad!r}")
        self._paths.append(entry.model_dump_json())

    def close(self) -> None:
        """Write the labels."""
        categories = [{"id": index, "name": name} for index, name in enumerate(self._categories)]
        document = {"images": self._images, "annotations": self._boxes, "categories": categories}
        self._write(JSON_NAMES[0], json.dumps(document))
        self._write(NAMES_NAME, json.dumps(list(self._mask_names)))
        self._write(CSV_NAME, "\n".join([f"{STAMP_COLUMN},{ANGLE_COLUMN}", *self._angles]))
        self._write(PATHS_NAME, "\n".join(self._paths))

    def _write(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text + "\n", encoding="utf-8")


def path_entry(frame: RoadFrame) -> PathEntry:
    """Return a frame's line of trajectories.jsonl; raise DataError where times or angle are missing."""
    path = frame.trajectory
    if not (math.isfinite(path.step_s) and math.isfinite(path.steering_wheel_angle_rad)):
        raise DataError(f"frame {frame.stamp_ns}: its trajectory has no times or no steering-wheel angle")
    is_clear = not math.isfinite(path.clear_distance_m)
    return PathEntry(
        stamp_ns=frame.stamp_ns,
        drive=frame.drive,
        speed_mps=max(0.0, frame.odometry.speed_mps),
        steering_angle_rad=round(path.steering_wheel_angle_rad, 6),
        step_s=path.step_s,
        points_xy_m=np.round(path.points_xy_m, 4).tolist(),
        speeds_mps=[] if path.speeds_mps is None else np.round(path.speeds_mps, 4).tolist(),
        clear_distance_m=None if is_clear else round(path.clear_distance_m, 3),
        must_stop=path.stop_probability > 0.5,
    )


def _annotations(frame: RoadFrame, image: int, first: int) -> list[dict[str, Any]]:
    rows = zip(
        frame.detections.boxes_xyxy.tolist(),
        frame.detections.class_ids.tolist(),
        frame.visible_shares.tolist(),
        strict=True,
    )
    return [
        {
            "id": first + index,
            "image_id": image,
            "category_id": category,
            "bbox": [round(left, 2), round(top, 2), round(right - left, 2), round(bottom - top, 2)],
            "area": round((right - left) * (bottom - top), 2),
            "iscrowd": 0,
            "visible_share": round(share, 3),
        }
        for index, ((left, top, right, bottom), category, share) in enumerate(rows)
    ]


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    # Compression level 1: about the same file size at a third of the time.
    _, encoded = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    path.write_bytes(encoded.tobytes())
