"""`python -m app.cli`: the same as `penjing`."""

from app.cli.main import main

main()
