"""Heads of other people's graphs: from what they answer for one image to the terms of the task."""
