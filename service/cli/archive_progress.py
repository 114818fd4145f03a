"""Shows how far `luma-tracker archive` is, on a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def copying(total: int) -> Iterator[Callable[[int], None]]:
    """Provide a function that is to be called after each generation, with the bytes copied.

    Args:
        total: how many generations there are to copy.
    """
    if not sys.stderr.isatty():
        yield lambda _bytes: None
        return
    from rich.console import Console
    from rich.filesize import decimal
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("copying"),
        *(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()),
        TextColumn("{task.fields[size]} ({task.fields[rate]}/s)"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("copying", total=total, size="0 bytes", rate="0 bytes")
        copied = 0

        def done(size: int) -> None:
            nonlocal copied
            copied += size
            elapsed = progress.tasks[0].elapsed or 1
            rate = decimal(int(copied / max(elapsed, 0.1)))
            progress.update(task, advance=1, size=decimal(copied), rate=rate)

        yield done
