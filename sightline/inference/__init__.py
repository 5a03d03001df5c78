"""Generated from ``protos/sightline/inference`` by ``make protos``: do not edit."""
