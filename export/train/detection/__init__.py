"""Recipes of the detectors."""
