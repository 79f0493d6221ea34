"""Many rounds made one: the median of each figure, unless its field says otherwise."""

import statistics
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Sample = TypeVar("Sample", bound=DataclassInstance)

SUM: dict[str, Any] = {"merge": sum}
"""Metadata of a field of which the rounds' sum counts."""
MOST: dict[str, Any] = {"merge": max}
"""Metadata of a field of which the largest counts."""


def merge(samples: "Sequence[Sample]") -> "Sample":
    """Return the one sample that stands for all rounds. A figure that no round has stays None."""
    values = {}
    for field in fields(samples[0]):
        column = [value for sample in samples if (value := getattr(sample, field.name)) is not None]
        values[field.name] = field.metadata.get("merge", statistics.median)(column) if column else None
    return type(samples[0])(**values)
