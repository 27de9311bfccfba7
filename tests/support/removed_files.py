"""Records the spool files that a table would delete."""


class Removed:
    """Stands in for a spool and records the deleted file names."""

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
