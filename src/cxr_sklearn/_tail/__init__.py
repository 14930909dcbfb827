"""The trained part of a network."""
