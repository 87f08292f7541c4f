"""Build the documentation site: `python docs/build.py [FOLDER]`, by default into site/.

Zensical builds it in a temporary folder, and fails on a warning. Formulas are then converted to
MathML, which browsers display without a script, so the site needs no network.
"""

import argparse
import html
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from latex2mathml.converter import convert

ROOT = Path(__file__).parents[1]
LEFT_OUT = ("*.py", "__pycache__", "runs", "evidence")
"""Code, and records of runs, which the reports tabulate."""

OUTSIDE = re.compile(
    r'<a href="(?:\.\./)+(?:benchmarks|examples|src|studies|tests)/[^"]*">(.*?)</a>'
)
"""Links to files of the repository that are not part of the site; their text stays."""

FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<tex>.*?)\\[)\]]</', re.DOTALL
)


def build(folder: Path) -> str:
    """Write the site to `folder`, which it replaces; return the output of Zensical.

    Raises:
        SystemExit: if Zensical fails or warns, with its output, or if a formula is invalid.
    """
    with tempfile.TemporaryDirectory() as name:
        project = Path(name)
        shutil.copy(ROOT / "zensical.toml", project)
        shutil.copytree(ROOT / "docs", project / "docs", ignore=shutil.ignore_patterns(*LEFT_OUT))
        (project / "src").symlink_to(ROOT / "src")
        zensical = [sys.executable, "-m", "zensical", "build", "--strict"]
        done = subprocess.run(zensical, cwd=project, capture_output=True, text=True, check=False)
        output = done.stdout + done.stderr
        if done.returncode or "warning" in output.lower():
            raise SystemExit(output)
        for page in (project / "site").rglob("*.html"):
            text = OUTSIDE.sub(r"\1", page.read_text())
            page.write_text(FORMULA.sub(_mathml, text))
        _add_sources(project / "site")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.move(project / "site", folder)
    return output


def _add_sources(site: Path) -> None:
    """Add the Markdown of the pages in llms.txt; pages of the API are linked as HTML."""
    index = site / "llms.txt"
    text = re.sub(r"\(api/(\w+)\.md\)", r"(api/\1/)", index.read_text()).replace(
        "api/index/", "api/"
    )
    index.write_text(text)
    for name in re.findall(r"\]\((\w+\.md)\)", text):
        shutil.copy(ROOT / "docs" / name, site)


def _mathml(match: re.Match[str]) -> str:
    display = "block" if match["tag"] == "div" else "inline"
    tex = html.unescape(match["tex"]).strip()
    try:
        formula = convert(tex, display=display)
    except Exception as error:
        raise SystemExit(
            f"{tex}\nis no formula that latex2mathml can convert: {error!r}"
        ) from error
    return f'<{match["tag"]} class="formula">{formula}</'


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "site")
    build(parser.parse_args().folder)
