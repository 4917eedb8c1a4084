"""Layouts of raw data. Every module has ``index(root, ...) -> DatasetIndex``."""
