"""Digit scenes: handwritten digits on cluttered canvases, drawn without a download."""

from quatrain.specs import name_missing_extra

with name_missing_extra():
    from quatrain.tasks.digit_scenes.scenes import DIGITS, DigitScenesSpec, Scene, Scenes

__all__ = ["DIGITS", "DigitScenesSpec", "Scene", "Scenes"]
