# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The exchange of the model that serves: a candidate is loaded and checked beside it, then takes its place.

At most one exchange is under way. Until it happens, nothing about the running model changes; where it is
refused or ended early, nothing ever does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import BoundedSemaphore, Event, Lock, Thread
from time import perf_counter
from typing import Any, Literal

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.host import usable_cores
from ad_compressed_perception.core.one_line import describe_error
from ad_compressed_perception.serving.candidate_check import Checked
from ad_compressed_perception.serving.loading import Loading
from ad_compressed_perception.serving.model_set import ModelSet
from ad_compressed_perception.serving.peak_memory import PeakMemory
from ad_compressed_perception.serving.served_model import ModelIdentity, ServedModel

Kind = Literal["swap", "load", "promote", "rollback"]
NOBODY = ModelIdentity()
OTHER_LOAD_LIMIT_S = 3.0
"""For so long a load waits until others of its process have ended; one that hangs must not hold it up."""
# A load keeps a core busy: several at once would take the cores of the frames.
_running_loads = BoundedSemaphore(max(1, usable_cores() - 1))


@dataclass(frozen=True)
class SwapReport:
    """What became of an exchange.

    Attributes:
        kind: what asked for it.
        reason: why it was refused; empty where the new model serves.
        old: served before.
        new: serves now, or was refused; only what is known of it.
        duration_ms: from the request to the exchange or refusal.
        load_ms: reading and compiling, with the checks of its files; NaN where it was not loaded.
        warmup_ms: its runs before the first frame.
        checked: what it was compared on.
        memory_peak_mb: largest sampled resident memory of the process meanwhile, 1e6 bytes.
        swap_gap_frames: frames received between the last answer of the old and the first of the new model
            that nobody answered; None until the new one has answered a frame.
    """

    kind: Kind
    reason: str = ""
    old: ModelIdentity = NOBODY
    new: ModelIdentity = NOBODY
    duration_ms: float = math.nan
    load_ms: float = math.nan
    warmup_ms: float = math.nan
    check_ms: float = math.nan
    checked: Checked = Checked()
    memory_peak_mb: float = math.nan
    swap_gap_frames: int | None = None

    @property
    def outcome(self) -> str:
        """Whether the new model serves, in a word."""
        return (
            "refused"
            if self.reason
            else {"rollback": "rolled_back", "promote": "promoted"}.get(self.kind, "swapped")
        )

    def line(self) -> str:
        """Return the report in one line."""
        names = [f"{each.model}/{each.variant}" if each.model else "none" for each in (self.old, self.new)]
        if self.reason:
            return f"{self.kind} refused, {names[0]} goes on: {self.reason}"
        note = f"; {self.checked.note}" if self.checked.note else ""
        return f"{self.outcome} from {names[0]} to {names[1]} in {self.duration_ms:.0f} ms{note}"

    def values(self) -> dict[str, str]:
        """Return the figures by name, as text; unknown ones are nan."""
        found = {"kind": self.kind, "outcome": self.outcome, "reason": self.reason}
        for side, identity in (("from", self.old), ("to", self.new)):
            for name in ("model", "variant", "backend", "sha256"):
                found[f"{side}_{name}"] = str(getattr(identity, name))
        gap = "nan" if self.swap_gap_frames is None else str(self.swap_gap_frames)
        for name in ("duration_ms", "load_ms", "warmup_ms", "check_ms"):
            found[name] = f"{getattr(self, name):.1f}"
        checked = self.checked
        return found | {
            "swap_gap_frames": gap,
            "checked_frames": str(checked.frames),
            "informative_frames": str(checked.informative),
            "agreement": f"{checked.agreement:.4f}",
            "least_agreement": f"{checked.least:.4f}",
            "candidate_frame_ms": f"{checked.frame_ms:.2f}",
            "note": checked.note,
            "memory_peak_mb": f"{self.memory_peak_mb:.1f}",
        }


@dataclass(frozen=True)
class Candidate:
    """A loaded and checked model, and what the exchange gives it."""

    model: ServedModel
    settings: Any
    report: SwapReport


@dataclass(frozen=True)
class Steps:
    """How a candidate is made; both run in the loader's thread and raise AdcpError to refuse.

    Attributes:
        load: returns the model.
        check: returns what was compared, and the settings that the model is to get.
        owned: whether a refused model is to be closed: nobody else has it.
    """

    load: Callable[[], ServedModel]
    check: Callable[[ServedModel], tuple[Checked, Any]]
    owned: bool = True


