"""Does our code compute what the released code does? `python -m tests.parity DIR…` asks it of fixture folders.

A fixture is a released checkpoint of random weights (or none, for plain functions), `io.npz` with inputs and the released code's
outputs, and `meta.json`. Every checkpoint goes through `models.loading.load_model`, as a user's would. For each kind of fixture
one module here says how to recompute each output.
"""
