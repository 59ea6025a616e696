# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The detection node runs an imported model with another head than YOLOX."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from ad_compressed_perception.importing.import_model import import_model
from support.detectors import HEADS, head_request
from support.models import draw_scene
from support.ros import Recorder, image_message, node_process

pytestmark = pytest.mark.ros
STAMP_NS = 1_479_425_491_191_381_351


@pytest.fixture
def recorder(ros_context: object) -> Iterator[Recorder]:
    listener = Recorder(ros_context)
    yield listener
    listener.close()


def test_boxes_of_three_maps_reach_the_topic_in_source_pixels(tmp_path: Path, recorder: Recorder) -> None:
    """CenterNet: several outputs, found by shape and name, and no suppression behind them."""
    file = tmp_path / "stranger.onnx"
    import_model(file, tmp_path / "model", head_request(HEADS["centernet"](file)))
    publisher = recorder.node.create_publisher(Image, "/image", 1)
    recorder.listen("/detection/detections", Detection2DArray)
    found = recorder.received["/detection/detections"]
    message = image_message(draw_scene(0), STAMP_NS, "front")
    with node_process("detection_node", "-p", f"model:={tmp_path / 'model'}", log=tmp_path / "log") as node:
        recorder.wait_for(lambda: found, lambda: publisher.publish(message))
        assert found[-1].header == message.header
        by_label = {one.results[0].hypothesis.class_id: one for one in found[-1].detections}
        assert set(by_label) == {"car", "sign"}
        # The squares of the scene: x 8 to 40 and y 8 to 40, and x 88 to 120 and y 48 to 80.
        assert 8 <= by_label["car"].bbox.center.position.x <= 40
        assert 88 <= by_label["sign"].bbox.center.position.x <= 120
        assert node.stop() == 0
