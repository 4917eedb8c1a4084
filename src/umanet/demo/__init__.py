"""The main job from beginning to end on made-up data, for a first look."""

from umanet.demo.demonstration import Size, demo

__all__ = ["Size", "demo"]
