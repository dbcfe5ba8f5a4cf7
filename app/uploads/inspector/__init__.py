"""The inspector: a short-lived child process that reads an uploaded file and says what it is.

It is started as `python -m app.uploads.inspector ORDER` with the file as standard input, confines
itself, reads with numpy and h5py (never TensorFlow, never a pickle), and answers with one line of
JSON. It may be killed at any time; nothing depends on its end but the answer.
"""
