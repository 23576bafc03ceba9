"""`python -m pullback.cli`: the same as `pullback`."""

from . import main

main()
