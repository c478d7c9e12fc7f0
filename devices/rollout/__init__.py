"""Changing a board: environments, releases, services, and the way back.

May use: `devices.doctor`, `devices.transport`, `devices.boards`.
Read first: deploy.py, then environments.py, then releases.py.
"""
