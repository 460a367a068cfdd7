"""The methods of Jobs beside RunJob: create, get, list, update and delete jobs, and test permissions."""

import re

import grpc
from google.cloud.run_v2 import types as run
from google.iam.v1 import iam_policy_pb2
from google.longrunning import operations_pb2

from lq_cloudrun.emulator.job import EmulatedJob
from lq_cloudrun.emulator.kept_job import KeptJob
from lq_cloudrun.emulator.messages import finished, job_from, job_message
from lq_cloudrun.emulator.pages import INVALID, check_etag, page_of
from lq_cloudrun.emulator.project import EmulatedProject, RefusedError
from lq_cloudrun.emulator.rules import NAME


class JobMethods:
    """The jobs of one project."""

    def __init__(self, project: EmulatedProject) -> None:
        self._project = project

    def create_job(self, request: run.CreateJobRequest) -> operations_pb2.Operation:
        """Create a job. The emulator runs the command of its container, and not its image."""
        self._check_location(request.parent)
        name = self._project.names.job(request.job_id)
        if name in self._project.jobs:
            raise RefusedError(grpc.StatusCode.ALREADY_EXISTS, f"The job {name!r} exists.")
        kept = KeptJob(name=name, job=_read(request.job, short_name=request.job_id))
        if not request.validate_only:
            self._project.keep_job(kept)
        return self._operation(kept)

    def get_job(self, request: run.GetJobRequest) -> run.Job:
        """Show a job."""
        return self._shown(self._project.job(request.name))

    def list_jobs(self, request: run.ListJobsRequest) -> run.ListJobsResponse:
        """Show the jobs of the location by name."""
        self._check_location(request.parent)
        jobs = list(enumerate(self._project.listed_jobs(deleted=request.show_deleted)))
        page, token = page_of(jobs, size=request.page_size, token=request.page_token, key=lambda pair: pair[:1])
        return run.ListJobsResponse(jobs=[self._shown(kept) for _, kept in page], next_page_token=token)

    def update_job(self, request: run.UpdateJobRequest) -> operations_pb2.Operation:
        """Replace a job, or create it if that is allowed. Its executions stay as they are."""
        name = self._project.names.canonical(request.job.name)
        location, _, short_name = name.partition("/jobs/")
        self._check_location(location)
        if name not in self._project.jobs and request.allow_missing:
            kept = KeptJob(name=name, job=_read(request.job, short_name=short_name))
        else:
            current = self._project.job(name)
            check_etag(request.job.etag, current.etag)
            kept = current.changed_to(_read(request.job, short_name=short_name, before=current.job))
        if not request.validate_only:
            self._project.keep_job(kept)
        return self._operation(kept)

    def delete_job(self, request: run.DeleteJobRequest) -> operations_pb2.Operation:
        """Delete a job and its executions, and end what runs."""
        kept = self._project.job(request.name)
        check_etag(request.etag, kept.etag)
        return self._operation(kept if request.validate_only else self._project.delete_job(kept))

    def test_iam_permissions(
        self, request: iam_policy_pb2.TestIamPermissionsRequest
    ) -> iam_policy_pb2.TestIamPermissionsResponse:
        """Return those of the permissions that nobody has forbidden."""
        self._project.job(request.resource)
        allowed = [each for each in request.permissions if each not in self._project.faults.forbidden]
        return iam_policy_pb2.TestIamPermissionsResponse(permissions=allowed)

    def _check_location(self, parent: str) -> None:
        if self._project.names.canonical(parent) != self._project.location:
            raise RefusedError(grpc.StatusCode.NOT_FOUND, f"There is no location {parent!r} here.")

    def _shown(self, kept: KeptJob) -> run.Job:
        executions = [each for each in self._project.executions_of(kept.job) if self._project.shows(each)]
        return job_message(kept, executions=executions)

    def _operation(self, kept: KeptJob) -> operations_pb2.Operation:
        name = f"{self._project.location}/operations/{kept.uid[:8]}-{kept.generation}"
        return finished(self._shown(kept), name=name)


def _read(message: run.Job, *, short_name: str, before: EmulatedJob | None = None) -> EmulatedJob:
    if not re.fullmatch(NAME, short_name):
        raise RefusedError(INVALID, f"{short_name!r} cannot be the name of a job: at most 49 small letters and digits.")
    if not message.template.template.containers:
        raise RefusedError(INVALID, "A job needs a container.")
    try:
        return job_from(message, short_name=short_name, before=before)
    except ValueError as error:
        raise RefusedError(INVALID, str(error)) from error
