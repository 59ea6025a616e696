# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings: rosbag2 folders and single .mcap or .db3 files, read without a ROS installation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.data.bag_files import (
    METADATA_NAME,
    BagFiles,
    find_files,
    is_storage_name,
    not_named,
    open_file,
    storage_files,
)
from ad_compressed_perception.data.storage import Channel, StorageError, StorageFile, by_time
from ad_compressed_perception.data.video_messages import (
    COMPRESSED_IMAGE,
    DEFINITIONS,
    VIDEO_TYPES,
    to_compressed_image,
)
from ad_compressed_perception.data.zstd import is_zstd, zstd_decompress
from ad_compressed_perception.image.encodings import DEPTH_ENCODINGS
from ad_compressed_perception.image.format_text import known_encoding, parse_format

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

IMAGE_TYPES = ("sensor_msgs/msg/Image", COMPRESSED_IMAGE, *VIDEO_TYPES)


def is_bag(path: Path) -> bool:
    """Return whether a path looks like a recording: a storage file, or a folder that holds one."""
    if path.is_dir():
        return (path / METADATA_NAME).is_file() or bool(storage_files(path))
    return path.is_file() and is_storage_name(path)


class BagReader:
    """A recording, open between ``with BagReader(path) as bag`` and its end.

    Reads sqlite3 and MCAP storage, plain or compressed by file or by message. The files' own channels say
    what there is; what metadata.yaml claims is compared with them. One iterator over the messages at a time.
    Messages of videos (``video_messages.VIDEO_TYPES``) are read as sensor_msgs/CompressedImage.

    Attributes:
        path: as given: a rosbag2 folder, or one .mcap or .db3 file.
        topics: topic name to message type (``pkg/msg/Type``), sorted by name.
        encodings: topic name to encoding, of channels that hold no ROS 2 messages and are not read.
    """

    def __init__(self, path: Path | str) -> None:
        """Store the path; nothing is read before the reader is entered."""
        self.path = Path(path).expanduser()
        self.topics: dict[str, str] = {}
        self.encodings: dict[str, str] = {}
        self._types: dict[str, Counter[str]] = {}
        self._claims = BagFiles([])
        self._files: list[StorageFile] | None = None
        self._problems: list[str] = []
        self._stores: dict[str, Typestore] = {}

    def __enter__(self) -> BagReader:
        """Open the recording.

        Raises:
            DataError: no such bag, not a bag, a corrupt or incomplete one, or one that holds no messages.
        """
        self._claims = find_files(self.path)
        self._problems = list(self._claims.problems)
        self._files = []
        first: Exception | None = None
        try:
            for path in self._claims.paths:
                try:
                    self._files.append(open_file(path))
                except (StorageError, OSError) as cause:
                    first = first or cause
                    self._problems.append(
                        f"{path.name} cannot be read, its messages are missing: {one_line(cause)}"
                    )
            if not self._files and first is not None:
                raise self._unreadable(first) from first
            self._open_extra()
        except BaseException:
            self.close()
            raise
        self._list_topics()
        if not sum(self._file_counts().values()):
            damage = [*self._damage(), *self._problems, *self.warnings()]
            claimed = self._claims.message_count
            self.close()
            if damage:
                raise DataError(f"bag {self.path} cannot be read, no message is left: {damage[0]}")
            if claimed:
                raise DataError(
                    f"bag {self.path} cannot be read: {METADATA_NAME} counts {claimed} messages, its files "
                    "hold none"
                )
            raise DataError(f"bag {self.path} is empty: it holds no messages")
        return self

    def _open_extra(self) -> None:
        """Open files that metadata.yaml does not name where they go on or begin the recording.

        One of the same time may be a copy: its messages would be counted twice.
        """
        for path in self._claims.extra:
            try:
                file = open_file(path)
            except (StorageError, OSError) as cause:
                self._problems.append(
                    f"{METADATA_NAME} does not name {path.name}, and it cannot be read: {cause}"
                )
                continue
            times = [(each.start_ns, each.end_ns) for each in self._opened() if each.counts.total()]
            if any(file.start_ns <= end and start <= file.end_ns for start, end in times):
                file.close()
                self._problems.append(not_named(path))
                continue
            file.warnings.append(
                f"{METADATA_NAME} does not name {path.name}, whose time is beside that of the other files: "
                f"it is read."
            )
            self._opened().append(file)

    def _list_topics(self) -> None:
        self._types, self.encodings = {}, {}
        for file in self._files or ():
            for channel in file.channels:
                if channel.encoding == "cdr":
                    types = self._types.setdefault(channel.topic, Counter())
                    types[channel.type] += file.counts[channel.id]
                else:
                    self.encodings[channel.topic] = channel.encoding or "unknown"
        self.topics = {topic: types.most_common(1)[0][0] for topic, types in sorted(self._types.items())}

    def __exit__(self, *_: object) -> None:
        """Close the recording."""
        self.close()

    def close(self) -> None:
        """Close the recording; it may be entered again."""
        files, self._files = self._files, None
        for file in files or ():
            file.close()

    @property
    def storage(self) -> str:
        """Storage of the messages: mcap or sqlite3."""
        return "sqlite3" if any(file.path.suffix == ".db3" for file in self._opened()) else "mcap"

    @property
    def image_topics(self) -> list[str]:
        """Names of the topics that carry camera images, raw or compressed."""
        return [topic for topic, kind in self.topics.items() if kind in IMAGE_TYPES]

    @property
    def start_ns(self) -> int:
        """Bag time of the first message, nanoseconds."""
        return min(file.start_ns for file in self._opened() if sum(file.counts.values()))

    @property
    def duration_s(self) -> float:
        """Seconds from the first to the last message."""
        return (max(file.end_ns for file in self._opened()) - self.start_ns) / 1e9

    def count(self, topic: str) -> int:
        """Number of messages on a topic, by the files' own indexes; DataError if there is no such topic."""
        self._check([topic])
        return sum(file.counts[channel.id] for file in self._opened() for channel in _channels(file, {topic}))

    def claimed_count(self, topic: str) -> int | None:
        """Number of messages on a topic by metadata.yaml; None where there is none."""
        return None if self._claims.counts is None else self._claims.counts.get(topic, 0)

    def warnings(self) -> list[str]:
        """Return what is unusual, in sentences, though all that is there is read."""
        found = [text for file in self._opened() for text in file.warnings]
        if self.encodings:
            listed = ", ".join(f"{topic} ({encoding})" for topic, encoding in self.encodings.items())
            found.append(f"Channels without ROS 2 messages are not read: {listed}.")
        return found

    def problems(self, topic: str | None = None) -> list[str]:
        """Return what is missing or contradicts itself, in sentences; more may be found while reading.

        Args:
            topic: whose counts to compare; None for those of all topics.
        """
        found = [*self._problems, *self._damage()]
        counts = self._file_counts()
        claims = self._claims.counts
        if claims is not None:
            for name in [*counts, *(each for each in claims if each not in counts)]:
                if topic in (None, name) and claims.get(name, 0) != counts[name]:
                    found.append(
                        f"{METADATA_NAME} counts {claims.get(name, 0)} messages on {name}, the files hold "
                        f"{counts[name]}"
                    )
            claimed, held = self._claims.message_count, sum(counts.values())
            if claimed not in (held, sum(claims.values())):
                found.append(f"{METADATA_NAME} counts {claimed} messages in all, the files hold {held}")
        return found

    def _file_counts(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for file in self._opened():
            for channel in file.channels:
                counts[channel.topic] += file.counts[channel.id]
        return counts

    def _damage(self) -> list[str]:
        return [text for file in self._opened() for text in file.damage]

    def resolve_image_topic(self, topic: str | None = None) -> str:
        """Return the requested image topic, or the only one in the recording.

        Of several, the only one that is no depth by its first message is taken, or else the only one of these
        with a camera_info topic in its namespace: label masks have none.

        Raises:
            DataError: no such topic, a topic of another type, no image topic, or several of them;
                the message names those there are.
        """
        images = self.image_topics
        if topic is not None:
            self._check([topic])
            if topic not in images:
                raise DataError(
                    f"topic {topic} of bag {self.path} carries {self.topics[topic]}, not images; "
                    f"image topics: {_listed(images)}"
                )
            return self._of_one_type(topic)
        if not images:
            others = [f"{topic} ({encoding})" for topic, encoding in self.encodings.items()]
            more = f"; channels that are no ROS 2 messages: {_listed(others)}" if others else ""
            raise DataError(f"bag {self.path} has no image topic; topics: {_listed(self.topics)}{more}")
        if len(images) > 1:
            colored = [each for each in images if not self._is_depth(each)]
            cameras = [each for each in colored if len(colored) == 1 or self._has_camera_info(each)]
            if len(cameras) == 1:
                return self._of_one_type(cameras[0])
            raise DataError(
                f"bag {self.path} has several image topics, choose one as {self.path}:TOPIC: "
                f"{_listed(images)}"
            )
        return self._of_one_type(images[0])

    def _of_one_type(self, topic: str) -> str:
        """Return the topic; raise DataError where it carries messages of two types."""
        types = {kind: count for kind, count in self._types[topic].items() if count}
        if len(types) > 1:
            listed = ", ".join(f"{count} of {kind}" for kind, count in types.items())
            raise DataError(
                f"topic {topic} of bag {self.path} carries messages of two types ({listed}), which no node "
                "reads; record or convert them to topics of their own"
            )
        return topic

    def _is_depth(self, topic: str) -> bool:
        """Return whether a topic's first message is a depth map, as far as its encoding says."""
        with suppress(DataError):  # of one that cannot be read nothing is known
            for _, _, cdr in self.messages([topic]):
                message = self.deserialize(topic, cdr)
                if hasattr(message, "format"):
                    return parse_format(message.format).kind == "depth"
                return known_encoding(message.encoding) in DEPTH_ENCODINGS
        return False

    def _has_camera_info(self, topic: str) -> bool:
        return f"{topic.removesuffix('/compressed').rpartition('/')[0]}/camera_info" in self.topics

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        """Yield (topic, bag time in nanoseconds, serialized CDR bytes) in the order of bag time.

        The bytes are complete with their encapsulation header and can be published as they are.

        Raises:
            DataError: no such topic, or the recording breaks off in the middle.
        """
        self._check(topics)
        files = self._opened()
        names = [{each.id: each.topic for each in _channels(file, set(topics))} for file in files]
        parts = [
            (number, part)
            for number, file in enumerate(files)
            for part in (file.parts(names[number].keys()) if names[number] else ())
        ]
        read = 0
        try:
            for number, message in by_time(parts):
                read += 1
                yield names[number][message.channel], message.time_ns, self._plain(message.data)
        except (StorageError, OSError) as cause:
            raise self._unreadable(cause, f" after {read} messages") from cause
        if read == 0 and any(self.count(topic) for topic in topics):
            reason = f" ({damage[0]})" if (damage := self._damage()) else ""
            raise DataError(
                f"bag {self.path} cannot be read: no readable messages on {_listed(topics)} though its index "
                f"counts some{reason}; mcap recover, ros2 bag reindex or a conversion may repair it"
            )

    def _plain(self, data: bytes) -> bytes:
        """Return a message, decompressed where it is compressed by itself; empty where that fails."""
        if not is_zstd(data):
            return data
        try:
            return zstd_decompress(data)
        except StorageError as error:
            text = f"messages compressed each for itself cannot be decompressed: {error}"
            if text not in self._problems:
                self._problems.append(text)
            return b""

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
        """Return the message of CDR bytes, with the fields the bag's definition gives the topic.

        That of a video is a CompressedImage.
        """
        self._check([topic])
        kind = self.topics[topic]
        store = self._stores.get(topic)
        if store is None:
            channels = [each for file in self._opened() for each in _channels(file, {topic})]
            defined = next((each for each in channels if each.type == kind and each.definition), channels[0])
            store = self._stores[topic] = _typestore(defined)
        try:
            message = store.deserialize_cdr(cdr, kind)
            return to_compressed_image(message, ros_types()) if kind in VIDEO_TYPES else message
        except Exception as cause:
            raise DataError(
                f"bag {self.path}: a message on {topic} cannot be read as {kind}: {one_line(cause)}"
            ) from cause

    def image_cdr(self, topic: str, cdr: bytes) -> bytes:
        """Return an image message as a node takes it: of a video as a CompressedImage, others as they are.

        Raises:
            DataError: bytes that are no message of its type.
        """
        if self.topics[topic] not in VIDEO_TYPES:
            return cdr
        return bytes(ros_types().serialize_cdr(self.deserialize(topic, cdr), COMPRESSED_IMAGE))

    def image_message(self, topic: str, cdr: bytes) -> Any:
        """Return the message of what ``image_cdr`` returns."""
        if self.topics[topic] not in VIDEO_TYPES:
            return self.deserialize(topic, cdr)
        return ros_types().deserialize_cdr(cdr, COMPRESSED_IMAGE)

    def is_compressed(self, topic: str) -> bool:
        """Return whether a node takes the topic's messages as CompressedImage."""
        return not self.topics[topic].endswith("/Image")

    def _opened(self) -> list[StorageFile]:
        if self._files is None:
            raise DataError(f"bag {self.path} is not open")
        return self._files

    def _check(self, topics: Collection[str]) -> None:
        self._opened()
        missing = [topic for topic in topics if topic not in self.topics]
        if missing:
            encoded = [f"{topic} is {self.encodings[topic]}" for topic in missing if topic in self.encodings]
            reason = f" of ROS 2 messages ({', '.join(encoded)})" if encoded else ""
            raise DataError(
                f"bag {self.path} has no topic {_listed(missing)}{reason}; it has: {_listed(self.topics)}"
            )

    def _unreadable(self, cause: Exception, where: str = "") -> DataError:
        return DataError(
            f"bag {self.path} cannot be read{where}, it is truncated, corrupt or incomplete: "
            f"{one_line(cause)}"
        )


def _listed(names: Collection[str]) -> str:
    return ", ".join(names) or "none"


def _channels(file: StorageFile, topics: Collection[str]) -> list[Channel]:
    return [each for each in file.channels if each.topic in topics and each.encoding == "cdr"]


@lru_cache(maxsize=1)
def ros_types() -> Typestore:
    """Return the types of ROS 2 Jazzy; those of images have not changed since Humble."""
    from rosbags.typesys import Stores, get_typestore

    return get_typestore(Stores.ROS2_JAZZY)


def _typestore(channel: Channel) -> Typestore:
    """Return a channel's types: by the bag's own definition, else by that of ROS 2 Jazzy."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    own = channel.definition
    if not own and channel.type not in DEFINITIONS:  # older sqlite3 bags carry no definitions
        return ros_types()
    store = get_typestore(Stores.EMPTY if own else Stores.ROS2_JAZZY)
    try:
        store.register(get_types_from_msg(own or DEFINITIONS[channel.type], channel.type))
    except Exception as cause:
        raise DataError(
            f"topic {channel.topic}: the bag's definition of {channel.type} is malformed: {one_line(cause)}"
        ) from cause
    return store
