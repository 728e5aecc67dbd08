"""The notebooks of `paper/` run from top to bottom; what they claim, they assert themselves.

`python tests/paper/test_notebooks.py`, which is `make notebooks`, puts the outputs of the run into the files.
"""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

PAPER = Path(__file__).resolve().parents[2] / "paper"
NOTEBOOKS = sorted(PAPER.glob("*.ipynb"))


def executed(path: Path) -> nbformat.NotebookNode:
    notebook = nbformat.read(path, as_version=4)
    # Without the times of day, running a notebook again changes only what came out differently.
    where = {"metadata": {"path": PAPER}}
    return NotebookClient(notebook, timeout=300, record_timing=False, resources=where).execute()


@pytest.mark.slow
@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in NOTEBOOKS])
def test_the_notebook_runs(path):
    cells = [cell for cell in executed(path).cells if cell.cell_type == "code" and cell.source]
    assert all(cell.execution_count for cell in cells)


if __name__ == "__main__":
    for path in NOTEBOOKS:
        print(f"executing {path.relative_to(PAPER.parent)}", flush=True)
        nbformat.write(executed(path), path)
