# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Quoting parts in the formats of ``adcp evaluate``: links to the images, and labels in its conventions."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ad_compressed_perception.data.labeled.steering import ANGLE_COLUMN, STAMP_COLUMN
from ad_compressed_perception.tasks.planning import PlanningSettings, steering_of_curvature

FRAME_NS = 100_000_000
"""Nominal time from frame to frame of a drive without stamps, and that of KITTI's poses, 10 Hz."""
LEAST_HEIGHT_PX = 25.0
"""KITTI's least height of a box that counts (Geiger et al., CVPR 2012)."""
HORIZON_POINTS, STEP_S = 20, 0.15
_OBJECTS = {"car": "car", "pedestrian": "person", "person_sitting": "person", "truck": "truck"}
# Neither an object to be found nor an error where found: a COCO detector has no such label.
_IGNORED = {"van": ("car", "truck"), "cyclist": ("person",), "tram": ("truck",), "misc": ("truck",)}
_ROAD_MASKS: dict[str, dict[str, Any]] = {
    "rural_road_seg": {"classes": {"road": {"mask_ids": [1], "labels": ["road", "marking"]}}},
    "comma10k_11": {
        "classes": {"road": {"mask_ids": [1, 2], "labels": ["road", "marking"]}},
        "ignore_ids": [4],  # the own car
    },
}


def evaluation_arguments(part: str, data: Path, out: Path) -> list[str]:
    """Return the arguments of ``adcp evaluate`` for a part; write what it needs into a folder.

    Args:
        part: name in data_use.yaml.
        data: the part's folder: images and labels as published.
        out: folder for links and labels; kept where it exists.
    """
    if part in _ROAD_MASKS:
        out.mkdir(parents=True, exist_ok=True)
        label_map = out / "label_map.yaml"
        label_map.write_text(yaml.safe_dump({**_ROAD_MASKS[part], "rest": "background"}))
        return ["--data", str(data), "--label-map", str(label_map)]
    write: dict[str, Callable[[Path, Path], None]] = {
        "kitti_tiny": _boxes,
        "kitti_odo_03": _trajectories,
        "sully_steering": _steering,
    }
    if not out.is_dir():
        out.mkdir(parents=True)
        write[part](data, out)
    return ["--data", str(out)]


def _boxes(data: Path, out: Path) -> None:
    """Write COCO labels of car, person and truck; ignored regions and objects become crowds."""
    given = json.loads((data / "annotations.json").read_text(encoding="utf-8"))
    names = {one["id"]: one["name"] for one in given["categories"]}
    classes = sorted(set(_OBJECTS.values()))
    annotations = []

    def add(image: int, box: list[float], labels: tuple[str, ...], ignored: bool) -> None:
        for label in labels:
            row = {"image_id": image, "category_id": classes.index(label), "bbox": box}
            annotations.append({**row, "iscrowd": int(ignored)})

    for one in given["annotations"]:
        name, box = names[one["category_id"]], one["bbox"]
        small = box[3] < LEAST_HEIGHT_PX
        if name in _OBJECTS:
            add(one["image_id"], box, (_OBJECTS[name],), small)
        else:
            add(one["image_id"], box, _IGNORED[name], True)
    for one in given["ignore_regions"]:
        add(one["image_id"], one["bbox"], tuple(classes), True)
    categories = [{"id": number, "name": name} for number, name in enumerate(classes)]
    document = {"images": given["images"], "annotations": annotations, "categories": categories}
    (out / "instances.json").write_text(json.dumps(document))
    (out / "images").symlink_to(data / "images")


def _trajectories(data: Path, out: Path) -> None:
    """Write the driven path of the next 3 s of every image, in its own coordinates (x forward, y left)."""
    with (data / "poses.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    times = np.array([float(row["t_s"]) for row in rows])
    track = np.array([[float(row["x_forward_m"]), float(row["y_left_m"])] for row in rows])
    ahead = np.arange(1, HORIZON_POINTS + 1) * STEP_S
    settings = PlanningSettings()
    lines = []
    (out / "images").mkdir()
    for row, now, here in zip(rows, times, track, strict=True):
        if not row["file"] or now + ahead[-1] > times[-1]:
            continue
        yaw = float(row["yaw_left_rad"])
        later = np.stack([np.interp(now + ahead, times, track[:, axis]) for axis in (0, 1)], axis=1) - here
        turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
        stamp = int(row["index"]) * FRAME_NS
        lines.append(
            {
                "stamp_ns": stamp,
                "speed_mps": float(row["speed_mps"]),
                "steering_angle_rad": steering_of_curvature(
                    float(row["curvature_left_1pm"]), settings.steering_ratio, settings.wheelbase_m
                ),
                "step_s": STEP_S,
                "points_xy_m": (later @ turn).round(4).tolist(),
            }
        )
        (out / "images" / f"{stamp}.jpg").symlink_to(data / "images" / row["file"])
    (out / "trajectories.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _steering(data: Path, out: Path) -> None:
    """Write the steering-wheel angle, left positive, of every image; the frame rate is not known."""
    (out / "images").mkdir()
    with (data / "steering.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    lines = [f"{STAMP_COLUMN},{ANGLE_COLUMN}"]
    for row in rows:
        stamp = int(row["index"]) * FRAME_NS
        lines.append(f"{stamp},{row['steering_angle_rad']}")
        (out / "images" / f"{stamp}.jpg").symlink_to(data / "images" / row["file"])
    (out / "steering.csv").write_text("\n".join(lines) + "\n")


def straight_ahead(part: str, folder: Path) -> dict[str, float]:
    """Return the errors of a planner that never steers and keeps the present speed."""
    if part == "sully_steering":
        with (folder / "steering.csv").open(newline="") as stream:
            angles = np.array([float(row[ANGLE_COLUMN]) for row in csv.DictReader(stream)])
        return {"rmse_rad": float(np.sqrt(np.mean(np.square(angles))))}
    errors, angles_rad = [], []
    for line in (folder / "trajectories.jsonl").read_text().splitlines():
        one = json.loads(line)
        points = np.array(one["points_xy_m"])
        along = one["speed_mps"] * one["step_s"] * np.arange(1, len(points) + 1)
        errors.append(np.hypot(points[:, 0] - along, points[:, 1]).mean())
        angles_rad.append(one["steering_angle_rad"])
    return {"ade_m": float(np.mean(errors)), "rmse_rad": float(np.sqrt(np.mean(np.square(angles_rad))))}
