"""Digit scenes: handwritten digits on cluttered canvases, drawn without a download."""

from quatrain.tasks.digit_scenes.scenes import DIGITS, DigitScenesSpec, Scene, Scenes

__all__ = ["DIGITS", "DigitScenesSpec", "Scene", "Scenes"]
