"""The converter."""
