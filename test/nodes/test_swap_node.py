# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The model of a running node is exchanged by parameter and service, over the wire."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from support.faulty_backend import install_faulty_backend
from support.models import draw_scene, write_detector
from support.ros import Recorder, image_message, node_process
from support.variants import GATE, add_variant

rclpy = pytest.importorskip("rclpy")
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from rcl_interfaces.msg import Parameter, ParameterValue  # noqa: E402
from rcl_interfaces.srv import GetParameters, SetParameters  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402
from vision_msgs.msg import LabelInfo  # noqa: E402

from ad_compressed_perception.core.timing import NodeReport  # noqa: E402
from ad_compressed_perception.messages.timing import reports_of  # noqa: E402
from ad_compressed_perception.nodes.qos import LATCHED_QOS, TIMING_QOS  # noqa: E402
from ad_compressed_perception.nodes.swap_topic import SwapTopic  # noqa: E402
from ad_compressed_perception.serving.served_model import ModelIdentity  # noqa: E402
from ad_compressed_perception.serving.swap import SwapReport  # noqa: E402

pytestmark = pytest.mark.ros


def request_of(values: Mapping[str, str | int]) -> SetParameters.Request:
    """Return a request for parameters of texts and whole numbers."""
    given = []
    for name, value in values.items():
        is_text = isinstance(value, str)
        content = ParameterValue(type=4, string_value=value) if is_text else None
        content = content or ParameterValue(type=2, integer_value=value)
        given.append(Parameter(name=name, value=content))
    return SetParameters.Request(parameters=given)


class Swapper(Recorder):
    """A camera of 20 Hz in front of a detection node, and what it answers."""

    def __init__(self, context: Any) -> None:
        super().__init__(context, "test_swapper")
        self.camera = self.node.create_publisher(Image, "/image", 10)
        self.listen("/detection/timing", DiagnosticArray, TIMING_QOS)
        self.listen("/detection/swap", DiagnosticArray, LATCHED_QOS)
        self.sent: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._publish, daemon=True)

    def _publish(self) -> None:
        while not self._stop.wait(0.05):
            stamp_ns = time.time_ns()
            self.camera.publish(image_message(draw_scene(len(self.sent)), stamp_ns))
            self.sent.append(stamp_ns)

    def start(self) -> None:
        """Start the camera, and wait until frames are answered."""
        self._thread.start()
        self.wait_for(lambda: len(self.answers()) > 12)

    def stop(self) -> None:
        """Stop the camera, and wait until the last frame is reported."""
        self._stop.set()
        self._thread.join()
        self.wait_for(lambda: self.answers() and max(self.answers()) >= self.sent[-1])

    def reports(self) -> list[NodeReport]:
        """Return what the node reported of each frame."""
        return [one for message in self.received["/detection/timing"] for one in reports_of(message)]

    def answers(self) -> dict[int, str]:
        """Return the variant by stamp of each answered frame."""
        return {r.timing.stamp_ns: r.variant for r in self.reports() if r.timing.outcome == "processed"}

    def gap(self, old: str, new: str) -> int:
        """Return the frames without a result between the last answer of one and the first of another."""
        self.wait_for(lambda: new in self.answers().values())
        answers = self.answers()
        last = max(stamp for stamp, variant in answers.items() if variant == old)
        first = min(stamp for stamp, variant in answers.items() if variant == new)
        return sum(last < one.timing.stamp_ns < first for one in self.reports())

    def set(self, **values: str | int) -> str:
        """Set parameters in one request; return the first reason why one was refused, or an empty text."""
        results = self.call(SetParameters, "/detection/set_parameters", request_of(values)).results
        reasons = [result.reason for result in results if not result.successful]
        assert all(bool(reason) for reason in reasons)
        return reasons[0] if reasons else ""

    def set_later(self, **values: str | int) -> Any:
        """Set parameters without waiting; return the future."""
        if "/detection/set_parameters" not in self._clients:
            self.set()
        return self._clients["/detection/set_parameters"].call_async(request_of(values))

    def change_state(self, transition: int) -> bool:
        """Ask for a transition."""
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.call(ChangeState, "/detection/change_state", request).success)

    def get(self, name: str) -> str:
        """Return the value of a parameter."""
        request = GetParameters.Request(names=[name])
        return str(self.call(GetParameters, "/detection/get_parameters", request).values[0].string_value)

    def trigger(self, name: str) -> tuple[bool, str]:
        """Call a service."""
        answer = self.call(Trigger, f"/detection/{name}", Trigger.Request())
        return bool(answer.success), str(answer.message)

    def figures(self) -> dict[str, str]:
        """Return the last figures of an exchange, with its gap where it happened."""

        def complete() -> dict[str, str]:
            values = {v.key: v.value for v in self.received["/detection/swap"][-1].status[0].values}
            return values if values["outcome"] == "refused" or values["swap_gap_frames"] != "nan" else {}

        self.wait_for(lambda: self.received["/detection/swap"])
        found: dict[str, str] = self.wait_for(complete)
        return found


