"""What the planners that are graphs are laid from: the builder, and models' parts and MMR as ONNX nodes."""
