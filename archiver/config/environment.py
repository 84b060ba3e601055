"""What a configuration takes from outside: `${VAR}`, `${VAR:-default}`, and secrets from files by `NAME_file`.

`$${` stands for a literal `${`; any other `$` stands for itself, so that a password needs no care.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archiver.config.problems import BROKEN, Problems
from archiver.config.values import located

# Keys whose values are secrets, wherever they stand: never shown, and readable from a file; two of them are lists.
SECRETS = frozenset({"password", "token", "url", "tokens", "to", "heartbeat"})
LISTS = frozenset({"tokens", "to"})

# What only a login needs.
_LOGIN = re.compile(r"integrators\..+\.(?:username|password|token)(?:_file)?")
_VARIABLE = re.compile(r"\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|(\$\{)")
_LARGEST_SECRET = 1 << 16


class Outside:
    """Brings a file's texts to their final form; what cannot be had becomes BROKEN and a problem, but for credentials
    of Integrators where nobody is to log in: these then stay as they are written."""

    def __init__(self, problems: Problems, environ: Mapping[str, str], folder: Path, *, logins: bool = True) -> None:
        self._problems = problems
        self._logins = logins
        self._environ = environ
        self._folder = folder
        self.files: list[Path] = []  # that secrets were read from
        self._done: dict[int, tuple[Any, Any]] = {}  # with the original, whose id must not be used again

    def bring(self, value: Any, path: str = "") -> Any:
        """A value with its variables and secret files put in; BROKEN where that cannot be."""
        if isinstance(value, str):
            return self._expand(value, path)
        if not isinstance(value, dict | list):
            return value
        if id(value) not in self._done:
            brought = self._mapping(value, path) if isinstance(value, dict) else self._list(value, path)
            self._done[id(value)] = (brought, value)
        return self._done[id(value)][0]

    def _list(self, items: list[Any], path: str) -> list[Any]:
        return [self.bring(item, f"{path}[{index}]") for index, item in enumerate(items)]

    def _mapping(self, mapping: dict[str, Any], path: str) -> dict[str, Any]:
        brought: dict[str, Any] = {}
        for key, value in mapping.items():
            here = f"{path}.{key}" if path else key
            name = key.removesuffix("_file")
            if name == key or name not in SECRETS:
                brought.setdefault(key, self.bring(value, here))
            elif mapping.get(name) not in (None, "", []):
                self._problems.add(here, f"stands beside {name}; leave one of the two out")
            else:
                brought[name] = self._from_file(name, self.bring(value, here), here)
        return brought

    def _from_file(self, name: str, file: Any, path: str) -> Any:
        if file in (None, "", BROKEN):
            return file
        try:
            place = located(file, self._folder)
            self.files.append(place)
            with place.open("rb") as source:
                secret = source.read(_LARGEST_SECRET + 1).decode().rstrip("\r\n")
        except (OSError, ValueError) as exc:
            if self._is_spared(path):
                return str(file)
            reason = getattr(exc, "strerror", None) or "it is not UTF-8 text"
            return self._problems.add(path, f"cannot be read: {reason}; name a file with the secret alone", file)
        if not secret.strip() or len(secret) > _LARGEST_SECRET:
            return self._problems.add(path, "the file is empty or too large; put the secret alone into it", file)
        return [line.strip() for line in secret.splitlines() if line.strip()] if name in LISTS else secret

    def _expand(self, text: str, path: str) -> Any:
        missing: list[str] = []

        def replacement(match: re.Match[str]) -> str:
            literal, name, default, stray = match.groups()
            if literal:
                return "${"
            if stray:
                missing.append("holds '${' without a variable's name; write ${NAME}, or $${ for a literal ${")
                return ""
            if default is not None and "${" in default:
                missing.append(f"{name}'s default holds a variable, which is not expanded there; write a plain one")
                return ""
            value = self._environ.get(name)
            if value is None and default is None:
                missing.append(f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}")
            return default if default is not None and not value else value or ""

        expanded = _VARIABLE.sub(replacement, text)
        if missing and self._is_spared(path):
            return text
        for problem in missing:
            self._problems.add(path, problem)
        return BROKEN if missing else expanded

    def _is_spared(self, path: str) -> bool:
        return not self._logins and _LOGIN.fullmatch(path) is not None
