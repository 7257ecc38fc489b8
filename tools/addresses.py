"""The addresses of the book: its repository on GitHub, and the site that GitHub Pages serves from it."""

import re

GITHUB = re.compile(r"https://github\.com/([A-Za-z0-9](?:-?[A-Za-z0-9])*)/([\w.-]+?)(?:\.git)?/?", re.ASCII)


def github_address(url: str) -> str:
    """The canonical address of a repository: without the `/` or `.git` that a browser or `git clone` adds."""
    match = GITHUB.fullmatch(url)
    if not match or match[2] in (".", ".."):
        raise ValueError(f"{url!r} is no address of a GitHub repository: give https://github.com/OWNER/REPO")
    return f"https://github.com/{match[1]}/{match[2]}"


def pages_address(repository: str) -> str:
    """Where GitHub Pages serves a repository's site; a repository named OWNER.github.io is served at the root."""
    owner, name = github_address(repository).split("/")[-2:]
    host = f"https://{owner.lower()}.github.io"
    return host if name.lower() == f"{owner.lower()}.github.io" else f"{host}/{name}"
