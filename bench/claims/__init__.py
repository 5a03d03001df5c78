"""The claims of the seed document about its networks: one function measures each claim."""
