"""Raw files to datasets, downloads, releases."""

from utils.errors import check_packages

check_packages()
