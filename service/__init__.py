"""luma-tracker: stores the state of Luma generations, and answers lookups without asking Luma."""

from importlib.metadata import version

__version__ = version("luma-tracker")
