"""Property tests draw the same examples every time, so that a red run means a change and not bad luck."""

from hypothesis import settings

settings.register_profile("same every time", derandomize=True)
settings.load_profile("same every time")
