"""The code on docs/moving-from-laravel.md, as a reader would take it from there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "moving-from-laravel.md").read_text(encoding="utf-8")
GUZZLE = Path("/usr/share/php/GuzzleHttp/autoload.php")
"""Where Debian's php-guzzlehttp-guzzle is loaded from."""

needs_php = pytest.mark.skipif(shutil.which("php") is None, reason="needs Debian's php-cli, which CI does not have")
needs_guzzle = pytest.mark.skipif(
    not (GUZZLE.exists() and shutil.which("php")),
    reason="needs Debian's php-cli, php-curl, php-guzzlehttp-guzzle, which CI does not have",
)


def php_files() -> dict[str, str]:
    """The PHP files of the page: path in the application → source."""
    found = re.findall(r"^`([\w/]+\.php)`[^\n]*\n\n```php\n(<\?php\n.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    return dict(found)


def curl_blocks() -> tuple[str, str]:
    """The block that sets the variables, and the one with the calls."""
    section = PAGE.partition("\n## With curl\n")[2].partition("\n## ")[0]
    variables, calls = re.findall(r"^```bash\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    return variables, calls


def run_php(folder: Path, script: str, **env: str) -> str:
    """Lays the page's files into the folder, runs a script beside them, and gives what it prints."""
    for path, source in php_files().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(source, encoding="utf-8")
    # older libraries of Debian's are not quite PHP 8.2
    head = "<?php error_reporting(E_ALL & ~E_DEPRECATED);\n"
    (folder / "script.php").write_text(head + script, encoding="utf-8")
    done = subprocess.run(
        ["php", "script.php"], cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
