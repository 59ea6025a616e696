# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings: rosbag2 folders and single .mcap or .db3 files, read without a ROS installation."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.one_line import one_line

if TYPE_CHECKING:
    from rosbags.interfaces import Connection
    from rosbags.rosbag2 import Reader
    from rosbags.typesys.store import Typestore

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
STORAGE_SUFFIXES = (".mcap", ".db3")
METADATA_NAME = "metadata.yaml"


def is_bag(path: Path) -> bool:
    """Return whether a path looks like a recording: a storage file, or a folder that holds one."""
    if path.is_dir():
        return (path / METADATA_NAME).is_file() or bool(_storage_files(path))
    return path.is_file() and path.suffix in STORAGE_SUFFIXES


def _storage_files(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.suffix in STORAGE_SUFFIXES)


class BagReader:
    """A recording, open between ``with BagReader(path) as bag`` and its end.

    Reads sqlite3 and MCAP storage, plain or compressed by file or by message. One iterator over the
    messages at a time.

    Attributes:
        path: as given: a rosbag2 folder, or one .mcap or .db3 file.
        topics: topic name to message type (``pkg/msg/Type``), sorted by name.
    """

    def __init__(self, path: Path | str) -> None:
        """Store the path; nothing is read before the reader is entered."""
        self.path = Path(path).expanduser()
        self.topics: dict[str, str] = {}
        self._reader: Reader | None = None
        self._stores: dict[str, Typestore] = {}

    def __enter__(self) -> BagReader:
        """Open the recording.

        Raises:
            DataError: no such bag, not a bag, a corrupt, truncated or incomplete one, or one that
                holds no messages.
        """
        from rosbags.rosbag2 import Reader

        source = self._storage_path()
        try:
            reader = Reader(source)
            reader.open()
            # Values of other types in metadata.yaml come to light here only.
            topics = sorted(reader.topics.items())
            self.topics = {str(topic): str(info.connections[0].msgtype) for topic, info in topics}
            count, _ = int(reader.message_count), int(reader.start_time + reader.duration)
        except Exception as cause:  # rosbags lets struct, sqlite, zstd and assertion errors through
            raise self._unreadable(cause) from cause
        self._reader = reader
        if count == 0:
            self.close()
            raise DataError(f"bag {self.path} is empty: it holds no messages")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the recording."""
        self.close()

    def close(self) -> None:
        """Close the recording; it may be entered again."""
        reader, self._reader = self._reader, None
        if reader is not None:
            with suppress(Exception):  # metadata.yaml of other types than text and lists
                reader.close()

    @property
    def storage(self) -> str:
        """Storage of the messages: mcap or sqlite3."""
        names = [self.path, *(_storage_files(self.path) if self.path.is_dir() else ())]
        return "sqlite3" if any(name.suffix == ".db3" for name in names) else "mcap"

    @property
    def image_topics(self) -> list[str]:
        """Names of the topics that carry camera images, raw or compressed."""
        return [topic for topic, kind in self.topics.items() if kind in IMAGE_TYPES]

    @property
    def start_ns(self) -> int:
        """Bag time of the first message, nanoseconds."""
        return int(self._opened().start_time)

    @property
    def duration_s(self) -> float:
        """Seconds from the first to the last message."""
        return max(0, self._opened().duration - 1) / 1e9

    def count(self, topic: str) -> int:
        """Number of messages on a topic, by the index; DataError if there is no such topic."""
        return sum(connection.msgcount for connection in self._connections([topic]))

    def resolve_image_topic(self, topic: str | None = None) -> str:
        """Return the requested image topic, or the only one in the recording.

        Of several, the only one with a camera_info topic in its namespace is taken: label masks have none.

        Raises:
            DataError: no such topic, a topic of another type, no image topic, or several of them;
                the message names those there are.
        """
        images = self.image_topics
        if topic is not None:
            self._connections([topic])
            if topic not in images:
                raise DataError(
                    f"topic {topic} of bag {self.path} carries {self.topics[topic]}, not images; "
                    f"image topics: {_listed(images)}"
                )
            return topic
        if not images:
            raise DataError(f"bag {self.path} has no image topic; topics: {_listed(self.topics)}")
        if len(images) > 1:
            cameras = [each for each in images if self._has_camera_info(each)]
            if len(cameras) == 1:
                return cameras[0]
            raise DataError(
                f"bag {self.path} has several image topics, choose one as {self.path}:TOPIC: "
                f"{_listed(images)}"
            )
        return images[0]

    def _has_camera_info(self, topic: str) -> bool:
        return f"{topic.removesuffix('/compressed').rpartition('/')[0]}/camera_info" in self.topics

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        """Yield (topic, bag time in nanoseconds, serialized CDR bytes) in the order of bag time.

        The bytes are complete with their encapsulation header and can be published as they are.

        Raises:
            DataError: no such topic, or the recording breaks off in the middle.
        """
        connections = self._connections(topics)
        source = self._opened().messages(connections)
        read = 0
        while True:
            try:
                connection, bag_time_ns, data = next(source)
            except StopIteration:
                break
            except Exception as cause:
                raise self._unreadable(cause, f" after {read} messages") from cause
            read += 1
            yield connection.topic, int(bag_time_ns), bytes(data)
        if read == 0 and any(connection.msgcount > 0 for connection in connections):
            raise DataError(
                f"bag {self.path} has no readable messages on {_listed(topics)} though its index "
                "counts some; ros2 bag reindex or a conversion may repair it"
            )

    def image_messages(self, topic: str) -> Iterator[tuple[int, bytes, Any]]:
        """Yield (bag time in nanoseconds, CDR bytes, message) of an image topic.

        The message has the fields of sensor_msgs Image or CompressedImage; its ``data`` is a uint8
        array.

        Raises:
            DataError: no such topic, or bytes that are no message of its type.
        """
        for _, bag_time_ns, cdr in self.messages([self.resolve_image_topic(topic)]):
            yield bag_time_ns, cdr, self.deserialize(topic, cdr)

    def deserialize(self, topic: str, cdr: bytes) -> Any:
        """Return the message of CDR bytes, with the fields the bag's definition gives the topic."""
        connection = self._connections([topic])[0]
        store = self._stores.get(topic) or self._stores.setdefault(topic, _typestore(connection))
        try:
            return store.deserialize_cdr(cdr, connection.msgtype)
        except Exception as cause:
            raise DataError(
                f"bag {self.path}: a message on {topic} cannot be read as {connection.msgtype}: "
                f"{one_line(cause)}"
            ) from cause

    def _opened(self) -> Reader:
        if self._reader is None:
            raise DataError(f"bag {self.path} is not open")
        return self._reader

    def _connections(self, topics: Collection[str]) -> list[Connection]:
        missing = [topic for topic in topics if topic not in self.topics]
        if missing:
            raise DataError(
                f"bag {self.path} has no topic {_listed(missing)}; it has: {_listed(self.topics)}"
            )
        return [each for each in self._opened().connections if each.topic in topics]

    def _storage_path(self) -> Path:
        path = self.path
        if not path.exists():
            raise DataError(f"no such bag: {path}")
        if path.is_dir():
            if (path / METADATA_NAME).is_file():
                return path
            files = _storage_files(path)
            if len(files) == 1:
                return files[0]
            if files:
                raise DataError(
                    f"bag {path} has {len(files)} storage files and no {METADATA_NAME}; "
                    "write it with: ros2 bag reindex, or name one of the files"
                )
            raise DataError(f"not a bag: {path} has no {METADATA_NAME} and no .mcap or .db3 file")
        if path.name == METADATA_NAME:
            return path.parent
        if path.suffix == ".bag":
            raise DataError(f"{path} is a ROS 1 bag; convert it with: rosbags-convert --src {path}")
        if path.suffix in (".zstd", ".zst"):
            raise DataError(f"{path} is a compressed storage file; name the bag's folder instead")
        if path.suffix not in STORAGE_SUFFIXES:
            raise DataError(f"not a bag: {path} (expected a rosbag2 folder, a .mcap or a .db3 file)")
        return path

    def _unreadable(self, cause: Exception, where: str = "") -> DataError:
        return DataError(
            f"bag {self.path} cannot be read{where}, it is truncated, corrupt or incomplete: "
            f"{one_line(cause)}"
        )


def _listed(names: Collection[str]) -> str:
    return ", ".join(names) or "none"


def _typestore(connection: Connection) -> Typestore:
    """Return a connection's types: by the bag's own definition, else by that of ROS 2 Jazzy."""
    from rosbags.interfaces import MessageDefinitionFormat
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    if connection.msgdef.format == MessageDefinitionFormat.MSG:
        store = get_typestore(Stores.EMPTY)
        try:
            store.register(get_types_from_msg(connection.msgdef.data, connection.msgtype))
        except Exception as cause:
            raise DataError(
                f"topic {connection.topic}: the bag's definition of {connection.msgtype} is "
                f"malformed: {one_line(cause)}"
            ) from cause
        return store
    # Older sqlite3 bags carry no definitions; the image messages have not changed since Humble.
    return get_typestore(Stores.ROS2_JAZZY)
