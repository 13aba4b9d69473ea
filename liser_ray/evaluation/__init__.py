"""How good a classifier is: any student, ONNX file or audio classifier, on any labeled set, in any condition."""
