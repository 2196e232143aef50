"""Dataset builders, downloads, and preparation of weights for release."""

from utils.errors import check_packages

check_packages()
