# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The detection node runs imported models with every kind of head."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import yaml
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.importing.import_model import ImportRequest, import_model
from support.detectors import HEADS, head_request
from support.models import DETECTOR_LABELS, draw_scene, write_detector
from support.relaid import LAYOUTS, relay
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


def import_every_head(folder: Path) -> list[str]:
    """Import a file of each kind of head into FOLDER/NAME; return the names."""
    names = []
    for kind, write in HEADS.items():
        name = kind.replace(" ", "_")
        import_model(folder / f"{name}.onnx", folder / name, head_request(write(folder / f"{name}.onnx")))
        names.append(name)
    original = load_manifest(write_detector(folder / "original"))
    graph = onnx.load(original.variant_path("fp32"))
    # Boxes beside scores are what DETR gives too, where its graph ends with the sigmoid.
    detr = {"activation": "none", "box_units": "normalized", "box_order": "xyxy"}
    forms = {**{layout: (layout, *LAYOUTS[layout]) for layout in LAYOUTS}, "detr": ("beside", "detr", detr)}
    fields = original.input.model_dump(exclude={"name", "width", "height"})
    for form, (layout, decoder, options) in forms.items():
        onnx.save(relay(graph, original, layout), folder / f"{form}.onnx")
        request = ImportRequest(
            task="detection", labels=DETECTOR_LABELS, decoder=decoder, decoder_options=options, input=fields
        )
        import_model(folder / f"{form}.onnx", folder / form, request)
        names.append(form)
    return names


def test_every_kind_of_head_finds_the_objects_in_a_node(tmp_path: Path, recorder: Recorder) -> None:
    """One process with a node a head; all get the same image, with a blue and a red square."""
    names = import_every_head(tmp_path)
    parameters = {
        f"/{name}": {"ros__parameters": {"model": str(tmp_path / name), "score_threshold": 0.3}}
        for name in names
    }
    parameters["/compose"] = {"ros__parameters": {"nodes": [f"detection_node:/{name}" for name in names]}}
    (tmp_path / "nodes.yaml").write_text(yaml.safe_dump(parameters))
    publisher = recorder.node.create_publisher(Image, "/image", 1)
    for name in names:
        recorder.listen(f"/{name}/detections", Detection2DArray)
    message = image_message(draw_scene(0), STAMP_NS, "front")
    arguments = ("--params-file", str(tmp_path / "nodes.yaml"))

    def have_answered() -> bool:
        return all(recorder.received[f"/{name}/detections"] for name in names)

    with node_process("compose", *arguments, log=tmp_path / "log") as process:
        recorder.wait_for(have_answered, lambda: publisher.publish(message))
        assert process.stop() == 0
    for name in names:
        centers = {
            one.results[0].hypothesis.class_id: one.bbox.center.position
            for one in recorder.received[f"/{name}/detections"][-1].detections
        }
        assert set(centers) == {"car", "sign"}, name
        assert 8 <= centers["car"].x <= 40 and 8 <= centers["car"].y <= 40, name
        assert 88 <= centers["sign"].x <= 120 and 48 <= centers["sign"].y <= 80, name
