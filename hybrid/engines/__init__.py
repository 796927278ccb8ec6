"""Who runs a network: TensorFlow, OpenVINO or NumPy, behind one protocol."""
