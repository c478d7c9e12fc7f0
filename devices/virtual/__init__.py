"""Emulated boards: a Debian 12 ARM userland under qemu-user with a real SSH server on the loopback.

They rehearse everything about a deployment but its speed: SSH, wheels, load failures, accuracy, bit-equality. An emulated time is
never a board's time, and nothing here prints one.

May use: `devices.rollout`, `devices.doctor`, `devices.transport`, `devices.onboard`.
Read first: boards.py, then machine.py.
"""
