# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The first load of a file of unknown origin, in a process of its own, as the import would store it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ad_compressed_perception.backends.checked_load import TRIAL, try_load
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.importing.frameworks import framework_of
from ad_compressed_perception.onnx_graph.io import read_model

_BACKENDS = {"onnx": "onnxruntime", "tflite": "litert"}


def try_source(source: Path) -> None:
    """Load and run a file in a process of its own; others than ONNX and .tflite are left to their converters.

    A runtime refuses some ONNX files that the reader repairs, such as those with two nodes of one name: the
    repaired file counts.

    Raises:
        BackendError: it cannot be loaded or run, or ended or blocked that process.
        ModelFileError: it is no model of a known format, or parts of it are missing.
    """
    framework = framework_of(source)
    if framework not in _BACKENDS:
        return
    try:
        try_load(_BACKENDS[framework], source, {})
    except BackendError as error:
        if framework != "onnx" or TRIAL in str(error):
            raise
        repaired = read_model(source)
        with tempfile.TemporaryDirectory(prefix="adcp-import-") as folder:
            path = Path(folder) / "repaired.onnx"
            path.write_bytes(repaired.SerializeToString())
            try:
                try_load("onnxruntime", path, {})
            except BackendError:
                raise error from None
