"""Networks and their loading."""

from utils.errors import check_packages

check_packages()
