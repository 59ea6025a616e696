# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 environment of a replay: an isolated domain, and shared memory for large images."""

from __future__ import annotations

import os
import random
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.resources import config_folder

# Discovery of domain d listens from UDP port 7400 + 250 d. Domains up to 101 stay below the ports that
# Linux hands out to outgoing connections.
_DOMAINS = range(1, 102)
_SEGMENT_BYTES = 64 * 1024 * 1024
_SHARED_MEMORY = Path("/dev/shm")
# Below this a message passes the default transport without loss.
LARGE_MESSAGE_BYTES = 256 * 1024
_PROFILE = "fastdds_large_images.xml"  # in the folder config


@contextmanager
def replay_environment(*, message_bytes: int) -> Iterator[int]:
    """Set the variables for this process and its children, and yield the ROS domain id.

    A ``ROS_DOMAIN_ID`` and a Fast DDS profile that the user set are kept. Without them an
    unused domain is selected and, for large messages, the profile of the package with a 64 MiB shared-memory
    segment: with the default segment large images between two processes get lost.

    Args:
        message_bytes: size of the largest message to be published.
    """
    changes: dict[str, str] = {}
    claim: socket.socket | None = None
    named = os.environ.get("ROS_DOMAIN_ID", "")
    if named:
        domain = _parse_domain(named)
    else:
        domain, claim = _claim_free_domain()
        changes["ROS_DOMAIN_ID"] = str(domain)
    changes.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    if os.environ.get("ROS_DISTRO") == "humble":  # knows only the older variable
        changes["ROS_LOCALHOST_ONLY"] = "1"
    config = config_folder("")
    if message_bytes > LARGE_MESSAGE_BYTES and config is not None and _may_set_profile():
        changes["FASTRTPS_DEFAULT_PROFILES_FILE"] = str(config / _PROFILE)
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield domain
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if claim is not None:
            claim.close()


def _parse_domain(text: str) -> int:
    if not text.isdecimal() or int(text) > 232:
        raise DataError(f"ROS_DOMAIN_ID={text!r} is not a domain id: it must be 0 to 232")
    return int(text)


def _may_set_profile() -> bool:
    variables = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
    if any(os.environ.get(name) for name in variables):
        return False
    # Two processes create one segment each; without enough space the default transport still works.
    return _SHARED_MEMORY.is_dir() and shutil.disk_usage(_SHARED_MEMORY).free > 3 * _SEGMENT_BYTES


def _claim_free_domain() -> tuple[int, socket.socket]:
    """Return a domain unused on this machine, and the socket that reserves it among replays."""
    for domain in random.SystemRandom().sample(_DOMAINS, len(_DOMAINS)):
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            # An abstract address: it vanishes with the process, leaving no file behind.
            claim.bind(f"\0ad_compressed_perception-replay-domain-{domain}")
        except OSError:
            claim.close()
            continue
        if all(_is_free(7400 + 250 * domain + offset) for offset in (10, 11, 12, 13)):
            return domain, claim
        claim.close()
    raise DataError("every ROS 2 domain from 1 to 101 is in use here; set ROS_DOMAIN_ID to choose one")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
