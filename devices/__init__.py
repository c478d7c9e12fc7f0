"""Boards: what is known about them. Standard library only."""
