"""Where a template is looked for. The first that exists wins:

    <templates_folder>/<ru|en>/<name>.<kind>      the user's, for one language
    <templates_folder>/<name>.<kind>              the user's, for both
    leadcast/templates/<ru|en>/<name>.<kind>      ours
    leadcast/templates/<name>.<kind>              ours, what both languages share

Kinds: `subject.txt`, `email.txt`, `email.html`, `telegram.html`. A changed file is seen at the next message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from jinja2 import BaseLoader, Environment, TemplateNotFound, TemplateSyntaxError

_MAX_FILE_BYTES = 256 * 1024
_SHIPPED = Path(__file__).parents[2] / "templates"
_NAME = re.compile(r"[a-z0-9_-]{1,64}")
_FILE = re.compile(r"(?:(?:ru|en)/)?[a-z0-9_-]{1,64}\.(?:subject\.txt|email\.txt|email\.html|telegram\.html)")
_NOT_FOR_LEADS = ("notify", "layout", "parts")
UNSENDABLE = re.compile("[\x00\ud800-\udfff]")
"""What the door refuses in a body, and an escape within quotes could spell: NUL, and half a surrogate pair."""
_PLACEHOLDER = re.compile(r"(?<!\{)\{(lead_[\w-]{1,128})\}(?!\})")


def placeholders_to_jinja(source: str) -> str:
    """The source with `{lead_name}` as a Jinja expression. Done once, before any value is filled in."""
    return _PLACEHOLDER.sub(r'{{ placeholders["\1"] }}', source)


class TemplateFiles(BaseLoader):
    """Jinja's way to the files. Names are checked, so that none leads out of the folders.

    Args:
        own: the folder of the user's templates, or None.
    """

    def __init__(self, own: Path | None) -> None:
        self._own = own

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        """The source of `<language>/<name>.<kind>`, where it was, and whether that is still the newest."""
        path = self._find(template)
        if path is None:
            raise TemplateNotFound(template)
        version = path.stat().st_mtime_ns
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise TemplateSyntaxError(f"over {_MAX_FILE_BYTES} bytes", 1, template)
        source = placeholders_to_jinja(content.decode("utf-8"))
        return source, str(path), lambda: self._find(template) == path and path.stat().st_mtime_ns == version

    def has(self, file: str) -> bool:
        """Whether `<language>/<name>.<kind>` is anywhere."""
        return self._find(file) is not None

    def names(self, *kinds: str, language: str) -> tuple[str, ...]:
        """The templates for leads that exist in one of these kinds."""
        found = {
            path.name.removesuffix(f".{kind}")
            for kind in kinds
            for folder in self._folders(language)
            for path in folder.glob(f"*.{kind}")
        }
        return tuple(sorted(name for name in found if _NAME.fullmatch(name) and not name.startswith(_NOT_FOR_LEADS)))

    @staticmethod
    def shipped(language: str) -> list[str]:
        """The files of ours that are read in this language and are whole templates."""
        files = (path.name for folder in (_SHIPPED / language, _SHIPPED) for path in folder.iterdir())
        return sorted({name for name in files if _FILE.fullmatch(name) and not name.startswith(("layout", "parts"))})

    def _find(self, file: str) -> Path | None:
        if not _FILE.fullmatch(file):
            return None
        language, _, name = file.rpartition("/")
        return next((path for folder in self._folders(language) if (path := folder / name).is_file()), None)

    def _folders(self, language: str) -> Iterator[Path]:
        for root in (self._own, _SHIPPED):
            if root is not None:
                if language:
                    yield root / language
                yield root
