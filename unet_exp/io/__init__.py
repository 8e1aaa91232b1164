"""Readers and writers of files: images, windows of large images, downloads."""
