"""Find the best list under a value model; any value model fits any planner.

`graphs` lays the planners that are served as ONNX graphs, `references` does the same in plain code, and `search` looks
for good lists offline, under a model in PyTorch.
"""
