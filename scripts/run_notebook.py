"""Run docs/notebook.ipynb from top to bottom and keep what it prints: `python scripts/run_notebook.py`."""

import sys
import tempfile
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "notebook.ipynb"
SECONDS_A_CELL = 900
"""A cell that takes longer fails."""


def run_notebook(notebook: Path, folder: Path) -> nbformat.NotebookNode:
    """Runs a notebook with this interpreter.

    Args:
        notebook: a file, which stays as it is.
        folder: the working directory of the notebook.

    Returns:
        The notebook with its new outputs, without times.

    Raises:
        CellExecutionError: if a cell raises an error.
    """
    cells = nbformat.read(notebook, as_version=4)
    with tempfile.TemporaryDirectory() as sockets:
        kernel = AsyncKernelManager(
            # Of no folder of kernels: one that the user has installed as python3 may be another interpreter.
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
            # Sockets in a folder of a short name, instead of open ports.
            transport="ipc",
            connection_file=str(Path(sockets, "kernel.json")),
        )
        client = NotebookClient(cells, km=kernel, timeout=SECONDS_A_CELL, record_timing=False, coalesce_streams=True)
        return client.execute(cleanup_kc=True, cwd=str(folder))


def main(words: list[str]) -> None:
    if words:
        raise SystemExit(f"error: {words[0]}: this takes no words")
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = run_notebook(NOTEBOOK, Path(folder))
        except CellExecutionError as error:
            raise SystemExit(f"error: a cell of {NOTEBOOK.name} fails:\n{error}") from None
    nbformat.write(done, NOTEBOOK)
    print(NOTEBOOK)


if __name__ == "__main__":
    main(sys.argv[1:])
