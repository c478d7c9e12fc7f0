"""From a trained network to a certified board: edgekit's own commands one after the other, each once.

Every step is a command line that a person could type, run in a process of its own; what it found comes back as the JSON that it writes.
So this room loads neither TensorFlow nor an interpreter, and needs of the other rooms words only.

- ``request``: what was asked for. ``mistakes``: what is wrong with it, all at once.
- ``steps``: the command lines as data. ``plan``: which of them come next, given what those before have found. ``candidates``: the files
  that may be deployed, and which of them is. ``advice``: what would help where none may.
- ``journal``: what is done already, under keys of everything that it depended on (``prints``). ``lock``: one at a time in a folder.
- ``apart``, ``runner``: the process of a step. ``work``: all of it in order. ``telling``: what is said.

May use: `edge`, the leaves of `devices`, the modules beside the rooms, and names of states from `qat`.
Read first: plan.py, then work.py.
"""
