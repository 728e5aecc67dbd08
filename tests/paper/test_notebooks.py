"""The notebooks of `paper/` run from top to bottom; what they claim, they assert themselves."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

PAPER = Path(__file__).resolve().parents[2] / "paper"


@pytest.mark.parametrize("path", sorted(PAPER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_the_notebook_runs(path):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(PAPER)}}).execute()
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code" and cell.source)
