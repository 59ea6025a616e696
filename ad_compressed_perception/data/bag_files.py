# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which files a recording consists of, what its metadata.yaml claims, and how each file is opened."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.core.yaml_file import read_yaml_mapping
from ad_compressed_perception.data.mcap_file import McapFile
from ad_compressed_perception.data.sqlite_file import SqliteFile
from ad_compressed_perception.data.storage import StorageError, StorageFile
from ad_compressed_perception.data.unpacked import unpack

STORAGE_SUFFIXES = (".mcap", ".db3")
METADATA_NAME = "metadata.yaml"
_SHOWN = 80
_NUMBERED = re.compile(r"(.*)_(\d{1,9})(\.(?:mcap|db3)(?:\.zstd?)?)$")
_ZSTD_SUFFIXES = (".zstd", ".zst")
_BEGINNINGS = {".mcap": b"\x89MCAP", ".db3": b"SQLite format 3\0"}


@dataclass
class BagFiles:
    """The files of a recording and its metadata.

    Attributes:
        paths: storage files in the order of metadata.yaml.
        counts: topic to its number of messages by metadata.yaml; None without one.
        message_count: of all topics by metadata.yaml; None without one.
        extra: further files in the folder, which may belong to the recording by their names.
        problems: how metadata.yaml and the folder contradict each other, in sentences.
    """

    paths: Sequence[Path]
    counts: dict[str, int] | None = None
    message_count: int | None = None
    extra: Sequence[Path] = ()
    problems: list[str] = field(default_factory=list)


def is_storage_name(path: Path) -> bool:
    """Return whether a name is that of a storage file, plain or compressed as a whole."""
    plain = path.with_suffix("") if path.suffix in _ZSTD_SUFFIXES else path
    return plain.suffix in STORAGE_SUFFIXES and not path.name.startswith(".")


def storage_files(folder: Path) -> list[Path]:
    """Return the storage files in a folder by their numbers, without hidden ones and unpacked twins."""
    found = [entry for entry in folder.iterdir() if is_storage_name(entry)]
    names = {entry.name for entry in found}
    return sorted((each for each in found if each.stem not in names), key=_by_number)


def _by_number(path: Path) -> tuple[str, int, str]:
    numbered = _NUMBERED.match(path.name)
    return (numbered[1], int(numbered[2]), path.name) if numbered else (path.name, -1, "")


def _are_of_one_recording(paths: Sequence[Path]) -> bool:
    """Return whether names are those of one recording's files: BAG_0.mcap, BAG_1.mcap."""
    numbered = [_NUMBERED.match(path.name) for path in paths]
    return all(numbered) and len({(each[1], each[3]) for each in numbered if each}) == 1


def find_files(path: Path) -> BagFiles:
    """Return the files of a recording: a rosbag2 folder, its metadata.yaml, or one storage file.

    Raises:
        DataError: no such bag, not a bag, malformed metadata, or all files that metadata.yaml names are
        missing.
    """
    if not path.exists():
        raise DataError(f"no such bag: {path}")
    if path.name == METADATA_NAME:
        path = path.parent
    if path.is_dir():
        return _of_metadata(path) if (path / METADATA_NAME).is_file() else _without_metadata(path)
    if path.suffix == ".bag":
        raise DataError(f"{path} is a ROS 1 bag; convert it with: rosbags-convert --src {path}")
    if not is_storage_name(path):
        raise DataError(f"not a bag: {path} (expected a rosbag2 folder, a .mcap or a .db3 file)")
    return BagFiles([path])


def open_file(path: Path) -> StorageFile:
    """Open a storage file, unpacked first where it is compressed as a whole.

    Raises:
        StorageError: it cannot be read.
        DataError: there is no space to unpack it.
    """
    if path.suffix not in _ZSTD_SUFFIXES:
        return SqliteFile(path) if path.suffix == ".db3" else McapFile(path)
    plain = unpack(path, (_BEGINNINGS.get(path.with_suffix("").suffix, b""),))
    file = open_file(plain.path)
    file.warnings.append(plain.note)
    if plain.damage:
        file.damage.append(plain.damage)
    return file


def _without_metadata(folder: Path) -> BagFiles:
    files = storage_files(folder)
    if not files:
        raise DataError(f"not a bag: {folder} has no {METADATA_NAME} and no .mcap or .db3 file")
    if len(files) > 1 and not _are_of_one_recording(files):
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
        counts: dict[str, int] = {}
        for entry in information["topics_with_message_count"] or ():
            topic = str(entry["topic_metadata"]["name"])
            counts[topic] = counts.get(topic, 0) + int(entry["message_count"])
        message_count = int(information["message_count"])
    except (StorageError, LookupError, TypeError, ValueError, AttributeError, OverflowError) as cause:
        what = f"has no {cause}" if isinstance(cause, KeyError) else one_line(cause)
        raise DataError(
            f"bag {folder} cannot be read, {METADATA_NAME}: {what}; write it anew with: ros2 bag reindex"
        ) from cause
    there = [_existing(folder / name) for name in names]
    missing = [name for name, found in zip(names, there, strict=True) if found is None]
    paths = list({found.resolve(): found for found in reversed(there) if found is not None}.values())[::-1]
    problems = []
    if len(paths) + len(missing) < len(names):
        problems.append(f"{METADATA_NAME} names a file more than once; it is read once")
    if missing:
        named = ", ".join(name[:_SHOWN] for name in missing[:3])
        text = f"{len(missing)} of {len(names)} files that its {METADATA_NAME} names are missing: {named}"
        if not paths:
            raise DataError(
                f"bag {folder} cannot be read: {text}; fetch them, or ros2 bag reindex makes a bag of the "
                f"others"
            )
        problems.append(text)
    if not paths:
        problems.append(f"{METADATA_NAME} names no storage file; those in its folder are read")
        paths = storage_files(folder)
        if not paths:
            raise DataError(f"bag {folder} is empty: it holds no messages and no storage file")
    # A decompressed copy of a named file (ros2 bag writes one when it plays) holds nothing new.
    known = {path.name for path in paths} | {path.stem for path in paths if path.suffix in _ZSTD_SUFFIXES}
    others = [each for each in storage_files(folder) if each.name not in known and each.stem not in known]
    extra = [each for each in others if _are_of_one_recording([*paths, each])]
    problems += [not_named(each) for each in others if each not in extra]
    return BagFiles(paths, counts, message_count, extra, problems)


def not_named(path: Path) -> str:
    """Return the sentence about a file that is not read."""
    return (
        f"{METADATA_NAME} does not name {path.name[:_SHOWN]} in its folder, which is not read; "
        "ros2 bag reindex names all files"
    )


def _existing(path: Path) -> Path | None:
    """Return a file that metadata names; a file compressed as a whole may carry a further suffix."""
    names = [path, *(path.with_name(path.name + suffix) for suffix in _ZSTD_SUFFIXES)]
    if path.suffix in _ZSTD_SUFFIXES:  # or was unpacked by hand
        names.append(path.with_suffix(""))
    # os.path: a name of any length is no file, where pathlib raises.
    return next((each for each in names if os.path.isfile(each)), None)
