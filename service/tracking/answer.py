"""What a lookup answers, and how we came by it."""

from datetime import timedelta
from enum import Enum
from typing import NamedTuple

from service.storage.shape import GenerationOut, Shown


class Served(Enum):
    """Where an answer came from."""

    HIT = "hit"
    MISS = "miss"
    STALE = "stale"


class Answer(NamedTuple):
    """A generation, and how we came by it."""

    shown: Shown
    served: Served
    age: timedelta
    """Time since Luma last told us anything of it."""

    @property
    def generation(self) -> GenerationOut:
        """What is shown, as an object with fields."""
        return self.shown.generation()
