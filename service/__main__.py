"""Runs `luma-tracker` as `python -m service`."""

from service.cli import main

main()
