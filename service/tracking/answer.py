"""The result of a lookup, and where it came from."""

from datetime import timedelta
from enum import Enum
from typing import NamedTuple

from service.storage.representation import Representation
from service.storage.shape import GenerationOut


class Served(Enum):
    """How the stored row was used, as in `Cache-Status`."""

    HIT = "hit"
    """The row was current."""
    MISS = "miss"
    """There was no row; Luma was asked first."""
    STALE = "stale"
    """The row was stale, or a fresh one was requested; Luma was asked before or after."""


class Answer(NamedTuple):
    """A generation, and how it was obtained."""

    representation: Representation
    served: Served
    age: timedelta
    """Time since Luma last reported anything about the generation."""

    @property
    def final(self) -> bool:
        """Whether no further change is expected."""
        return self.representation.final

    @property
    def generation(self) -> GenerationOut:
        """The representation as a model."""
        return self.representation.generation()
