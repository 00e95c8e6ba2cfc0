"""Run ONNX graphs with ONNX Runtime, on CPU or CUDA."""
