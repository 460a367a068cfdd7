"""
The methods of WorkerPools: create, get, list, update and delete, as far as a scaler and a deployment need them.

An update heeds the update mask and the etag, as https://google.aip.dev/134 and https://google.aip.dev/154 say.
"""

import re
from pathlib import Path
from typing import Final

import grpc
from google.cloud.run_v2 import types as run
from google.longrunning import operations_pb2
from google.protobuf.field_mask_pb2 import FieldMask

from lq_cloudrun.emulator.environment import refusal
from lq_cloudrun.emulator.pool import RunningPool
from lq_cloudrun.emulator.project import EmulatedProject, RefusedError
from lq_cloudrun.emulator.wire import copied, merged, packed

LARGEST_PAGE: Final = 1000
MOST_INSTANCES: Final = 1000

_NAME: Final = re.compile(r"[a-z]([-a-z0-9]{0,47}[a-z0-9])?")
_OUTPUT_ONLY: Final = ("name", "uid", "generation", "create_time", "update_time", "etag", "observed_generation")
_INVALID: Final = grpc.StatusCode.INVALID_ARGUMENT


class PoolMethods:
    """The worker pools of one project, by full name."""

    def __init__(self, project: EmulatedProject, *, logs: Path) -> None:
        self._project = project
        self._logs = logs
        self.pools: dict[str, RunningPool] = {}
        self._deleted: list[RunningPool] = []

    async def stop(self) -> None:
        """End the processes of all pools."""
        for pool in (*self.pools.values(), *self._deleted):
            await pool.stop()

    def create_worker_pool(self, request: run.CreateWorkerPoolRequest) -> operations_pb2.Operation:
        """Create a pool, and start its processes."""
        if request.parent != self._project.location:
            raise RefusedError(grpc.StatusCode.NOT_FOUND, f"There is no location {request.parent!r}.")
        if not _NAME.fullmatch(request.worker_pool_id):
            raise RefusedError(_INVALID, f"{request.worker_pool_id!r} cannot be the name of a worker pool.")
        name = f"{request.parent}/workerPools/{request.worker_pool_id}"
        if name in self.pools:
            raise RefusedError(grpc.StatusCode.ALREADY_EXISTS, f"The worker pool {name!r} exists.")
        _check(request.worker_pool)
        message = copied(request.worker_pool)
        if request.validate_only:
            return self._operation(message)
        log = self._logs / f"pool-{request.worker_pool_id}.log"
        self.pools[name] = pool = RunningPool(message, name=name, log=log, changed=self._project.bell.ring)
        pool.scale()
        return self._operation(pool.message)

    def get_worker_pool(self, request: run.GetWorkerPoolRequest) -> run.WorkerPool:
        """Show a pool."""
        return self._pool(request.name).message

    def list_worker_pools(self, request: run.ListWorkerPoolsRequest) -> run.ListWorkerPoolsResponse:
        """Show the pools of the location in pages."""
        size = min(request.page_size or LARGEST_PAGE, LARGEST_PAGE)
        rest = [pool for name, pool in sorted(self.pools.items()) if name > request.page_token]
        return run.ListWorkerPoolsResponse(
            worker_pools=[pool.message for pool in rest[:size]],
            next_page_token=rest[size - 1].message.name if len(rest) > size else "",
        )

    def update_worker_pool(self, request: run.UpdateWorkerPoolRequest) -> operations_pb2.Operation:
        """Change the fields of a pool that the mask names, or all without a mask."""
        pool = self._pool(request.worker_pool.name)
        if request.worker_pool.etag and request.worker_pool.etag != pool.message.etag:
            raise RefusedError(grpc.StatusCode.ABORTED, "The etag is that of another version of the worker pool.")
        paths = [path for path in request.update_mask.paths if path != "*"] if "update_mask" in request else []
        try:
            changed = merged(pool.message, request.worker_pool, FieldMask(paths=paths), keep=_OUTPUT_ONLY)
        except ValueError as error:
            raise RefusedError(_INVALID, str(error)) from error
        _check(changed)
        if request.validate_only:
            return self._operation(changed)
        pool.replace(changed)
        return self._operation(pool.message)

    def delete_worker_pool(self, request: run.DeleteWorkerPoolRequest) -> operations_pb2.Operation:
        """Delete a pool, and end its processes."""
        pool = self._pool(request.name)
        changed = copied(pool.message)
        changed.scaling.manual_instance_count = 0
        pool.replace(changed)
        self._deleted.append(self.pools.pop(request.name))
        return self._operation(pool.message)

    def _pool(self, name: str) -> RunningPool:
        found = self.pools.get(name)
        if found is None:
            raise RefusedError(grpc.StatusCode.NOT_FOUND, f"There is no worker pool {name!r}.")
        return found

    def _operation(self, message: run.WorkerPool) -> operations_pb2.Operation:
        shown = packed(message)
        name = f"{self._project.location}/operations/{message.etag.strip(chr(34)) or 'validate-only'}"
        return operations_pb2.Operation(name=name, metadata=shown, done=True, response=shown)


def _check(pool: run.WorkerPool) -> None:
    if len(pool.template.containers) != 1 or not pool.template.containers[0].image:
        raise RefusedError(_INVALID, "A worker pool of the emulator needs one container with an image.")
    if "manual_instance_count" not in pool.scaling:
        raise RefusedError(_INVALID, "A worker pool needs scaling.manual_instance_count.")
    if not 0 <= pool.scaling.manual_instance_count <= MOST_INSTANCES:
        raise RefusedError(_INVALID, f"manual_instance_count must lie between 0 and {MOST_INSTANCES}.")
    complaint = refusal((each.name, each.value) for each in pool.template.containers[0].env)
    if complaint:
        raise RefusedError(_INVALID, complaint)
