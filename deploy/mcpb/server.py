"""The entry point of the bundle for desktop clients, which install what pyproject.toml names."""

import sys

from service.cli import main

sys.argv[1:] = ["mcp"]
main()
