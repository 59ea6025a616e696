# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp watch`` against real monitors and topics."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import String

from ad_compressed_perception.cli.exit_codes import ExitCode
from ad_compressed_perception.cli.main import app
from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.nodes.qos import LATCHED_QOS
from ad_compressed_perception.report.schemas.comparison import Report
from ad_compressed_perception.watch.node_alarms import Availability, DriftAlarms
from support.ros import PATIENCE_S, Recorder, node_process

pytestmark = pytest.mark.ros


@pytest.fixture
def recorder(ros_context: object) -> Iterator[Recorder]:
    listener = Recorder(ros_context)
    yield listener
    listener.close()


def watch(*arguments: str) -> tuple[int, str]:
    """Run the command in this process; raise what it would print as an error."""
    result = CliRunner().invoke(app, ["watch", *arguments])
    if isinstance(result.exception, AdcpError):
        raise result.exception
    return result.exit_code, result.stdout


def summary(age_s: float = 0.0) -> String:
    written = datetime.fromtimestamp(time.time() - age_s, timezone.utc)
    return String(data=Report(created=written.isoformat(timespec="seconds")).to_json(indent=None))


def test_a_running_monitor_is_found_and_its_missing_node_gives_exit_code_6(tmp_path: Path) -> None:
    options = [
        "-p",
        "detection.baseline:=/a/detection",
        "-p",
        "publish_period_s:=0.2",
        "-p",
        "stale_after_s:=0.5",
    ]
    with node_process("latency_monitor_node", "-r", "__ns:=/car", *options, log=tmp_path / "log") as monitor:
        end_s = time.monotonic() + PATIENCE_S
        while True:
            code, text = watch("--once", "--json", "--wait-s", str(PATIENCE_S))
            document = json.loads(text)
            if document["missing"] or time.monotonic() > end_s:
                break
        assert document["monitor"] == "/car/latency_monitor"
        assert document["state"] == "ERROR"
        assert document["missing"][0].startswith("detection: /a/detection has sent no message yet")
        assert code == ExitCode.ALARM

        # In a terminal it goes on until Ctrl-C, and notices that the monitor is gone.
        terminal, other = pty.openpty()
        # SIGINT is ignored where the tests run in the background.
        command = (
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
            "from ad_compressed_perception.cli.main import main; main()"
        )
        live = subprocess.Popen(
            [sys.executable, "-c", command, "watch", "--stale-s", "1"],
            stdin=other, stdout=other, stderr=other,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30", "NO_COLOR": "1"},
        )  # fmt: skip
        try:
            read_until(terminal, "has sent no message yet")
            assert monitor.stop() == 0
            read_until(terminal, "NO DATA")
            live.send_signal(2)
            assert live.wait(PATIENCE_S) == ExitCode.OK
        finally:
            live.kill()
            live.wait()
            os.close(terminal)
            os.close(other)


def read_until(terminal: int, text: str) -> None:
    """Read from a terminal until a text has come."""
    seen, end_s = "", time.monotonic() + PATIENCE_S
    while text not in seen:
        assert time.monotonic() < end_s, seen[-3000:]
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 65536).decode(errors="replace")


def test_a_summary_that_a_dead_monitor_left_is_not_of_now(recorder: Recorder) -> None:
    publisher = recorder.node.create_publisher(String, "/latency_monitor/summary", LATCHED_QOS)
    publisher.publish(summary(age_s=3600.0))
    code, text = watch("--once", "--wait-s", "2")
    assert code == ExitCode.ALARM
    assert "NO DATA" in text
    publisher.publish(summary())
    # A loaded machine may need seconds to deliver it: a minute is of now here.
    assert watch("--once", "--wait-s", "30", "--stale-s", "60")[0] == ExitCode.OK


def test_several_monitors_are_listed_and_one_is_chosen(recorder: Recorder) -> None:
    publishers = [
        recorder.node.create_publisher(String, f"/{robot}/latency_monitor/summary", LATCHED_QOS)
        for robot in ("one", "two")
    ]
    # Another node's topic of that name is no monitor.
    publishers.append(recorder.node.create_publisher(String, "/weather/summary", LATCHED_QOS))
    for publisher in publishers[:2]:
        publisher.publish(summary())
    publishers[2].publish(String(data="sunny"))
    with pytest.raises(AdcpError, match="2 monitors run: /one/latency_monitor, /two/latency_monitor"):
        watch("--once", "--wait-s", "30")
    code, text = watch("--once", "--json", "--wait-s", "30", "--namespace", "two", "--stale-s", "60")
    assert (code, json.loads(text)["monitor"]) == (ExitCode.OK, "/two/latency_monitor")


