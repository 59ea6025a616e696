# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The conformance suite of the package's own backends, on this one."""

from conformance.suite import BackendConformance
from conformance.table import Lack


class TestOnnxReference(BackendConformance):
    """Every check of the suite; those in ``lacks`` must fail, and as they say."""

    backend_name = "onnx_reference"
    lacks = {
        "threads": Lack("numpy computes the operators; it has no option of its own", "no option threads"),
        "threads_of_two_sessions": Lack("as above", "no option threads"),
    }
