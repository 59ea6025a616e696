# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Compares the serialized messages that this package writes with the message types that are installed."""

from __future__ import annotations

from rclpy.serialization import deserialize_message, serialize_message

from ad_compressed_perception.core.errors import ResultError


def check_layouts(examples: dict[type, bytes]) -> None:
    """Refuse to publish a message whose readers would see numbers in wrong fields.

    Args:
        examples: by message type, a message with numbers and texts in all fields that are written.

    Raises:
        ResultError: rclpy reads an example as a message of another size.
    """
    for message_type, example in examples.items():
        problem = ""
        try:
            # Not the bytes: rclpy leaves what it likes between two fields.
            if len(serialize_message(deserialize_message(example, message_type))) == len(example):
                continue
        except Exception as error:
            problem = f": {error}"
        raise ResultError(
            f"{message_type.__module__}: the installed {message_type.__name__} has other fields than this "
            f"package writes{problem}"
        )
