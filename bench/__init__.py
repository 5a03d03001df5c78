"""The measurements: ``python -m bench`` compares the service with a baseline and with ceilings."""
