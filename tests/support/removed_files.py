"""Files that a table wants removed, where a test keeps none."""


class Removed:
    """Notes the names of what was to be removed, instead of a spool."""

    def __init__(self) -> None:
        self.instances: list[str] = []
        self.copies: list[str] = []
        self.results: list[str] = []

    def remove(self, file_name: str) -> None:
        self.instances.append(file_name)

    def remove_from_quarantine(self, name: str) -> None:
        self.copies.append(name)

    def remove_result(self, name: str) -> None:
        self.results.append(name)
