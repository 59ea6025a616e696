# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A candidate's file is truncated, replaced or deleted before, during and after its swap: frames go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.fault_injection import enable_fault_injection
from support.models import draw_scene, write_detector
from support.ros import Recorder, image_message, node_process
from support.variants import add_variant

rclpy = pytest.importorskip("rclpy")
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rcl_interfaces.msg import Parameter, ParameterValue  # noqa: E402
from rcl_interfaces.srv import GetParameters, SetParameters  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from ad_compressed_perception.messages.timing import reports_of  # noqa: E402
from ad_compressed_perception.nodes.qos import TIMING_QOS  # noqa: E402

pytestmark = pytest.mark.ros
NODE = "/detection"
LOAD_MS = 800
"""How long a load waits between the check of the manifest and reading the file: time to change it."""


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def replace(file: Path) -> None:
    """Put a valid model of other weights in its place."""
    file.write_bytes(file.with_name("other.onnx").read_bytes())


DAMAGE: dict[str, Callable[[Path], None]] = {"truncate": truncate, "replace": replace, "delete": Path.unlink}


class Car(Recorder):
    """A camera of 20 Hz before a detection node, its parameters and services."""

    def __init__(self, context: Any) -> None:
        super().__init__(context, "test_swap_files")
        self._camera = self.node.create_publisher(Image, "/image", 10)
        self.listen(f"{NODE}/timing", DiagnosticArray, TIMING_QOS)
        self.sent: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._publish, daemon=True)

    def start(self) -> None:
        self._thread.start()
        self.wait_for(lambda: len(self.answered()) > 10)

    def _publish(self) -> None:
        while not self._stop.wait(0.05):
            stamp_ns = time.time_ns()
            self._camera.publish(image_message(draw_scene(len(self.sent)), stamp_ns))
            self.sent.append(stamp_ns)

    def end(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def answered(self) -> dict[int, str]:
        """Return the variant of each answered frame, by stamp."""
        reports = [one for message in self.received[f"{NODE}/timing"] for one in reports_of(message)]
        return {each.timing.stamp_ns: each.variant for each in reports if each.timing.outcome == "processed"}

    def outcomes(self) -> set[str]:
        """Return the outcomes of all frames."""
        messages = self.received[f"{NODE}/timing"]
        return {one.timing.outcome for message in messages for one in reports_of(message)}

    def answers_on(self) -> None:
        """Wait for further answers."""
        count = len(self.answered())
        self.wait_for(lambda: len(self.answered()) > count + 3)

    def swap_to(self, variant: str, while_loading: Callable[[], None] = lambda: None) -> str:
        """Set the variant; return why it was refused, or an empty text."""
        value = ParameterValue(type=4, string_value=variant)
        self.call(GetParameters, f"{NODE}/get_parameters", GetParameters.Request(names=["variant"]))
        timer = threading.Timer(LOAD_MS * 0.4e-3, while_loading)
        timer.start()
        request = SetParameters.Request(parameters=[Parameter(name="variant", value=value)])
        (result,) = self.call(SetParameters, f"{NODE}/set_parameters", request).results
        timer.join()
        assert result.successful == (not result.reason)
        return str(result.reason)

    def running(self) -> str:
        request = GetParameters.Request(names=["variant"])
        return str(self.call(GetParameters, f"{NODE}/get_parameters", request).values[0].string_value)


@pytest.fixture
def car(ros_context: Any) -> Iterator[Car]:
    car = Car(ros_context)
    yield car
    car.end()
    car.close()


def test_whatever_happens_to_a_candidate_s_file_frames_go_on_and_the_reason_is_named(
    tmp_path: Path, car: Car, monkeypatch: pytest.MonkeyPatch
) -> None:
    enable_fault_injection(tmp_path / "site", monkeypatch)
    model = write_detector(tmp_path / "model")
    for name in (*DAMAGE, "good", "wrong_hash", "other"):
        add_variant(model, name, lambda values: values * 1.0001)
    kept = {name: (model / f"{name}.onnx").read_bytes() for name in (*DAMAGE, "good")}
    add_variant(model, "other", lambda values: values * 0.5)  # another content, to replace files by
    (model / "wrong_hash.onnx").write_bytes((model / "other.onnx").read_bytes())
    options = ("-p", "backend:=fault_injection", "-p", f"backend_options:=['load_ms={LOAD_MS}']")
    with node_process("detection_node", "-p", f"model:={model}", *options, log=tmp_path / "log") as node:
        car.start()
        assert "sha256" in car.swap_to("wrong_hash")

        for name, damage in DAMAGE.items():
            file = model / f"{name}.onnx"
            damage(file)  # before the swap: the manifest's check finds it
            reason = car.swap_to(name)
            assert reason and "\n" not in reason and str(file) in reason, name
            file.write_bytes(kept[name])

            # During it: after the manifest's check, before the runtime reads the file.
            reason = car.swap_to(name, while_loading=lambda file=file, damage=damage: damage(file))
            assert reason and "\n" not in reason and name in reason, name
            file.write_bytes(kept[name])
            assert car.running() == "fp32"

        # After it: what is loaded needs its file no more, and neither does the one before.
        assert car.swap_to("good") == ""
        (model / "good.onnx").unlink()
        (model / "fp32.onnx").write_bytes(b"")
        car.answers_on()
        assert car.call(Trigger, f"{NODE}/rollback", Trigger.Request()).success
        assert car.running() == "fp32"
        assert "good.onnx" in car.swap_to("good")
        car.answers_on()

        car.end()
        car.wait_for(lambda: max(car.answered()) >= car.sent[-1])
        answered = car.answered()
        assert car.outcomes() <= {"processed", "dropped_busy"}, (
            "a busy computer drops frames, a swap fails none"
        )
        assert set(answered.values()) == {"fp32", "good"}, "no frame was answered by a damaged file"
        assert node.stop() == 0
        assert "Traceback" not in node.log
