"""By what an image of one run is taken for that of another: its seed and this."""

from typing import Literal

By = Literal["prompt", "id", "row"]
