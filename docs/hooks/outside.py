"""Files outside docs/ that pages link to are on the site too: Markdown as pages, other text as pages that show it.

Links in Markdown files are those of the repository, which GitHub follows; here they become those of the site.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from mkdocs.structure.files import File, Files

TOP = Path(__file__).parents[2]
LINK = re.compile(r"(?<=\]\()([^)#\s:]+)(?=[)#\s])")  # the path of a link within the repository
LANGUAGES = {".py": "python", ".sbatch": "bash", ".sh": "bash"}
UNSOUGHT = "---\nsearch:\n  exclude: true\n---\n"  # programs are not what somebody searches for
PICTURES = {".svg", ".png"}
OF_THE_PROJECT = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")  # in the navigation, whoever links to them

sites: dict[str, str] = {}  # of files by their path in the repository, the path below docs/ that they would have
origins: dict[str, str] = {}  # the other way round


def on_files(files: Files, config: Any) -> Files:
    """Add what pages link to, and what that links to."""
    sites.clear()
    origins.clear()
    waiting = [(f"docs/{file.src_uri}", file.content_string) for file in files.documentation_pages()]
    waiting.append(("mkdocs.yml", "".join(f"[]({name})" for name in OF_THE_PROJECT)))
    while waiting:
        origin, text = waiting.pop()
        for path in targets(origin, text):
            if path.startswith("docs/") or path in sites or not (TOP / path).is_file():
                continue
            kind = PurePosixPath(path).suffix
            sites[path] = "readme.md" if path == "README.md" else path + ("" if kind in {*PICTURES, ".md"} else ".md")
            origins[sites[path]] = path
            if kind in PICTURES:
                files.append(File.generated(config, sites[path], abs_src_path=str(TOP / path)))
                continue
            content = (TOP / path).read_text(encoding="utf-8")
            if kind == ".md":
                waiting.append((path, content))
            else:
                content = f"{UNSOUGHT}# {path}\n\n~~~~{LANGUAGES.get(kind, 'text')}\n{content}~~~~\n"
            files.append(File.generated(config, sites[path], content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links lead to where files are on the site."""
    here = page.file.src_uri
    origin = origins.get(here, f"docs/{here}")

    def moved(link: re.Match[str]) -> str:
        path = normpath(f"{PurePosixPath(origin).parent}/{link[1]}")
        site = path.removeprefix("docs/") if path.startswith("docs/") else sites.get(path)
        return relpath(site, PurePosixPath(here).parent) if site else link[1]

    return LINK.sub(moved, markdown)


def targets(origin: str, text: str) -> Iterator[str]:
    """Paths in the repository that a page links to. origin : its own."""
    for link in LINK.findall(text):
        yield normpath(f"{PurePosixPath(origin).parent}/{link}")