class Attempt:
    """An exchange under way."""

    def __init__(
        self, kind: Kind, asked: str, steps: Steps, limit_s: float, on_end: Callable[[], object]
    ) -> None:
        """Begin to load.

        Args:
            kind: what asked for it.
            asked: the model in words.
            steps: how the candidate is made.
            limit_s: seconds after which it is given up; a runtime that then still loads is left alone.
            on_end: called in the loader's thread when the candidate is ready or refused.
        """
        self.kind, self.asked, self._limit_s = kind, asked, limit_s
        self._steps: Steps | None = steps
        self._owned = steps.owned
        self._on_end, self._start_s = on_end, perf_counter()
        self._canceled = ""
        self._ended = Event()
        self._memory = PeakMemory()
        self._loading = Loading(self._prepare, self._discard)

    @property
    def elapsed_s(self) -> float:
        """Seconds since it began."""
        return perf_counter() - self._start_s

    @property
    def is_done(self) -> bool:
        """Whether take() answers at once."""
        return bool(self._canceled) or self._ended.is_set() or self.elapsed_s > self._limit_s

    def cancel(self, why: str) -> None:
        """End it without an exchange, in bounded time; a runtime that still loads is left alone."""
        self._canceled = self._canceled or why
        self._memory.stop()
        self._loading.abandon()

    def wait(self) -> None:
        """Wait until it is done."""
        while not self.is_done:
            self._ended.wait(0.02)

    def take(self) -> Candidate:
        """Return the candidate, once.

        Raises:
            AdcpError: it was refused, canceled or given up; one line.
        """
        try:
            if self._canceled:
                raise AdcpError(self._canceled)
            return self._loading.wait(self._limit_s if not self._ended.is_set() else math.inf)
        except AdcpError:
            raise
        except BaseException as error:  # whatever a runtime raises
            raise AdcpError(describe_error(error)) from error
        finally:
            self._memory.stop()

    def figures(self) -> SwapReport:
        """Return what is known of it when it ends."""
        return SwapReport(self.kind, duration_ms=self.elapsed_s * 1e3, memory_peak_mb=self._memory.peak_mb)

    def _prepare(self) -> Candidate:
        steps, self._steps = self._steps, None  # they hold the model that serves
        assert steps is not None
        has_slot = self._owned and _running_loads.acquire(timeout=min(OTHER_LOAD_LIMIT_S, self._limit_s / 2))
        try:
            if self._canceled:
                raise AdcpError(self._canceled)
            start = perf_counter()
            model = steps.load()
            loaded = perf_counter()
            try:
                checked, settings = steps.check(model)
            except BaseException:
                if self._owned:
                    model.close()
                raise
            warmup_ms = model.pipeline.session.info.warmup_ms
            report = SwapReport(
                self.kind,
                new=model.identity,
                load_ms=(loaded - start) * 1e3 - warmup_ms if self._owned else math.nan,
                warmup_ms=warmup_ms if self._owned else math.nan,
                check_ms=(perf_counter() - loaded) * 1e3,
                checked=checked,
            )
            return Candidate(model, settings, report)
        finally:
            if has_slot:
                _running_loads.release()
            self._memory.stop()
            self._ended.set()
            self._on_end()

    def _discard(self, candidate: Candidate) -> None:
        if self._owned:
            candidate.model.close()


class Swaps:
    """The exchanges of one node, one at a time; its methods may be called from any thread."""

    def __init__(self, models: ModelSet, on_closed: Callable[[], object] = lambda: None) -> None:
        """Exchange the primary of ``models``; ``on_closed``: called in a thread that closed a model."""
        self._models, self._on_closed = models, on_closed
        self._lock = Lock()
        self._attempt: Attempt | None = None
        self.done = self.refused = 0

    def begin(
        self,
        kind: Kind,
        asked: str,
        steps: Steps,
        limit_s: float,
        on_end: Callable[[], object] = lambda: None,
    ) -> Attempt:
        """Begin an exchange; see Attempt.

        Raises:
            AdcpError: another one is under way.
        """
        with self._lock:
            present = self._attempt
            if present is not None:
                raise AdcpError(
                    f"a {present.kind} to {present.asked} is under way for {present.elapsed_s:.1f} s: wait"
                )
            self._attempt = Attempt(kind, asked, steps, limit_s, on_end)
            return self._attempt

    def finish(self, attempt: Attempt) -> SwapReport:
        """Exchange, or say why not; the report of a refusal has a reason. To be called when it is done."""
        with self._lock:
            if self._attempt is attempt:
                self._attempt = None
        old = self._models.primary
        try:
            candidate = attempt.take()
        except AdcpError as error:
            self.refused += 1
            return replace(attempt.figures(), reason=str(error), old=old.identity if old else NOBODY)
        candidate.model.own_settings = candidate.settings
        if attempt.kind == "promote":
            try:
                dropped = self._models.promote_shadow(candidate.model)
            except AdcpError as error:
                candidate.model.own_settings = None
                self.refused += 1
                return replace(attempt.figures(), reason=str(error), old=old.identity if old else NOBODY)
        else:
            dropped = self._models.exchange(candidate.model)
        self.done += 1
        self._close(dropped)
        figures = attempt.figures()
        return replace(
            candidate.report,
            old=old.identity if old else NOBODY,
            duration_ms=figures.duration_ms,
            memory_peak_mb=figures.memory_peak_mb,
        )

    def roll_back(self) -> SwapReport:
        """Exchange the primary and the one before it, at once."""
        start, old = perf_counter(), self._models.primary
        before = old.identity if old else NOBODY
        if not self._models.roll_back():
            self.refused += 1
            return SwapReport("rollback", "there is no model before this one", before)
        self.done += 1
        new = self._models.primary
        assert new is not None
        return SwapReport("rollback", "", before, new.identity, (perf_counter() - start) * 1e3)

    def cancel(self, why: str, only: Attempt | None = None) -> None:
        """End the exchange that is under way, if one is; with ``only`` no other one than that."""
        with self._lock:
            if only is not None and self._attempt is not only:
                return
            attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel(why)

    @property
    def has_done(self) -> bool:
        """Whether an exchange is ready to be finished."""
        attempt = self._attempt
        return attempt is not None and attempt.is_done

    def _close(self, model: ServedModel | None) -> None:
        def close() -> None:
            assert model is not None
            try:
                model.close()
            finally:
                self._on_closed()

        if model is not None:
            Thread(target=close, name="adcp-closer", daemon=True).start()
