"""Command groups that help: with the nearest command or option, and without `<bool>`."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from typer import TyperException
from typer.core import TyperGroup


class SuggestingGroup(TyperGroup):
    """A group of commands whose usage errors name the nearest command or option.

    Typer lists everything similar for an option, and does not look into groups for a command. Its
    help also shows `<bool>` behind flags, as if they took a value.
    """

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**{**attributes, "suggest_commands": False})

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options of this group."""
        with _suggest_option():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command, which parses its own options."""
        with _suggest_option():
            return super().invoke(ctx)

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters of this group; its flags show no value."""
        return _valueless(super().get_params(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by its name; its flags show no value."""
        if command := super().get_command(ctx, cmd_name):
            _valueless(command.get_params(ctx))
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the command that the first argument names."""
        word, paths = args[0], self._paths()  # parsing removes from `args`
        try:
            return super().resolve_command(ctx, args)
        except TyperException as error:
            if not word.startswith("-") and (name := nearest(word, paths)):
                error.message = f"{error.message} Did you mean `{paths[name]}`?"
            raise

    def _paths(self) -> dict[str, str]:
        """Each command's name and what to type for it; a command of a subgroup needs two words."""
        paths = {name: name for name in self.commands}
        for name, group in self.commands.items():
            for inner in getattr(group, "commands", {}):
                paths.setdefault(inner, f"{name} {inner}")
        return paths


def _valueless(parameters: list[Any]) -> list[Any]:
    for each in parameters:
        if getattr(each, "is_flag", False):
            each.metavar = ""
    return parameters


@contextmanager
def _suggest_option() -> Iterator[None]:
    """Replace Typer's list of possible options by the nearest one."""
    try:
        yield
    except TyperException as error:
        if "extra argument" in error.message and _waits(getattr(error, "ctx", None)):
            error.message = f"{error.message}. --wait takes seconds, such as --wait 60."
        if getattr(error, "possibilities", None) is not None:
            error.possibilities = None  # type: ignore[attr-defined]
            ctx: Any = getattr(error, "ctx", None)
            if name := nearest(getattr(error, "option_name", ""), _options(ctx)):
                error.message = f"{error.message}. Did you mean `{name}`?"
        raise


def _waits(ctx: Any) -> bool:
    """Whether `--wait` was given: a word behind it that is no number is taken for an argument."""
    return bool(ctx) and ctx.params.get("wait") is not None


def _options(ctx: Any) -> Iterator[str]:
    parameters = ctx.command.get_params(ctx) if ctx else ()
    for parameter in parameters:
        yield from (name for name in parameter.opts if name.startswith("--"))


def nearest(word: str, names: Iterable[str]) -> str | None:
    """Return the only name that begins with `word`, else the most similar one.

    Leading dashes and case are ignored. None if no name is similar.
    """
    plain = {name.lstrip("-"): name for name in names}
    wanted = word.lower().lstrip("-")
    if not wanted:
        return None
    beginning = [name for name in plain if name.startswith(wanted)]
    found = beginning if len(beginning) == 1 else get_close_matches(wanted, plain, n=1)
    return plain[found[0]] if found else None
