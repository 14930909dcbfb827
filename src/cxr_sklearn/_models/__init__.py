"""The four classifiers."""
