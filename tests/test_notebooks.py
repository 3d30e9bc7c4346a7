"""Every notebook runs from top to bottom on small settings."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.ipynb")))
def test_notebook_runs(name, monkeypatch, request):
    if "BAYESGMM_DATA" in (FOLDER / name).read_text(encoding="utf-8"):
        monkeypatch.setenv("BAYESGMM_DATA", str(request.getfixturevalue("data_dir")))
    monkeypatch.setenv("BAYESGMM_SMALL", "1")
    spec = importlib.util.spec_from_file_location("execute", FOLDER / "execute.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.execute(FOLDER / name, save=False)
