"""What a lookup answers, and how we came by it."""

from datetime import timedelta
from enum import Enum
from typing import NamedTuple

from service.storage.representation import Representation
from service.storage.shape import GenerationOut


class Served(Enum):
    """Where an answer came from."""

    HIT = "hit"
    MISS = "miss"
    STALE = "stale"


class Answer(NamedTuple):
    """A generation, and how we came by it."""

    representation: Representation
    served: Served
    age: timedelta
    """Time since Luma last told us anything of it."""

    @property
    def final(self) -> bool:
        """Whether waiting for a change is of no use."""
        return self.representation.final

    @property
    def generation(self) -> GenerationOut:
        """The representation as an object with fields."""
        return self.representation.generation()
