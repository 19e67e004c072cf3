"""Attributes of files: how they are stored beside the bytes, and what this mount remembers of them."""
