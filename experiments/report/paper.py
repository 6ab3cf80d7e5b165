"""The write-up: a run's numbers.json, and the Typst sources in paper/ compiled to the run's paper.pdf."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from experiments.judge import claims, quotations, tables
from experiments.report import figures

SOURCES = Path(__file__).parents[2] / "paper"


def build(run_directory: Path) -> Path:
    """Compile the write-up of a run to ``paper.pdf``: offline, and the same bytes for the same files.

    Claims and figures are made first where they are missing.
    """
    import typst

    verdicts = claims.read(run_directory)
    if not (run_directory / "figures" / "captions.json").exists():
        figures.draw(run_directory)
    said = quotations.numbers(tables.load(run_directory), verdicts)
    text = json.dumps(said, indent=1, ensure_ascii=False, allow_nan=False)
    (run_directory / "numbers.json").write_text(text + "\n", encoding="utf-8")
    target = run_directory / "paper.pdf"
    with tempfile.TemporaryDirectory() as folder:
        # Typst reads nothing outside its root: put the sources and what they quote side by side under one.
        root = Path(folder)
        shutil.copytree(SOURCES, root / "paper")
        shutil.copytree(run_directory / "figures", root / "run" / "figures")
        shutil.copy(run_directory / "numbers.json", root / "run")
        main = root / "paper" / "main.typ"
        # Tags for floats across columns make Typst 0.15 fail on some page breaks (its issue 8487).
        typst.compile(main, output=target, root=root, ignore_system_fonts=True, pdf_tags=False)
    return target
