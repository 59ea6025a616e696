# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Detects the framework of a model file or folder from its content, without executing any of it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Literal

from ad_compressed_perception.core.errors import ModelFileError

Framework = Literal["onnx", "tflite", "torchscript", "exported_program", "keras", "saved_model"]

_HDF5 = b"\x89HDF"
_GIT_LFS = b"version https:"
_PICKLE = b"\x80"
_TFLITE = b"TFL3"
_EXPORT_HINT = (
    "in Python, with the model's class: torch.export.save(torch.export.export(model.eval(), "
    "(example,)), 'model.pt2'), and import that file"
)


def framework_of(source: Path) -> Framework:
    """Return the framework of a model file or folder.

    Raises:
        ModelFileError: missing, unknown, or a format that cannot be read without executing foreign code
            (pickled modules, weights without a graph, HDF5); the message names an export that works.
    """
    if source.is_dir():
        if (source / "saved_model.pb").is_file():
            return "saved_model"
        raise ModelFileError(f"{source} is a folder without saved_model.pb: not a TensorFlow SavedModel")
    try:
        with source.open("rb") as stream:
            head = stream.read(16)
    except OSError as error:
        raise ModelFileError(f"cannot read {source}: {error.strerror or error}") from error
    if head[4:8] == _TFLITE:
        return "tflite"
    if head.startswith(_HDF5):
        raise ModelFileError(
            f"{source} is HDF5, a format that cannot be loaded safely: save it with "
            "model.save('model.keras') or model.export('folder') and import that"
        )
    if head.startswith(b"PK"):
        return _framework_of_archive(source)
    if head.startswith(_PICKLE):
        raise ModelFileError(
            f"{source} is a pickle, which can execute arbitrary code when loaded: it is not opened; "
            f"{_EXPORT_HINT}"
        )
    if head.startswith(_GIT_LFS):
        raise ModelFileError(f"{source} is a pointer of Git LFS, not the file itself: get it by git lfs pull")
    if source.suffix.lower() == ".onnx":
        return "onnx"
    raise ModelFileError(
        f"{source} is not a model of a known format: ONNX (.onnx), LiteRT (.tflite), TorchScript (.pt), "
        "torch.export (.pt2), Keras (.keras) or a TensorFlow SavedModel folder"
    )


def _framework_of_archive(source: Path) -> Framework:
    try:
        with zipfile.ZipFile(source) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise ModelFileError(f"{source} is damaged or truncated: {error}") from error
    inner = {name.partition("/")[2] for name in names}
    if {"config.json", "metadata.json"} <= set(names):
        return "keras"
    if "archive_format" in inner and any(name.startswith("models/") for name in inner):
        _refuse_pickles(source)
        return "exported_program"
    if any(name.startswith("code/") for name in inner) and "constants.pkl" in inner:
        return "torchscript"
    if "data.pkl" in inner:
        raise ModelFileError(
            f"{source} is a pickled module or a state_dict: the former can execute arbitrary code when "
            f"loaded, the latter has no graph; {_EXPORT_HINT}"
        )
    raise ModelFileError(f"{source} is an archive of an unknown format")


def _refuse_pickles(source: Path) -> None:
    """Raise ModelFileError where an exported program would be unpickled in part."""
    try:
        with zipfile.ZipFile(source) as archive:
            for name in archive.namelist():
                if not name.endswith("_config.json") or "/data/" not in name:
                    continue
                entries = json.loads(archive.read(name)).get("config", {})
                for key, entry in entries.items():
                    path = str(entry.get("path_name", ""))
                    if entry.get("use_pickle") or "custom_obj" in path or "opaque" in path:
                        raise ModelFileError(
                            f"{source} holds {key!r} as a pickle, which can execute arbitrary code "
                            "when loaded: export the model with plain tensors only"
                        )
    except (zipfile.BadZipFile, OSError, ValueError, AttributeError) as error:
        raise ModelFileError(f"{source} is damaged or not an exported program: {error}") from error
