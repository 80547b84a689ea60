"""A preprocessor of mdBook: links that lead out of docs/ lead to the repository on the web in the built book.

mdBook calls it with `supports RENDERER`, which it answers by its exit code, and then with the book as JSON on its
standard input, which it prints with those links changed.
"""

import json
import posixpath
import re
import sys

LINK = re.compile(r"\]\((\.\./[^)\s]+)\)")


def change(chapter, repository):
    """Changes the content of a chapter and of those below it."""
    folder = posixpath.join("docs", posixpath.dirname(chapter["path"] or ""))

    def to_web(match):
        target = posixpath.normpath(posixpath.join(folder, match[1]))
        return match[0] if target.startswith("docs/") else f"]({repository}/blob/main/{target})"

    chapter["content"] = LINK.sub(to_web, chapter["content"])
    change_all(chapter["sub_items"], repository)


def change_all(items, repository):
    for item in items:
        if isinstance(item, dict) and "Chapter" in item:
            change(item["Chapter"], repository)


def main():
    if len(sys.argv) > 1:
        return
    context, book = json.load(sys.stdin)
    change_all(book["items"], context["config"]["output"]["html"]["git-repository-url"])
    json.dump(book, sys.stdout)


main()
