"""`python -m models.upstream FILE [--convert OUT]` shows a released checkpoint or converts it to our format."""

from models.upstream.released import main

if __name__ == "__main__":
    main()
