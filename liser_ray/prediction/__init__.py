"""The trained student at work: files, arrays, streams; without PyTorch from an ONNX file."""
