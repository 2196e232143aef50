"""`python -m models.upstream FILE [--convert OUT]`."""

from models.upstream.released import main

main()
