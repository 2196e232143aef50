"""Motions: geometry, files, drawing."""

from utils.errors import check_packages

check_packages()
