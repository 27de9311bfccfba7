"""A section of config.toml: frozen, unknown keys are errors, contradictions reported together."""

from collections.abc import Iterator
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

CONTRADICTION = "contradiction"
"""Type of the error of settings that are valid one by one, but not together."""


class Section(BaseModel):
    """A section of config.toml; the docstring below each setting is also its description."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    def contradictions(self) -> Iterator[str]:
        """Settings of this section that do not work together, one message each."""
        return iter(())

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        found = "; ".join(self.contradictions())
        if found:
            raise PydanticCustomError(CONTRADICTION, "{found}", {"found": found})
        return self
