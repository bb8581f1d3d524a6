"""Turns ONNX files into the converter's float graph; needs the package onnx.

read: a file as a Net, its nodes and constants as the exporter wrote them.
run: evaluates nodes, as far as their inputs are known.
probes: the net seen at two sizes and under many masks, which tells what is constant, what a shape,
    what a mask.
rules: what nodes of the float graph stand for; rows, attention, embedding and pooling hold them.
cover: walks from the outputs to the inputs and applies the rules.
"""

from .cover import to_graph
from .read import read_net

__all__ = ["read_net", "to_graph"]
