"""Where hybrid keeps what it has computed: one folder, for its user alone."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path


def home() -> Path:
    """Return the folder of the feature store and the converted networks (`HYBRID_STORE` moves it)."""
    folder = os.environ.get("HYBRID_STORE")
    return Path(folder).expanduser() if folder else user_cache_path("hybrid")
