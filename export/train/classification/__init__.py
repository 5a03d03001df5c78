"""Recipes of the classifiers."""
