"""Networks: translator, ResNet, detector, segmenter, each with its spec."""
