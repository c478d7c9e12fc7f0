"""The commands that work on boards, and what they share: targets, one result or a table of them, exit codes.

May use: every room of `devices`.
Read first: common.py, then deploy.py.
"""
