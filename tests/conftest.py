"""What every test stands on: a store of its own, a quiet TensorFlow, the real photographs where they are."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture(autouse=True, scope="session")
def own_home(tmp_path_factory):
    """No test reads or writes the user's store; converted networks are shared within one run."""
    folder = tmp_path_factory.mktemp("home")
    before = os.environ.get("HYBRID_STORE")
    os.environ["HYBRID_STORE"] = str(folder)
    yield folder
    if before is None:
        os.environ.pop("HYBRID_STORE", None)
    else:
        os.environ["HYBRID_STORE"] = before


@pytest.fixture(scope="session")
def photographs():
    """The folder of real photographs beside the checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the photographs are not here")
    return folder
