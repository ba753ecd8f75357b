"""Checks that the files and tables of a workspace are intact and consistent."""
