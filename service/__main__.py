"""`python -m service` is `luma-tracker`."""

from service.cli import main

main()
