"""What a check of `luma-tracker doctor` found."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How severe a finding is."""

    OK = "ok"
    WARNING = "warning"
    """The service works, but with less than its full function, or perhaps not as intended."""
    ERROR = "error"
    """Something does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    about: str
    message: str
    level: Level = Level.OK

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as `--json` prints it."""
        return {**asdict(self), "level": self.level.value}
