"""A first look at a GPU: the parts of ``bench/gpu_check.py``.

Each part runs in processes of its own, which print a JSON object a line, so that a crash or a hang
costs one part its rest and nothing else.
"""
