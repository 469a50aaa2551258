"""The storage of a run of Snakemake whose jobs share no file system."""

from typing import Any

from osad.core.files import replacing


class Storage:
    """What ``--default-storage-provider`` names.

    Attributes:
        used: whether there is one.
    """

    def __init__(self, workflow: Any) -> None:
        """Find it by Snakemake's object of the workflow."""
        self._workflow = workflow
        self._provider = workflow.storage_registry.default_storage_provider
        self.used = self._provider is not None
        prefix = workflow.storage_settings.default_storage_prefix or ""
        self._prefix = f"{prefix.rstrip('/')}/" if prefix else ""

    def query(self, path: str) -> str:
        """Return the name that a file of the project has in the storage."""
        return self._prefix + path

    def path(self, query: str) -> str:
        """Return the file of the project that has a name in the storage."""
        return query.removeprefix(self._prefix)

    def bring(self, path: str) -> bool:
        """Put an object of the storage where the project has it; tell whether there is one.

        Raises:
            WorkflowError: Snakemake's; the storage does not answer.
        """
        found = self._provider.object(self.query(path))
        if not self._workflow.async_run(found.managed_exists()):
            return False
        with replacing(path) as part:
            found.set_local_path(part)
            self._workflow.async_run(found.managed_retrieve())
        return True


def local(path: str) -> Any:
    """Have Snakemake look for a file in this folder, and run jobs that read it here."""
    from snakemake.io import local as flagged

    return flagged(path)