@pytest.fixture
def swapper(ros_context: Any) -> Iterator[Swapper]:
    swapper = Swapper(ros_context)
    yield swapper
    swapper._stop.set()
    swapper.close()


def test_a_variant_is_exchanged_between_two_frames_and_a_wrong_one_never(
    tmp_path: Path, swapper: Swapper
) -> None:
    """Failed before: 'variant' took effect at configure only."""
    model = write_detector(tmp_path / "model")
    sha256 = add_variant(model, "int8", lambda values: values * 1.0001, provenance=GATE)
    add_variant(model, "blind", lambda values: values * 0.0 - 9.0, provenance=GATE)
    add_variant(model, "nan", lambda values: values * np.nan)
    add_variant(model, "altered", lambda values: values * 1.0002)
    (model / "altered.onnx").write_bytes(b"something else")
    add_variant(model, "rejected", verdict={"status": "rejected", "reasons": ["drop 0.25 > 0.05"]})
    with node_process("detection_node", "-p", f"model:={model}", log=tmp_path / "log") as node:
        swapper.start()
        assert swapper.get("variant") == "fp32"  # not the empty text that was asked for

        assert swapper.set(variant="int8") == ""
        assert swapper.get("variant") == "int8"
        figures = swapper.figures()
        assert figures["outcome"] == "swapped"
        assert int(figures["swap_gap_frames"]) == swapper.gap("fp32", "int8")
        assert (figures["from_variant"], figures["to_variant"], figures["to_sha256"]) == (
            "fp32", "int8", sha256,
        )  # fmt: skip
        assert (figures["checked_frames"], float(figures["agreement"])) == ("8", 1.0)
        assert float(figures["memory_peak_mb"]) > 20.0

        for variant, reason in (
            ("blind", "agrees with the running model by 0.000"),
            ("nan", "not finite"),
            ("altered", "sha256"),
            ("rejected", "drop 0.25"),
            ("absent", "no variant 'absent'"),
        ):
            assert reason in swapper.set(variant=variant), variant
            assert swapper.get("variant") == "int8"
            assert reason in swapper.figures()["reason"]

        assert swapper.trigger("load")[0]
        assert swapper.trigger("rollback")[0]  # to the int8 before the second load of it
        assert swapper.set(variant="") == ""  # the baseline, by its name
        assert swapper.get("variant") == "fp32"
        assert swapper.trigger("rollback")[0]
        assert swapper.get("variant") == "int8"
        swapper.stop()
        # A loaded machine drops frames; a swap fails none.
        assert {one.timing.outcome for one in swapper.reports()} <= {"processed", "dropped_busy"}
        assert node.stop() == 0
        assert "Traceback" not in node.log


