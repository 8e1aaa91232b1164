"""Sweeps and searches: planned, launched, watched."""
