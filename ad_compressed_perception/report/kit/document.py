# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Documents with results: how they are read, checked and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import ConfigDict, Field, ValidationError

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import StrictModel, describe_validation_error
from ad_compressed_perception.workspace.atomic_file import write_file

DocumentT = TypeVar("DocumentT", bound="Document")
ModelT = TypeVar("ModelT", bound=StrictModel)


class Document(StrictModel):
    """A document that a command prints with ``--json`` or writes.

    A document is checked as it is made. Its keys are written in the order of its model, and a number that is
    NaN or infinite as null.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True, populate_by_name=True)
    indent: ClassVar[int] = 2

    schema_: str = Field(alias="schema", description="format and version")

    @classmethod
    def schema_name(cls) -> str:
        """Return the name of the format, such as "adcp-report/1"."""
        return str(cls.model_fields["schema_"].default)

    @classmethod
    def parse(cls: type[DocumentT], text: str | bytes, where: str = "report") -> DocumentT:
        """Read a document from JSON text; raise DataError in one line that names the wrong key."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            why = describe_validation_error(error)
            raise DataError(f"{where} is no {cls.schema_name()}: {why}") from error

    @classmethod
    def read(cls: type[DocumentT], path: Path) -> DocumentT:
        """Read a document's file; raise DataError in one line."""
        return cls.parse(read_bytes(path), str(path))

    def to_json(self, indent: int | None = -1) -> str:
        """Return the document as JSON text; None: in one line."""
        return self.model_dump_json(by_alias=True, indent=self.indent if indent == -1 else indent)

    def write(self, path: Path) -> None:
        """Write the document atomically and create its folders; raise DataError in one line."""
        write_text(path, self.to_json() + "\n")


def read_bytes(path: Path) -> bytes:
    """Return the content of a report's file; raise DataError in one line."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read report {path}: {error.strerror or error}") from error


def write_text(path: Path, text: str) -> Path:
    """Write a file of a report atomically and create its folders; raise DataError in one line."""
    try:
        return write_file(path, text)
    except OSError as error:
        raise DataError(f"cannot write report {path}: {error.strerror or error}") from error


def field_of_kind(kind: str) -> Any:
    """Return the field that names a document's format."""
    return Field(default=kind, alias="schema", description="format and version")


def copied(model: type[ModelT], /, *sources: Any, **fields: Any) -> ModelT:
    """Return a part of a document with the attributes of objects that have its fields' names.

    Args:
        model: the part.
        sources: the figures as they were computed; of two that have an attribute the first one's is taken.
        fields: what they have under another name, or not at all.
    """
    for name in model.model_fields:
        source = next((one for one in sources if hasattr(one, name)), None)
        if name not in (*fields, "schema_") and source is not None:
            fields[name] = getattr(source, name)
    return model(**fields)
