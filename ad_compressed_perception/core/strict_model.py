# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The pydantic model of every document: unknown keys are refused, old names accepted with a warning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator

from ad_compressed_perception.core.renamed import replace_old_keys, warn_renamed


class StrictModel(BaseModel):
    """A pydantic model that refuses unknown keys and names them.

    ``renamed`` has the old names of a model's own keys; they are accepted with a warning.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)
    renamed: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _accept_old_keys(cls, data: Any) -> Any:
        renamed = cls.old_keys()
        return replace_old_keys(data, renamed) if renamed and isinstance(data, Mapping) else data

    if not TYPE_CHECKING:  # for mypy, an unknown attribute stays an error, and a copy has the model's type

        def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Any:
            """Return a copy; old keys of ``update`` reach the present fields, with a warning."""
            present = replace_old_keys(update or {}, type(self).old_keys())
            return super().model_copy(update=present, deep=deep)

        def __getattr__(self, name: str) -> Any:
            """Return a field by its old name, with a warning."""
            present = type(self).old_keys().get(name)
            if present is None:
                return super().__getattr__(name)
            warn_renamed(f"attribute of {type(self).__name__}", name, present)
            return getattr(self, present)

    @classmethod
    def old_keys(cls) -> dict[str, str]:
        """Return old key to present key, including those of the base classes."""
        return {old: new for base in cls.__mro__ for old, new in getattr(base, "renamed", {}).items()}
