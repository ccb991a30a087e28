"""A hackathon: submissions that nobody's code is run for, a scorer that measures them, and a board that shows them.

A submission is an ONNX file with the record of its run. What counts is measured by the organiser's scorer on images
that the participants do not have; what the record claims is shown beside it.

* `submission`: what the zip holds, how it is packed and how it is read from somebody else.
* `graph`: what an ONNX graph may contain, and its parameters and multiply-accumulates.
* `measure` and `scorer`: the process with limits that runs a graph, and the one that starts it and has the labels.
* `event`: the organiser's folder with the hidden images and the participants' pack.
* `store` and `worker`: the database with its queue, and what works the queue off.
* `board` and `app`: ranks and the front, and the web pages.
* `client`: what participants use, `export` and `submit`.
"""

from __future__ import annotations
