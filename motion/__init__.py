"""Human motion: skeletons and geometry, reading and writing of motion files, drawing."""

from utils.errors import check_packages

check_packages()
