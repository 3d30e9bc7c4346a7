"""Execute every notebook in place, keeping the outputs; the first argument names one notebook only."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def execute(path: Path, *, save: bool = True) -> None:
    """Run a notebook from its own folder; an error in a cell is raised."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of the run: they would change at every execution
    if save:
        nbformat.write(notebook, path)


if __name__ == "__main__":
    folder = Path(__file__).resolve().parent
    for found in sorted(folder.glob("*.ipynb")):
        if len(sys.argv) < 2 or sys.argv[1] in found.name:
            print(f"executing {found.name}")
            execute(found)
