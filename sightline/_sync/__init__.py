"""The client for threads. It is generated from ``sightline/_async``: run ``make twins``.

Only ``transport`` and ``glue`` are written by hand on both sides: they hold what differs between
threads and an event loop.
"""
