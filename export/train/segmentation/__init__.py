"""Recipes of the segmenters."""
