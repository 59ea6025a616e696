# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Telemetry of runtimes: off, from before their import, unless ``ADCP_RUNTIME_TELEMETRY`` is 1."""

import os
import sys


def opt_out() -> None:
    """Keep ONNX Runtime and OpenVINO from reporting to their vendors, which they do from their import on.

    A value that the user gave ONNX Runtime's own variable stays. OpenVINO's own switch is a file in the home
    folder; hidden from this process, its telemetry package is replaced by the stub that OpenVINO ships.
    """
    if os.environ.get("ADCP_RUNTIME_TELEMETRY") != "1":
        os.environ["ORT_DISABLE_TELEMETRY"] = os.environ.get("ORT_DISABLE_TELEMETRY") or "1"
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
