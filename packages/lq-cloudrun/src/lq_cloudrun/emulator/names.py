"""Full names of jobs, executions and tasks: with the id or the number of the project, and a dash for all."""

import re


class Names:
    """The names of one project in one region."""

    def __init__(self, project: str, number: str, region: str) -> None:
        self.location = f"projects/{project}/locations/{region}"
        self._numbered = f"projects/{number}/locations/{region}"

    def canonical(self, name: str) -> str:
        """Return a name with the id of the project instead of its number."""
        if name == self._numbered or name.startswith(f"{self._numbered}/"):
            return self.location + name.removeprefix(self._numbered)
        return name

    def job(self, short_name: str) -> str:
        """Return the full name of a job."""
        return f"{self.location}/jobs/{short_name}"

    def matching(self, parent: str, *kinds: str) -> re.Pattern[str] | None:
        """
        Return what the names below *parent* begin with; a dash stands for any name.

        None if the parent is not of these *kinds*, such as ``jobs/…/executions/…``.
        """
        parts = self.canonical(parent).removeprefix(f"{self.location}/").split("/")
        if not self.canonical(parent).startswith(f"{self.location}/") or tuple(parts[::2]) != kinds:
            return None
        path = "/".join("[^/]+" if part == "-" else re.escape(part) for part in parts)
        return re.compile(f"{re.escape(self.location)}/{path}/")
