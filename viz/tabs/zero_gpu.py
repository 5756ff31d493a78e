"""ZeroGPU: Hugging Face Spaces that lend a GPU to one run at a time. Anywhere else nothing here has an effect."""

import os
from importlib.util import find_spec
from typing import Any

ZERO_GPU = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true") and find_spec("spaces") is not None
"""Whether this is such a Space. There, a model is loaded by every run anew, in the process that has the GPU."""

if ZERO_GPU:
    import spaces

    on_gpu = spaces.GPU
else:

    def on_gpu(run: Any) -> Any:
        """A run as it is: the GPU, if there is one, is ours."""
        return run
