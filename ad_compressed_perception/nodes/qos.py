# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Quality of service of the package's topics, and a plain sentence for a mismatch."""

from __future__ import annotations

from typing import Any

from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
)

RESULT_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
"""Results are small and worth resending."""

TIMING_QOS = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)
"""Timings carry the frame counters; a burst of drops must not overwrite them."""

LATCHED_QOS = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
"""State that a late subscriber must still see."""


def image_qos(reliability: str, depth: int) -> QoSProfile:
    """Return the profile of an image subscription or publisher (sensor data, volatile)."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=(
            ReliabilityPolicy.RELIABLE if reliability == "reliable" else ReliabilityPolicy.BEST_EFFORT
        ),
        durability=DurabilityPolicy.VOLATILE,
    )


def describe_incompatible_qos(topic: str, event: Any) -> str:
    """Return one line that names the topic and the policy a publisher does not offer."""
    try:
        policy = QoSPolicyKind(event.last_policy_kind).name.lower()
    except ValueError:
        policy = str(event.last_policy_kind)
    return (
        f"{topic}: a publisher's QoS does not fit ({policy}); no frame of it arrives. "
        "Change qos_reliability here or the publisher's profile"
    )
