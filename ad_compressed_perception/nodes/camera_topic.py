# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The camera's topic as image_transport names it, and what is there instead where nobody publishes it."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
_SUFFIX = "/compressed"
# Image topics that nodes of this package publish; a camera's topic is none of them.
_RESULTS = ("/overlay", "/mask", "/side_by_side", f"/side_by_side{_SUFFIX}", f"/overlay{_SUFFIX}")
_OTHER_TRANSPORTS = ("compressedDepth", "theora", "ffmpeg", "zstd", "foxglove")
_AT_MOST = 5


def camera_topic(node: Node, transport: str, camera: str = "") -> tuple[type[Any], str]:
    """Return the message type and the topic to subscribe to or to publish.

    As image_transport does, the base topic is remapped first and the suffix follows:
    ``image:=/front/image_raw`` makes it /front/image_raw/compressed. A remapping of ``image/compressed``
    itself has precedence.

    Args:
        node: whose namespace and remappings apply.
        transport: "raw"; "compressed"; "compressed_on_image" for compressed images without the suffix.
        camera: of several, by whose name the topics begin: front/image.
    """
    base = base_topic(camera)
    if transport != "compressed":
        return (Image if transport == "raw" else CompressedImage), node.resolve_topic_name(base)
    name = f"{base}{_SUFFIX}"
    if (remapped := node.resolve_topic_name(name)) != node.resolve_topic_name(name, only_expand=True):
        return CompressedImage, remapped
    base = node.resolve_topic_name(base)
    return CompressedImage, base if base.endswith(_SUFFIX) else base + _SUFFIX


def base_topic(camera: str) -> str:
    """Return the name, before remapping, that a node subscribes to for a camera; empty: the only one."""
    return f"{camera}/image" if camera else "image"


def describe_found(node: Node, topic: str, transport: str, name: str = "image") -> str:
    """Return what is published instead of the expected images, and what to set; empty: nothing is.

    Args:
        node: whose view of the graph counts.
        topic: the topic of camera_topic(), of which no publisher with its type is known.
        transport: the one that it was resolved with.
        name: see base_topic.
    """
    base = topic.removesuffix(_SUFFIX)
    published = _published(node, topic, base)
    here = published.get(topic, [])
    if transport == "raw":
        if COMPRESSED in here and topic != base:
            return f"{topic} carries {COMPRESSED}: set transport:=compressed and remap {name}:={base}"
        if COMPRESSED in here:
            return f"{topic} carries {COMPRESSED}: set transport:=compressed_on_image"
        if COMPRESSED in published.get(base + _SUFFIX, []):
            return f"{base}{_SUFFIX} is published: set transport:=compressed"
    else:
        if RAW in here:
            return f"{topic} carries {RAW}: set transport:=raw and remap {name}:={topic}"
        if RAW in published.get(base, []):
            return f"{base} is published: set transport:=raw"
        if COMPRESSED in published.get(base, []):
            return f"{base} carries {COMPRESSED}: set transport:=compressed_on_image"
        if COMPRESSED in published.get(base + _SUFFIX, []):
            return f"{base}{_SUFFIX} is published: set transport:=compressed"
    if here:
        return f"{topic} carries {', '.join(here)}: remap {name} (image_topic of a launch file)"
    return _describe_others(published, base, name)


def _describe_others(published: dict[str, list[str]], base: str, name: str) -> str:
    """Name other transports of the same camera, otherwise other topics of images."""
    same = [f"{base}/{one}" for one in _OTHER_TRANSPORTS if f"{base}/{one}" in published]
    if same:
        return f"only {', '.join(same)}: nodes read raw and compressed (ros2 run image_transport republish)"
    images = [
        f"{one} [{kind}]"
        for one, kinds in published.items()
        for kind in kinds
        if not one.endswith((*_RESULTS, *_OTHER_TRANSPORTS))
    ]
    more = f" and {len(images) - _AT_MOST} more" if len(images) > _AT_MOST else ""
    shown = f"{', '.join(images[:_AT_MOST])}{more}"
    return f"images are on {shown}: remap {name} (image_topic of a launch file)" if images else ""


def _published(node: Node, topic: str, base: str) -> dict[str, list[str]]:
    """Return the topics of images that have a publisher, and a camera's own ones, with their types."""
    near = {topic, *(f"{base}/{one}" for one in _OTHER_TRANSPORTS)}
    found = {}
    for name, kinds in node.get_topic_names_and_types():  # of subscriptions, such as the node's own, too
        if name in near or RAW in kinds or COMPRESSED in kinds:
            types = sorted({info.topic_type for info in node.get_publishers_info_by_topic(name)})
            if types:
                found[name] = types
    return found
