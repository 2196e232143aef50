"""Text to motion, motion to text, search and editing. `load` returns one object for all of these tasks:

    from pipelines import load

    lamp = load()
    lamp.generate("a person bows", frames=60, seed=1).save("bow.bvh")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # not at run time: scripts import from this package before they parse their flags
    from pipelines.api import Lamp


def load(checkpoints_dir: str = "./checkpoints", dataset_name: str | None = None, **settings: Any) -> Lamp:
    """Return a `Lamp` with the models that the scripts use. `settings` are further arguments of `pipelines.api.Lamp`."""
    from pipelines.api import Lamp

    return Lamp(checkpoints_dir, dataset_name, **settings)
