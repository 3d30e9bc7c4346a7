"""Objects that can travel to another process, where addresses of compiled code mean nothing."""

from __future__ import annotations

from dataclasses import fields
from typing import Any


class Portable:
    """A dataclass that is copied and pickled as its fields, without what was computed from them and kept.

    What is kept may hold addresses of compiled code, which are of one process.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
