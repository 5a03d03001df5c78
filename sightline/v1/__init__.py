"""Generated from ``protos/sightline/v1`` by ``make protos``: do not edit."""
