# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Three nodes of one process on one camera exchange their models at the same time."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.faulty_backend import install_faulty_backend
from support.models import WRITERS, draw_scene
from support.ros import Recorder, image_message, node_process
from support.variants import add_variant

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters
from sensor_msgs.msg import Image

from ad_compressed_perception.core.timing import NodeReport
from ad_compressed_perception.messages.timing import reports_of
from ad_compressed_perception.nodes.qos import LATCHED_QOS, TIMING_QOS

pytestmark = pytest.mark.ros
TASKS = ("detection", "segmentation", "planning")


class Car(Recorder):
    """A camera that sends a frame when all nodes have completed the one before, so that none is dropped."""

    def __init__(self, context: Any) -> None:
        super().__init__(context, "test_composed")
        self.camera = self.node.create_publisher(Image, "/image", 10)
        self.sent: list[int] = []
        for task in TASKS:
            self.listen(f"/{task}/timing", DiagnosticArray, TIMING_QOS)
            self.listen(f"/{task}/swap", DiagnosticArray, LATCHED_QOS)

    def connect(self) -> None:
        """Wait for the nodes, and until all of them answer."""
        self.meet(*(f"/{task}" for task in TASKS))
        for task in TASKS:
            self.call(SetParameters, f"/{task}/set_parameters", SetParameters.Request())
        self.wait_for(lambda: self.camera.get_subscription_count() == len(TASKS))
        self.wait_for(lambda: all(self.node.count_publishers(f"/{task}/timing") for task in TASKS))

    def reports(self, task: str) -> dict[int, list[NodeReport]]:
        """Return what a node reported, by stamp."""
        found = defaultdict(list)
        for message in self.received[f"/{task}/timing"]:
            for report in reports_of(message):
                found[report.timing.stamp_ns].append(report)
        return found

    def send(self) -> None:
        """Send a frame and wait for every node's report of it."""
        stamp_ns = time.time_ns()
        self.camera.publish(image_message(draw_scene(len(self.sent)), stamp_ns))
        self.sent.append(stamp_ns)
        self.wait_for(lambda: all(stamp_ns in self.reports(task) for task in TASKS))

    def ask(self, task: str, variant: str) -> Any:
        """Ask for a variant; return the future of the answer."""
        value = ParameterValue(type=4, string_value=variant)
        request = SetParameters.Request(parameters=[Parameter(name="variant", value=value)])
        return self._clients[f"/{task}/set_parameters"].call_async(request)

    def drive_until_answered(self, *asked: Any) -> None:
        """Send frames until all requests are answered; each must have succeeded."""
        self.send()
        while not all(each.done() for each in asked):
            self.send()
        assert [each.result().results[0].reason for each in asked] == [""] * len(asked)

    def gaps(self, task: str) -> list[str]:
        """Return the published gaps between two models of a node, without those not yet known."""
        values = [
            {pair.key: pair.value for pair in message.status[0].values}
            for message in self.received[f"/{task}/swap"]
        ]
        return [each["swap_gap_frames"] for each in values if each["swap_gap_frames"] != "nan"]


@pytest.fixture
def car(ros_context: Any) -> Iterator[Car]:
    car = Car(ros_context)
    yield car
    car.close()


def test_nodes_of_a_process_swap_at_once_and_neither_lose_a_frame_nor_wait_for_each_other(
    tmp_path: Path, car: Car, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_faulty_backend(tmp_path / "package", monkeypatch)
    parameters: dict[str, Any] = {
        "/compose": {"ros__parameters": {"nodes": [f"{task}_node:/{task}" for task in TASKS]}}
    }
    folders = {}
    for task in TASKS:
        folder = folders[task] = WRITERS[task](tmp_path / task)
        add_variant(folder, "other", lambda values: values * 1.0001)
        add_variant(folder, "slow", backend="faulty")
        parameters[f"/{task}"] = {"ros__parameters": {"model": str(folder), "timing_period_s": 0.0}}
    file = tmp_path / "parameters.yaml"
    file.write_text(yaml.safe_dump(parameters))
    with node_process("compose", "--params-file", str(file), log=tmp_path / "log") as process:
        car.connect()
        for number in range(6):
            variant = ("other", "fp32")[number % 2]
            car.drive_until_answered(*(car.ask(task, variant) for task in TASKS))

        # One of them loads for as long as it likes: the others are exchanged, and frames go on.
        (folders["detection"] / "load").write_text("hang")
        slow = car.ask("detection", "slow")
        for variant in ("other", "fp32"):
            car.drive_until_answered(car.ask("segmentation", variant), car.ask("planning", variant))
        assert not slow.done()
        (folders["detection"] / "load").unlink()
        car.drive_until_answered(slow)
        car.send()

        for task in TASKS:
            reports = car.reports(task)
            assert [len(reports[stamp]) for stamp in car.sent] == [1] * len(car.sent), task
            assert {reports[stamp][0].timing.outcome for stamp in car.sent} == {"processed"}, task
            assert {reports[stamp][0].variant for stamp in car.sent} >= {"fp32", "other"}, task
            last = reports[car.sent[-1]][0]
            assert (last.received, last.counts["processed"]) == (len(car.sent),) * 2, task
            assert car.gaps(task) and set(car.gaps(task)) == {"0"}, task
        assert car.reports("detection")[car.sent[-1]][0].variant == "slow"
        assert process.stop() == 0
        assert "Traceback" not in process.log
