"""Neural networks, and functions that load them."""

from utils.errors import check_packages

check_packages()
