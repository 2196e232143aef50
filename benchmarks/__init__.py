"""Measurements of quality and speed."""

from utils.errors import check_packages

check_packages()
