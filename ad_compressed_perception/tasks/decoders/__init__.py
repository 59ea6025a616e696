# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decoders of model outputs, and their names in manifests."""

PLUGINS = {
    "yolox": "ad_compressed_perception.tasks.decoders.yolox:YoloxDecoder",
    "argmax": "ad_compressed_perception.tasks.decoders.argmax:ArgmaxDecoder",
    "sigmoid": "ad_compressed_perception.tasks.decoders.sigmoid:SigmoidDecoder",
    "steering": "ad_compressed_perception.tasks.decoders.steering:SteeringDecoder",
    "trajectory": "ad_compressed_perception.tasks.decoders.trajectory:TrajectoryDecoder",
    "waypoints": "ad_compressed_perception.tasks.decoders.waypoints:WaypointsDecoder",
    "controls": "ad_compressed_perception.tasks.decoders.controls:ControlsDecoder",
}
