"""The README and the pages of docs/: snippets run, commands end well, links lead somewhere."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import flowkit.cli
import tabular_data.__main__

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
LINKED = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
APPS = {"flowkit": flowkit.cli.app, "python -m tabular_data": tabular_data.__main__.app}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.M)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


SNIPPETS = [
    pytest.param(page, code, id=f"{name_of(page)}-{i}")
    for page in PAGES
    for i, code in enumerate(blocks(page, "python"))
]
SHELLS = [
    pytest.param(code, id=f"{name_of(page)}-{i}")
    for page in PAGES
    for i, code in enumerate(blocks(page, "console"))
    if any(f"$ {command} " in code for command in APPS)
]


def test_the_citation_names_the_version():
    assert f"\nversion: {flowkit.__version__}\n" in (ROOT / "CITATION.cff").read_text()


@pytest.mark.parametrize(("page", "snippet"), SNIPPETS)
def test_snippet_runs(page, snippet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write a file
    exec(compile(snippet, name_of(page), "exec"), {"__name__": "snippet"})


def write_tables(folder: Path) -> None:
    """Write the tables that the commands are about, of so few rows that a fit takes no time."""
    rng = np.random.default_rng(0)
    price, rooms = rng.lognormal(5, 1, 60).round(2), rng.integers(1, 8, 60)
    rows = [f"{p},{r}" for p, r in zip(price, rooms, strict=True)]
    (folder / "houses.csv").write_text("\n".join(["price,rooms", *rows]) + "\n")
    rows = [f"{i};{p}".replace(".", ",") for i, p in enumerate(price)]
    (folder / "messy.csv").write_text("\n".join(["id;price", *rows, "60;-999"]) + "\n")


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_run(shell, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tables(tmp_path)
    lines = [line.removeprefix("$ ") for line in shell.splitlines() if line.startswith("$ ")]
    for line in lines:
        for command, app in APPS.items():
            if line.startswith(command + " "):
                arguments = shlex.split(line.removeprefix(command), comments=True)
                result = CliRunner().invoke(app, arguments)
                assert result.exit_code == 0, f"{line}\n{result.output}"


def test_readme_is_short():
    assert len(README.read_text().split()) <= 700


def test_readme_has_snippets_of_python_and_of_the_command_line():
    assert len(blocks(README, "python")) >= 2
    assert "$ flowkit fit" in "".join(blocks(README, "console"))


def test_the_index_lists_every_page():
    index = (ROOT / "docs" / "index.md").read_text()
    for page in PAGES:
        if page.parent.name == "docs" and page.name != "index.md":
            assert f"]({page.name})" in index, f"docs/index.md does not list {page.name}"


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, by the rules of GitHub."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.M)
    headings = re.findall(r"^#+ +(.*)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.M)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)}: {link} is no file"
        if anchor:
            assert anchor in anchors(target), f"{name_of(page)}: {link} is no heading"


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_files_that_are_named_exist(page):
    for path in re.findall(r"`((?:\w+/)+[\w-]+\.(?:py|md|json))`", page.read_text()):
        assert "NAME" in path or (ROOT / path).exists(), f"{name_of(page)}: there is no {path}"


def test_links_are_checked_against_files_and_headings(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A page: `x`\n```python\n# no heading\n```\n## Two words\n")
    assert anchors(page) == {"a-page-x", "two-words"}
