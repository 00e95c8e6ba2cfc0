"""Lay planners as ONNX graphs: the builder, models' parts, MMR, and the two families.

`sort_gen.queue_graph` and `degre.pointer_graph` make whole graphs; the other modules lay their parts.
"""
