# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which files a recording consists of, what its metadata.yaml claims, and how each file is opened."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.yaml_file import read_yaml_mapping
from ad_compressed_perception.data.mcap_file import McapFile
from ad_compressed_perception.data.sqlite_file import SqliteFile
from ad_compressed_perception.data.storage import StorageError, StorageFile
from ad_compressed_perception.data.zstd import zstd_expand

STORAGE_SUFFIXES = (".mcap", ".db3")
METADATA_NAME = "metadata.yaml"
_SHOWN = 80
_ZSTD_SUFFIXES = (".zstd", ".zst")


@dataclass
class BagFiles:
    """The files of a recording and its metadata.

    Attributes:
        paths: storage files in the order of metadata.yaml.
        counts: topic to its number of messages by metadata.yaml; None without one.
        message_count: of all topics by metadata.yaml; None without one.
        is_message_zstd: every message is compressed by itself.
        problems: how metadata.yaml and the folder contradict each other, in sentences.
    """

    paths: Sequence[Path]
    counts: dict[str, int] | None = None
    message_count: int | None = None
    is_message_zstd: bool = False
    problems: list[str] = field(default_factory=list)


def storage_files(folder: Path) -> list[Path]:
    """Return the storage files in a folder, without hidden ones."""
    return sorted(
        entry
        for entry in folder.iterdir()
        if entry.suffix in STORAGE_SUFFIXES and not entry.name.startswith(".")
    )


def find_files(path: Path) -> BagFiles:
    """Return the files of a recording: a rosbag2 folder, its metadata.yaml, or one storage file.

    Raises:
        DataError: no such bag, not a bag, malformed metadata, or files that metadata.yaml names are missing.
    """
    if not path.exists():
        raise DataError(f"no such bag: {path}")
    if path.name == METADATA_NAME:
        path = path.parent
    if path.is_dir():
        return _of_metadata(path) if (path / METADATA_NAME).is_file() else _without_metadata(path)
    if path.suffix == ".bag":
        raise DataError(f"{path} is a ROS 1 bag; convert it with: rosbags-convert --src {path}")
    if path.suffix in _ZSTD_SUFFIXES:
        raise DataError(f"{path} is a compressed storage file; name the bag's folder instead")
    if path.suffix not in STORAGE_SUFFIXES:
        raise DataError(f"not a bag: {path} (expected a rosbag2 folder, a .mcap or a .db3 file)")
    return BagFiles([path])


def open_file(path: Path, scratch: Path) -> StorageFile:
    """Open a storage file, decompressed into ``scratch`` first where it is compressed as a whole.

    Raises:
        StorageError: it cannot be read.
    """
    if path.suffix in _ZSTD_SUFFIXES:
        plain = scratch / path.stem
        zstd_expand(path, plain)
        path = plain
    return SqliteFile(path) if path.suffix == ".db3" else McapFile(path)


def _without_metadata(folder: Path) -> BagFiles:
    files = storage_files(folder)
    if not files:
        raise DataError(f"not a bag: {folder} has no {METADATA_NAME} and no .mcap or .db3 file")
    if len(files) > 1:
        raise DataError(
            f"bag {folder} has {len(files)} storage files and no {METADATA_NAME}; "
            "write it with: ros2 bag reindex, or name one of the files"
        )
    return BagFiles(files)


def _of_metadata(folder: Path) -> BagFiles:
    path = folder / METADATA_NAME
    try:
        information: Any = read_yaml_mapping(path, "the bag's", StorageError)["rosbag2_bagfile_information"]
        names = [PurePosixPath(name).name for name in information["relative_file_paths"] or ()]
        mode = str(information.get("compression_mode") or "").lower()
        counts: dict[str, int] = {}
        for entry in information["topics_with_message_count"] or ():
            topic = str(entry["topic_metadata"]["name"])
            counts[topic] = counts.get(topic, 0) + int(entry["message_count"])
        message_count = int(information["message_count"])
    except (StorageError, LookupError, TypeError, ValueError, AttributeError, OverflowError) as cause:
        what = f"has no {cause}" if isinstance(cause, KeyError) else " ".join(str(cause).split())
        raise DataError(
            f"bag {folder} cannot be read, {METADATA_NAME}: {what}; write it anew with: ros2 bag reindex"
        ) from cause
    there = [_existing(folder / name) for name in names]
    missing = [name for name, found in zip(names, there, strict=True) if found is None]
    if missing:
        named = ", ".join(name[:_SHOWN] for name in missing[:3])
        raise DataError(
            f"bag {folder} cannot be read: {len(missing)} of {len(names)} files that its {METADATA_NAME} "
            f"names are missing: {named}; fetch them, or ros2 bag reindex makes a bag of the others"
        )
    problems = []
    paths = [found for found in there if found is not None]
    if not paths:
        problems.append(f"{METADATA_NAME} names no storage file; those in its folder are read")
        paths = storage_files(folder)
        if not paths:
            raise DataError(f"bag {folder} is empty: it holds no messages and no storage file")
    extra = [each.name for each in storage_files(folder) if each not in paths]
    # A decompressed copy of a named file (ros2 bag writes one when it plays) holds nothing new.
    extra = [name for name in extra if not any(found.name.startswith(f"{name}.") for found in paths)]
    if extra:
        problems.append(
            f"{METADATA_NAME} does not name {', '.join(extra[:3])} in its folder, which is not read; "
            "ros2 bag reindex names all files"
        )
    is_message_zstd = mode == "message"
    return BagFiles(paths, counts, message_count, is_message_zstd, problems)


def _existing(path: Path) -> Path | None:
    """Return a file that metadata names; a file compressed as a whole may carry a further suffix."""
    names = (path, *(path.with_name(path.name + suffix) for suffix in _ZSTD_SUFFIXES))
    # os.path: a name of any length is no file, where pathlib raises.
    return next((each for each in names if os.path.isfile(each)), None)
