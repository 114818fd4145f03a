"""One line on a terminal that says what is waited for; elsewhere nothing is shown."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

from service.domain.text import one_line


@contextmanager
def status(message: str) -> Iterator[Callable[[str], None]]:
    """Show a message inside this context.

    Yields:
        What changes the message.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _message: None
        return
    with console.status(escape(one_line(message))) as shown:
        yield lambda changed: shown.update(escape(one_line(changed)))
