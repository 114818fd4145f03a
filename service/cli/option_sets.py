"""Options of a command as the fields of one dataclass, so that long lists of them have a place.

@dataclass(frozen=True)
class Chosen:
    state: States = None

@commands.command()
@takes(Chosen)
def list_(chosen: Chosen, json: Json = False) -> None: ...
"""

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Any, TypeVar

Set = TypeVar("Set")
_KIND = inspect.Parameter.POSITIONAL_OR_KEYWORD


def takes(of: type[Set]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Have a command take the fields of a dataclass as options; it gets them as one argument.

    Args:
        of: a dataclass. Its fields are annotated as the parameters of a command are. It must be
            the first parameter of the command.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        names = [field.name for field in fields(of)]  # type: ignore[arg-type]

        @wraps(command)
        def with_options(**given: Any) -> None:
            chosen = of(**{name: given.pop(name) for name in names})
            command(chosen, **given)

        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        parameters = [*inspect.signature(of, eval_str=True).parameters.values(), *own]
        replaced = [each.replace(kind=_KIND) for each in parameters]
        with_options.__signature__ = inspect.Signature(replaced)  # type: ignore[attr-defined]
        with_options.__annotations__ = {each.name: each.annotation for each in replaced}
        return with_options

    return decorate
