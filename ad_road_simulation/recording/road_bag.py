# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames with their ground truth as a rosbag2, on the topics that the node road_camera publishes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.data.bag_types import typestore
from ad_compressed_perception.image.encode import encode_jpeg
from ad_road_simulation.world.road_frame import (
    BASE_FRAME,
    CAMERA_FRAME,
    ODOMETRY_FRAME,
    RoadFrame,
)

PREFIX = "/road_camera"
JPEG_QUALITY = 92
_KINDS = {
    "image/compressed": "sensor_msgs/msg/CompressedImage",
    "camera_info": "sensor_msgs/msg/CameraInfo",
    "odometry": "nav_msgs/msg/Odometry",
    "ground_truth/detections": "vision_msgs/msg/Detection2DArray",
    "ground_truth/mask": "sensor_msgs/msg/Image",
    "ground_truth/trajectory": "nav_msgs/msg/Path",
    "ground_truth/detections/label_info": "vision_msgs/msg/LabelInfo",
    "ground_truth/mask/label_info": "vision_msgs/msg/LabelInfo",
}


class RoadBag:
    """Writes frames to a bag; a context manager, since the index is written at the end."""

    def __init__(self, folder: Path, camera_matrix: NDArray[np.float64]) -> None:
        """Create a bag (MCAP) in a folder that does not exist yet.

        Args:
            folder: of the bag.
            camera_matrix: (3, 3), in pixels.
        """
        from rosbags.rosbag2 import StoragePlugin, Writer

        self._matrix = camera_matrix
        self._store = typestore()
        self._types: Any = self._store.types
        self._writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
        self._connections: dict[str, Any] = {}
        self._labeled = False

    def __enter__(self) -> RoadBag:
        """Open the bag and add its topics."""
        self._writer.open()
        self._connections = {
            name: self._writer.add_connection(
                f"{PREFIX}/{name}",
                kind,
                typestore=self._store,
                offered_qos_profiles=[_latched()] if name.endswith("label_info") else (),
            )
            for name, kind in _KINDS.items()
        }
        return self

    def __exit__(self, *_: object) -> None:
        """Write the index and close the bag."""
        self._writer.close()

    def add(self, frame: RoadFrame) -> None:
        """Write the messages of a frame, all with its stamp."""
        stamp = frame.stamp_ns
        if not self._labeled:
            self._labeled = True
            self._write(
                "ground_truth/detections/label_info", stamp, self._labels(frame.detections.labels, stamp)
            )
            self._write("ground_truth/mask/label_info", stamp, self._labels(frame.mask.labels, stamp))
        jpeg = np.frombuffer(encode_jpeg(frame.image_bgr, JPEG_QUALITY), np.uint8)
        self._write(
            "image/compressed",
            stamp,
            self._of("sensor_msgs/CompressedImage", self._header(stamp, CAMERA_FRAME), "jpeg", jpeg),
        )
        self._write("camera_info", stamp, self._camera_info(frame))
        self._write("odometry", stamp, self._odometry(frame))
        self._write("ground_truth/detections", stamp, self._detections(frame))
        self._write("ground_truth/mask", stamp, self._mask(frame))
        self._write("ground_truth/trajectory", stamp, self._path(frame))

    def _write(self, name: str, stamp_ns: int, message: Any) -> None:
        self._writer.write(
            self._connections[name], stamp_ns, self._store.serialize_cdr(message, _KINDS[name])
        )

    def _of(self, kind: str, *fields: Any) -> Any:
        package, name = kind.split("/")
        return self._types[f"{package}/msg/{name}"](*fields)

    def _header(self, stamp_ns: int, frame_id: str) -> Any:
        time = self._of("builtin_interfaces/Time", stamp_ns // 10**9, stamp_ns % 10**9)
        return self._of("std_msgs/Header", time, frame_id)

    def _labels(self, labels: tuple[str, ...], stamp_ns: int) -> Any:
        classes = [self._of("vision_msgs/VisionClass", *entry) for entry in enumerate(labels)]
        return self._of("vision_msgs/LabelInfo", self._header(stamp_ns, CAMERA_FRAME), classes, 0.0)

    def _pose(self, x_m: float, y_m: float, heading_rad: float) -> Any:
        turn = (0.0, 0.0, math.sin(heading_rad / 2.0), math.cos(heading_rad / 2.0))
        return self._of(
            "geometry_msgs/Pose",
            self._of("geometry_msgs/Point", x_m, y_m, 0.0),
            self._of("geometry_msgs/Quaternion", *turn),
        )

    def _camera_info(self, frame: RoadFrame) -> Any:
        height, width = frame.image_bgr.shape[:2]
        projection = np.hstack([self._matrix, np.zeros((3, 1))])
        return self._of(
            "sensor_msgs/CameraInfo",
            self._header(frame.stamp_ns, CAMERA_FRAME),
            height,
            width,
            "plumb_bob",
            np.zeros(5),
            self._matrix.ravel(),
            np.eye(3).ravel(),
            projection.ravel(),
            0,
            0,
            self._of("sensor_msgs/RegionOfInterest", 0, 0, 0, 0, False),
        )

    def _odometry(self, frame: RoadFrame) -> Any:
        odometry = frame.odometry
        unknown = np.zeros(36)
        twist = self._of(
            "geometry_msgs/Twist",
            self._of("geometry_msgs/Vector3", odometry.speed_mps, 0.0, 0.0),
            self._of("geometry_msgs/Vector3", 0.0, 0.0, odometry.yaw_rate_radps),
        )
        pose = self._pose(odometry.pose.x_m, odometry.pose.y_m, odometry.pose.heading_rad)
        return self._of(
            "nav_msgs/Odometry",
            self._header(frame.stamp_ns, ODOMETRY_FRAME),
            BASE_FRAME,
            self._of("geometry_msgs/PoseWithCovariance", pose, unknown),
            self._of("geometry_msgs/TwistWithCovariance", twist, unknown),
        )

    def _detections(self, frame: RoadFrame) -> Any:
        found = frame.detections
        header = self._header(frame.stamp_ns, CAMERA_FRAME)
        nowhere = self._of("geometry_msgs/PoseWithCovariance", self._pose(0.0, 0.0, 0.0), np.zeros(36))
        boxes = []
        for (left, top, right, bottom), label in zip(
            found.boxes_xyxy.tolist(), found.class_ids.tolist(), strict=True
        ):
            middle = self._of("vision_msgs/Point2D", (left + right) / 2.0, (top + bottom) / 2.0)
            center = self._of("vision_msgs/Pose2D", middle, 0.0)
            hypothesis = self._of("vision_msgs/ObjectHypothesis", found.labels[label], 1.0)
            boxes.append(
                self._of(
                    "vision_msgs/Detection2D",
                    header,
                    [self._of("vision_msgs/ObjectHypothesisWithPose", hypothesis, nowhere)],
                    self._of("vision_msgs/BoundingBox2D", center, right - left, bottom - top),
                    "",
                )
            )
        return self._of("vision_msgs/Detection2DArray", header, boxes)

    def _mask(self, frame: RoadFrame) -> Any:
        ids = frame.mask.label_ids
        height, width = ids.shape
        return self._of(
            "sensor_msgs/Image",
            self._header(frame.stamp_ns, CAMERA_FRAME),
            height,
            width,
            "mono8",
            0,
            width,
            np.ascontiguousarray(ids).ravel(),
        )

    def _path(self, frame: RoadFrame) -> Any:
        path = frame.trajectory
        header = self._header(frame.stamp_ns, BASE_FRAME)
        rows = zip(path.points_xy_m.tolist(), path.headings_rad.tolist(), strict=True)
        poses = [
            self._of("geometry_msgs/PoseStamped", header, self._pose(x, y, heading))
            for (x, y), heading in rows
        ]
        return self._of("nav_msgs/Path", header, poses)


def _latched() -> Any:
    from rosbags.interfaces import (
        Qos,
        QosDurability,
        QosHistory,
        QosLiveliness,
        QosReliability,
        QosTime,
    )

    never = QosTime(2147483647, 4294967295)
    return Qos(
        QosHistory.KEEP_LAST,
        1,
        QosReliability.RELIABLE,
        QosDurability.TRANSIENT_LOCAL,
        never,
        never,
        QosLiveliness.AUTOMATIC,
        never,
        False,
    )
