"""The frozen part of a network."""
