"""Checkpoints: one record, the door through which each is opened, and what earlier versions wrote."""
