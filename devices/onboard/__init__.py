"""The board's side of a deployment: standard library only, sent over the connection each time and never installed.

It holds the lock, reads one request per line from stdin and answers each with one line. It ends, and with it the lock and
whatever it started, when the connection ends or stays silent, whatever it is doing then. Everything lies in one folder:

    edgekit.json     this folder is ours            lock            held while a session is open (its text says by whom)
    env/KEY/         virtual environments; `complete.json` is written last
    uploads/SHA.part what has arrived so far        cache/          files sent for one run
    releases/ID/     model.tflite, release.json; `live` is there once it was the current release
    current          link to a release: replaced in one step, after everything it leads to is on the disk

A folder without its mark (`complete.json`, `live`) is the rest of something interrupted; the next session removes it.
"""
