"""What will happen on a board, before there is one: from a graph to the predictions of `devices`. Not for boards.

May use: `edge.artefact`, the plain data of `devices`, and its reader of the user's boards.
Read first: check.py, then op_list.py.
"""
