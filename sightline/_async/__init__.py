"""The client for asyncio. The threaded client in ``sightline/_sync`` is generated from it.

After a change here run ``make twins``. Only ``transport`` and ``glue`` are written by hand on both
sides: they hold what differs between threads and an event loop.
"""
