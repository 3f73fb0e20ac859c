"""The ordered, versioned list of classes that a bundle answers."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated

from pydantic import Field, model_validator

from service.contracts import Frozen

ClassName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]


class Taxonomy(Frozen):
    """Independent yes/no classes, in the order of every array's last axis."""

    classes: tuple[ClassName, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_unique(self) -> Taxonomy:
        repeated = sorted({name for name in self.classes if self.classes.count(name) > 1})
        if repeated:
            raise ValueError(f"class names must differ; listed more than once: {', '.join(repeated)}")
        return self

    @property
    def version(self) -> str:
        """Digest of the ordered names: two taxonomies with the same version have the same columns."""
        return hashlib.sha256(json.dumps(self.classes).encode()).hexdigest()[:12]

    def __len__(self) -> int:
        return len(self.classes)
