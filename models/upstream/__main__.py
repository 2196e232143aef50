"""`python -m models.upstream FILE [--convert OUT]`."""

from models.upstream.released import main

if __name__ == "__main__":
    main()
