"""Bring the catalogues of words up to date with the code: `make words`, or `make words ARGS=es` to begin another one.

New and changed texts come without a translation, and those that nobody says any more go.
"""

import sys
from pathlib import Path

from babel import Locale
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po, write_po

from core import errors
from viz.words.catalogue import LOCALES

ROOT = Path(__file__).parents[1]
WIDTH = 120

# Where a text of ours is the first argument, and where the second is its plural.
KEYWORDS = {
    **dict.fromkeys(("_", "say", "Message", *(name for name in vars(errors) if name[0].isupper())), None),
    **dict.fromkeys(("ngettext", "counted"), (1, 2)),
}


def said() -> Catalog:
    """All texts of the code, each with the files that say it."""
    catalogue = Catalog(project="multi-state", charset="utf-8")
    for method, pattern in (("python", "*.py"), ("javascript", "*.js"), ("jinja2", "*.html")):
        for file in (ROOT / "app.py", *sorted((ROOT / "core").rglob(pattern)), *sorted((ROOT / "viz").rglob(pattern))):
            if file.match(pattern):
                for _, text, _, _ in extract_from_file(method, str(file), KEYWORDS):
                    catalogue.add(text, locations=[(str(file.relative_to(ROOT)), 1)])
    return catalogue


def files() -> list[Path]:
    """The file of each language."""
    return sorted(LOCALES.glob("*/LC_MESSAGES/messages.po"))


if __name__ == "__main__":
    for language in sys.argv[1:]:
        Locale.parse(language)  # "spanish" is no code: it would be a language that nobody's browser asks for
        folder = LOCALES / language / "LC_MESSAGES"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "messages.po").touch()
    for file in files():
        with file.open("rb") as old:
            words = read_po(old, locale=file.parts[-3])
        words.update(said(), no_fuzzy_matching=True, update_creation_date=False)
        words.fuzzy = False  # the header of a new file
        with file.open("wb") as new:
            write_po(new, words, width=WIDTH, include_lineno=False, ignore_obsolete=True)
