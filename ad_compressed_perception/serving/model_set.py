# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The loaded models of a node by their use: primary, the one before it, standby and shadow."""

from __future__ import annotations

from threading import Lock

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.serving.served_model import ServedModel


class ModelSet:
    """Holds models; they are exchanged between two frames, since a frame reads a use once, at its beginning.

    Attributes:
        primary: answers frames; None before a load and while a hung one is replaced.
        previous: the primary before the last exchange, kept for a rollback.
        standby: answers a frame that the primary does not.
        shadow: runs on the primary's frames; its results go to topics of their own.
    """

    def __init__(self) -> None:
        """Begin without models."""
        self._lock = Lock()
        self.primary: ServedModel | None = None
        self.previous: ServedModel | None = None
        self.standby: ServedModel | None = None
        self.shadow: ServedModel | None = None

    def exchange(self, new: ServedModel) -> ServedModel | None:
        """Make a model the primary and keep the one before; return the one that is kept no longer.

        A lost primary leaves nothing to keep: then the previous model stays the previous one.
        """
        with self._lock:
            return self._exchange(new)

    def promote_shadow(self, model: ServedModel) -> ServedModel | None:
        """Make the shadow the primary; return what exchange() does.

        Raises:
            AdcpError: ``model`` is not the shadow, or no longer.
        """
        with self._lock:
            if self.shadow is not model:
                raise AdcpError("the shadow is another one now")
            self.shadow = None
            return self._exchange(model)

    def _exchange(self, new: ServedModel) -> ServedModel | None:
        old, self.primary = self.primary, new
        if old is None:
            return None
        dropped, self.previous = self.previous, old
        # A model may have two uses, such as the one before a swap that is the standby, too.
        return None if dropped in (self.primary, self.standby, self.shadow) else dropped

    def fill(self, new: ServedModel) -> bool:
        """Make a model the primary where there is none; return False where another one came first."""
        with self._lock:
            if self.primary is not None:
                return False
            self.primary = new
            return True

    def roll_back(self) -> bool:
        """Exchange primary and previous; return False where there is no previous one."""
        with self._lock:
            if self.previous is None:
                return False
            self.primary, self.previous = self.previous, self.primary
            return True

    def lose_primary(self, model: ServedModel) -> bool:
        """Take a model away that does not return; return False where it is the primary no longer."""
        with self._lock:
            if self.primary is not model:
                return False
            self.primary = None
            return True

    def lose_standby(self, model: ServedModel) -> bool:
        """Do the same with the standby."""
        with self._lock:
            if self.standby is not model:
                return False
            self.standby = None
            return True

    def lose_shadow(self, model: ServedModel) -> bool:
        """Do the same with the shadow; False says that it was promoted, and is no shadow to be closed."""
        with self._lock:
            if self.shadow is not model:
                return False
            self.shadow = None
            return True

    def lose_previous(self, model: ServedModel) -> bool:
        """Do the same with the model that is kept for a rollback."""
        with self._lock:
            if self.previous is not model:
                return False
            self.previous = None
            return True

    def lose_hung(self) -> list[ServedModel]:
        """Take away what a thread that does not return may be in, else the primary.

        The thread may have begun its frame before an exchange; the new primary is then no cause of it.
        """
        with self._lock:
            models = [each for each in (self.primary, self.previous, self.standby) if each is not None]
            hung = [each for each in models if each.in_use] or models[: self.primary is not None]
            self.primary = None if self.primary in hung else self.primary
            self.previous = None if self.previous in hung else self.previous
            self.standby = None if self.standby in hung else self.standby
            return list(dict.fromkeys(hung))

    def take_all(self) -> list[ServedModel]:
        """Take all models out, to be closed; each once."""
        with self._lock:
            models = (self.primary, self.previous, self.standby, self.shadow)
            self.primary = self.previous = self.standby = self.shadow = None
        return list(dict.fromkeys(model for model in models if model is not None))
