# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decoders of model outputs, and their names in manifests."""

PLUGINS = {
    "yolox": "ad_compressed_perception.tasks.decoders.yolox:YoloxDecoder",
    "argmax": "ad_compressed_perception.tasks.decoders.argmax:ArgmaxDecoder",
    "steering": "ad_compressed_perception.tasks.decoders.steering:SteeringDecoder",
    "trajectory": "ad_compressed_perception.tasks.decoders.trajectory:TrajectoryDecoder",
    "classes": "ad_compressed_perception.tasks.decoders.classes:ClassesDecoder",
    "raw": "ad_compressed_perception.tasks.raw:RawDecoder",
}
