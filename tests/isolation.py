"""A pytest plugin for tests and doctests alike: none of them reads or writes the user's store."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def own_home(tmp_path_factory):
    """Give the tests a store of their own; converted networks are shared within one run."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("HYBRID_STORE", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def own_home_of_a_document(request, tmp_path, monkeypatch):
    """Give every doctest a new store: what it prints must not depend on what ran before."""
    if type(request.node).__name__ == "DoctestItem":
        monkeypatch.setenv("HYBRID_STORE", str(tmp_path / "home"))
