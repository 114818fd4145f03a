"""`luma-tracker` as it would be if every import stood at the head of its module."""

import importlib
import pkgutil

import service
from service.cli import main

if __name__ == "__main__":
    for module in pkgutil.walk_packages(service.__path__, "service."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    main()
