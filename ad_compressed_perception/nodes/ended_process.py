# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Notes of the process watchdog about the process that it ended, for the node's next one; no ROS."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.model_files import user_cache
from ad_compressed_perception.serving.process_watcher import BOOT_FILE, SCHEMA

OUTDATED_S = 600.0
"""A note that is older is of another drive."""
_LARGEST_BYTES = 4096


@dataclass(frozen=True)
class EndedProcess:
    """What is known of the process before; times are those of the monotonic clock, seconds.

    Attributes:
        silent_s: how long it had given no sign of life.
        lost_since_s: since when no frame was answered.
        ended_s: when it was ended.
        times: processes ended one after the other, without a frame answered in between.
    """

    silent_s: float
    lost_since_s: float
    ended_s: float
    times: int

    def line(self, answered_s: float | None, now_s: float) -> str:
        """Return what happened, and what was lost until a frame was answered (None: none is yet)."""
        several = f", {self.times} times one after the other" if self.times > 1 else ""
        lost_s = (now_s if answered_s is None else answered_s) - self.lost_since_s
        until = " until now" if answered_s is None else ""
        return (
            f"the process before gave no sign of life for {self.silent_s:.1f} s and was ended{several}: "
            f"no frame was answered for {lost_s:.1f} s{until}"
        )


def note_path(node_name: str) -> Path:
    """Return the file for a node's note: in a folder that only this user can write to.

    It is ``adcp`` in ``$XDG_RUNTIME_DIR``, else ``ended`` in the user's cache.

    Raises:
        AdcpError: the folder cannot be made, or others may write to it.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    try:
        folder = Path(runtime).absolute() / "adcp" if runtime else user_cache() / "ended"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
    except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home folder
        raise AdcpError(f"process_watchdog_s: no folder for a note of the end: {error}") from error
    is_private = not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and status.st_uid == os.geteuid()
    if not (stat.S_ISDIR(status.st_mode) and is_private):
        raise AdcpError(f"process_watchdog_s: others can write to {folder}: chmod 700, or remove it")
    key = f"{node_name}\n{os.environ.get('ROS_DOMAIN_ID', '')}"
    return folder / f"{hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()[:32]}.json"


def take_note(path: Path) -> EndedProcess | None:
    """Return a note and remove it; None where there is none, or it is damaged, planted or outdated."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError:
        _remove(path)
        return None
    try:
        status = os.fstat(handle)
        is_own = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
        content = os.read(handle, _LARGEST_BYTES) if is_own else b""
    finally:
        os.close(handle)
    _remove(path)
    return _parse(content, monotonic())


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # a folder: nothing that the watcher wrote
        return


def _parse(content: bytes, now_s: float) -> EndedProcess | None:
    try:
        note = json.loads(content)
        if note["schema"] != SCHEMA or note["boot"] != Path(BOOT_FILE).read_text("ascii").strip():
            return None
        silent_s, lost_since_s, ended_s = (float(note[k]) for k in ("silent_s", "lost_since_s", "ended_s"))
        times = int(note["times"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    is_possible = (
        math.isfinite(silent_s) and silent_s >= 0.0 and 0.0 <= lost_since_s <= ended_s <= now_s and times > 0
    )
    if not is_possible or now_s - ended_s > OUTDATED_S:
        return None
    return EndedProcess(silent_s, lost_since_s, ended_s, times)
