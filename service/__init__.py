"""luma-tracker: the state of every Luma generation, kept where it can be asked for cheaply."""

from importlib.metadata import version

__version__ = version("luma-tracker")