def test_no_monitor_is_an_error_with_the_way_out() -> None:
    with pytest.raises(AdcpError, match=r"no latency monitor in /x answered within 0.5 s.*ROS_DOMAIN_ID"):
        watch("--once", "--wait-s", "0.5", "--namespace", "/x")


def test_a_drift_alarm_of_a_node_is_shown_and_gives_exit_code_6(recorder: Recorder) -> None:
    """The monitor compares two variants, which both see a frozen camera: only the node notices."""
    summaries = recorder.node.create_publisher(String, "/latency_monitor/summary", LATCHED_QOS)
    drift = recorder.node.create_publisher(DiagnosticArray, "/car/detection/drift", LATCHED_QOS)
    line = "the camera changed since stamp 12.500: repeated 4.00"
    statuses = [
        DiagnosticStatus(level=b"\0", name="/car/detection: world", message="as in the reference"),
        DiagnosticStatus(level=b"\2", name="/car/detection: camera", message=line),
    ]
    summaries.publish(summary())
    drift.publish(DiagnosticArray(status=statuses))

    code, text = watch("--once", "--json", "--wait-s", str(PATIENCE_S), "--stale-s", "60")

    assert code == ExitCode.ALARM
    (alarm,) = json.loads(text)["alarms"]
    assert (alarm["level"], alarm["sentence"]) == ("ERROR", f"/car/detection: {line}")
    # A node that has left says nothing of now.
    alarms = DriftAlarms(5.0)
    alarms.receive("/car/detection", DiagnosticArray(status=statuses), 100.0)
    assert (len(alarms.alarms(104.0)), alarms.alarms(106.0)) == (1, [])


def test_a_fallback_of_a_node_is_shown_with_its_reason_and_counts(recorder: Recorder) -> None:
    summaries = recorder.node.create_publisher(String, "/latency_monitor/summary", LATCHED_QOS)
    state = recorder.node.create_publisher(DiagnosticStatus, "/compressed/planning/availability", LATCHED_QOS)
    counts = {"frames_primary": "70", "frames_standby": "12", "frames_hold": "0"}
    status = DiagnosticStatus(
        level=b"\1",
        message="standby: invalid_output: 1 of 14 numbers are not finite",
        values=[KeyValue(key=key, value=value) for key, value in counts.items()],
    )
    summaries.publish(summary())
    state.publish(status)

    code, text = watch("--once", "--json", "--wait-s", str(PATIENCE_S), "--stale-s", "60")

    assert code == ExitCode.OK, "a warning"
    (alarm,) = json.loads(text)["alarms"]
    assert alarm["level"] == "WARN"
    assert alarm["sentence"] == (
        "/compressed/planning: standby: invalid_output: 1 of 14 numbers are not finite (frames answered: "
        "70 by the model, 12 by the fallback)"
    )
    known = Availability(5.0)
    known.receive("/compressed/planning", status, 100.0)
    assert (len(known.alarms(104.0)), known.alarms(106.0)) == (1, [])
    known.receive("/compressed/planning", DiagnosticStatus(level=b"\0"), 107.0)
    assert known.alarms(107.0) == [], "the model answers again"


def test_a_node_without_results_that_answers_later_than_the_monitor_gives_exit_code_6(
    recorder: Recorder,
) -> None:
    """On a busy machine its state may come seconds after its topic was found: no state is no good one."""
    summaries = recorder.node.create_publisher(String, "/latency_monitor/summary", LATCHED_QOS)
    state = recorder.node.create_publisher(DiagnosticStatus, "/detection/availability", LATCHED_QOS)
    summaries.publish(summary())

    def answer() -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not state.get_subscription_count() and time.monotonic() < end_s:
            time.sleep(0.02)
        time.sleep(2.0)  # longer than the command settles
        state.publish(DiagnosticStatus(level=b"\2", message="left: no frame was answered for 9 s"))

    thread = threading.Thread(target=answer)
    thread.start()
    code, text = watch("--once", "--json", "--wait-s", str(PATIENCE_S), "--stale-s", "60")
    thread.join()

    assert code == ExitCode.ALARM
    assert "left: no frame was answered" in json.loads(text)["alarms"][0]["sentence"]
