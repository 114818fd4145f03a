"""The SQL of docs/scale.md, which the tests and the benchmark run as it is printed there."""

import re
from pathlib import Path

_PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
_BLOCK = re.compile(
    r"^### (?P<title>[^\n]+)\n(?:(?!^#).)*?^```sql\n(?P<sql>.*?)^```", re.MULTILINE | re.DOTALL
)

PARTITIONS = ("Events by month", "Generations by hash of the id")


def statements() -> dict[str, str]:
    """The SQL under each title that has any."""
    return {found["title"]: found["sql"] for found in _BLOCK.finditer(_PAGE.read_text())}