def test_a_slow_load_holds_up_nothing_and_one_that_hangs_ends_with_the_activation(
    tmp_path: Path, swapper: Swapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it loads the node answers other requests and frames; a second swap is refused."""
    install_faulty_backend(tmp_path / "package", monkeypatch)
    model = write_detector(tmp_path / "model")
    add_variant(model, "other", backend="faulty")
    with node_process("detection_node", "-p", f"model:={model}", log=tmp_path / "log") as node:
        swapper.start()
        (model / "load").write_text("hang")
        slow = swapper.set_later(variant="other")
        swapper.wait_for(lambda: "under way" in swapper.set(variant="fp32", backend="openvino"))
        assert swapper.set(threads=2) != ""
        # Failed before: the same request once more held up the node until the load was done.
        assert "under way" in swapper.set(variant="other")
        assert swapper.get("variant") == "fp32"
        answered = len(swapper.answers())
        swapper.wait_for(lambda: len(swapper.answers()) > answered + 5)
        assert not slow.done()

        assert swapper.change_state(Transition.TRANSITION_DEACTIVATE)
        swapper.wait_for(slow.done)
        assert "deactivated" in slow.result().results[0].reason
        assert swapper.get("variant") == "fp32"
        assert swapper.change_state(Transition.TRANSITION_ACTIVATE)
        (model / "load").unlink()
        assert swapper.set(variant="other") == ""
        swapper.wait_for(lambda: "other" in swapper.answers().values())
        assert node.stop() == 0
        assert "Traceback" not in node.log


def test_parameters_that_name_the_model_are_one_swap_where_they_come_in_one_request(
    tmp_path: Path, swapper: Swapper
) -> None:
    """One by one they would name models that do not exist; cleanup returns to what was asked for."""
    first, second = write_detector(tmp_path / "first"), write_detector(tmp_path / "second")
    add_variant(first, "good", verdict={"status": "accepted", "reasons": []})
    add_variant(second, "only_here")
    data = yaml.safe_load((second / "model.yaml").read_text())
    data["output"]["settings"] = {"score_threshold": 0.6}
    (second / "model.yaml").write_text(yaml.safe_dump(data))
    swapper.listen("/detection/label_info", LabelInfo, LATCHED_QOS)
    labels = swapper.received["/detection/label_info"]
    with node_process(
        "detection_node", "-p", f"model:={first}", "-p", "variant:=accepted", log=tmp_path / "log"
    ) as node:
        swapper.start()
        assert swapper.get("variant") == "good"

        # The order of a parameter file: by name.
        assert swapper.set(backend="openvino", model=str(second), variant="only_here") == ""
        assert [swapper.get(name) for name in ("model", "variant", "backend")] == [
            str(second), "only_here", "openvino",
        ]  # fmt: skip
        assert swapper.figures()["to_backend"] == "openvino"
        swapper.wait_for(lambda: abs(labels[-1].threshold - 0.6) < 1e-6)  # the default of this model
        # A request of which one part is wrong changes nothing.
        assert swapper.set(model=str(first), variant="only_here") != ""
        assert swapper.get("model") == str(second)
        assert swapper.trigger("rollback")[0]
        assert [swapper.get(name) for name in ("model", "variant", "backend")] == [str(first), "good", ""]
        swapper.wait_for(lambda: abs(labels[-1].threshold - 0.3) < 1e-6)

        assert swapper.change_state(Transition.TRANSITION_DEACTIVATE)
        assert swapper.change_state(Transition.TRANSITION_CLEANUP)
        assert swapper.get("variant") == "accepted"
        assert not swapper.trigger("load")[0]
        assert not swapper.trigger("promote")[0]
        assert swapper.set(variant="good") == ""  # for the next configure
        assert node.stop() == 0
        assert "Traceback" not in node.log


def test_a_shadow_is_promoted_over_the_wire_and_both_hashes_are_logged(
    tmp_path: Path, swapper: Swapper
) -> None:
    """Who reads the log of a drive must know which files answered before and after."""
    model = write_detector(tmp_path / "model")
    sha256 = add_variant(model, "int8", lambda values: values * 1.0001, provenance=GATE)
    before = yaml.safe_load((model / "model.yaml").read_text())["variants"]["fp32"]["sha256"]
    arguments = ("-p", f"model:={model}", "-p", "shadow_variant:=int8", "-p", "shadow_every_nth:=2")
    with node_process("detection_node", *arguments, log=tmp_path / "log") as node:
        swapper.start()
        swapper.wait_for(lambda: swapper.trigger("promote")[0])  # refused until the shadow is loaded

        assert (swapper.get("variant"), swapper.get("shadow_variant")) == ("int8", "")
        figures = swapper.figures()
        assert (figures["kind"], figures["outcome"]) == ("promote", "promoted")
        assert (figures["from_sha256"], figures["to_sha256"]) == (before, sha256)
        assert int(figures["swap_gap_frames"]) == swapper.gap("fp32", "int8")
        assert "promoted from tiny_detector/fp32 to tiny_detector/int8" in node.log
        assert f"sha256 {before} to {sha256}" in node.log
        assert swapper.trigger("rollback")[0]
        assert (swapper.get("variant"), swapper.get("shadow_variant")) == ("fp32", "")
        assert not swapper.trigger("promote")[0]
        swapper.stop()
        assert {one.timing.outcome for one in swapper.reports()} <= {"processed", "dropped_busy"}
        assert node.stop() == 0
        assert "Traceback" not in node.log


def test_an_answer_that_comes_before_the_exchange_is_noted_ends_the_gap(ros_context: Any) -> None:
    """Failed before: the frames lost in the gap were not counted where the executor was a frame late."""
    listener = Recorder(ros_context)
    name = f"{listener.node.get_fully_qualified_name()}/swap"
    listener.listen(name, DiagnosticArray, LATCHED_QOS)
    topic = SwapTopic(listener.node)
    old, new = ModelIdentity(variant="old"), ModelIdentity(variant="new")
    topic.note_answer(old, 3)
    topic.note_answer(new, 5)
    report = SwapReport("swap", old=old, new=new)

    topic.exchanged(report, 5)
    topic.publish_first(report)
    topic.note_answer(new, 6)

    def published() -> tuple[str, str]:
        messages = listener.received[name]
        values = {each.key: each.value for each in messages[-1].status[0].values} if messages else {}
        return values.get("kind", ""), values.get("swap_gap_frames", "")

    listener.wait_for(lambda: published() == ("swap", "2"))
    back = SwapReport("rollback", old=new, new=old)
    topic.exchanged(back, 6)
    topic.publish_first(back)
    topic.note_answer(old, 7)
    listener.wait_for(lambda: published() == ("rollback", "1"))
    listener.close()
