# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decoders of model outputs, and their names in manifests."""

PLUGINS = {
    "yolox": "ad_compressed_perception.tasks.decoders.yolox:YoloxDecoder",
    "detr": "ad_compressed_perception.tasks.decoders.detr:DetrDecoder",
    "end_to_end": "ad_compressed_perception.tasks.decoders.end_to_end:EndToEndDecoder",
    "ssd": "ad_compressed_perception.tasks.decoders.ssd:SsdDecoder",
    "yolo": "ad_compressed_perception.tasks.decoders.yolo:YoloDecoder",
    "nanodet": "ad_compressed_perception.tasks.decoders.nanodet:NanodetDecoder",
    "centernet": "ad_compressed_perception.tasks.decoders.centernet:CenternetDecoder",
    "grid": "ad_compressed_perception.tasks.decoders.grid:GridDecoder",
    "argmax": "ad_compressed_perception.tasks.decoders.argmax:ArgmaxDecoder",
    "sigmoid": "ad_compressed_perception.tasks.decoders.sigmoid:SigmoidDecoder",
    "steering": "ad_compressed_perception.tasks.decoders.steering:SteeringDecoder",
    "trajectory": "ad_compressed_perception.tasks.decoders.trajectory:TrajectoryDecoder",
    "classes": "ad_compressed_perception.tasks.decoders.classes:ClassesDecoder",
    "raw": "ad_compressed_perception.tasks.decoders.raw:OutputsDecoder",
    "waypoints": "ad_compressed_perception.tasks.decoders.waypoints:WaypointsDecoder",
    "controls": "ad_compressed_perception.tasks.decoders.controls:ControlsDecoder",
}
