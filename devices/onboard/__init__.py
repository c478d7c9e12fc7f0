"""The board's side of a deployment: standard library only, sent over the connection each time and never installed.

It holds the lock, reads one request per line from stdin and answers each with one line. It ends, and with it the lock and
whatever it started, when the connection ends or stays silent, whatever it is doing then. Everything lies in one folder:

    edgekit.json     this folder is ours            lock            held while a session is open (its text says by whom)
    wheels/KEY/      interpreter, numpy, Pillow, shared by environments; `complete.json` is written last, with each file's SHA-256
    env/KEY/         virtual environments with edgekit's own files; their link `wheels` leads to the wheels; `complete.json` likewise
    uploads/SHA.part what has arrived so far        cache/          what measuring needs: pictures, models, answers
    releases/ID/     model.tflite, release.json; `live` is there once it was the current release
    current          link to a release: replaced in one step, after everything it leads to is on the disk

A folder without its mark (`complete.json`, `live`) is the rest of something interrupted; the next session removes it, unless a release
that was current uses it: then the card has lost the mark. `.KEY.new` is a layer that is being made, `.KEY.old` one that is being replaced.
Any single file may be lost, emptied or spoilt: what is whole stays usable.
What else stays, how long, and what makes way on a full disk is told in `kept`.
"""
