"""
Serves gRPC for the emulator, on the loopback interface only, and applies the faults to each call.

The services are declared by hand with Google's own messages, so that no generated stubs are needed.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

import grpc
import grpc.aio
from google.cloud.run_v2 import types as run
from google.iam.v1 import iam_policy_pb2
from google.longrunning import operations_pb2

from lq_cloudrun.emulator.faults import CallFault, MethodName
from lq_cloudrun.emulator.job_methods import JobMethods
from lq_cloudrun.emulator.methods import Methods
from lq_cloudrun.emulator.permissions import check_permission
from lq_cloudrun.emulator.pools import PoolMethods
from lq_cloudrun.emulator.project import EmulatedProject, RefusedError
from lq_cloudrun.emulator.wire import reader, written

HOST: Final = "127.0.0.1"


Request = TypeVar("Request")
Reply = TypeVar("Reply")


class Server:
    """Serves one project."""

    def __init__(self, project: EmulatedProject, methods: Methods, jobs: JobMethods, pools: PoolMethods) -> None:
        self._project = project
        self._methods = methods
        self._jobs = jobs
        self._pools = pools
        # Without this, two emulators could share a port.
        self._server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        self._working: set[asyncio.Task[object]] = set()

    async def start(self, *, port: int) -> str:
        """Serve on *port*, or on a free port if it is 0, and return the address."""
        self._server.add_generic_rpc_handlers(self._services())
        try:
            bound = self._server.add_insecure_port(f"{HOST}:{port}")
        except RuntimeError as error:
            msg = f"The port {port} is not free. Choose another one, or 0 for any free port."
            raise OSError(msg) from error
        await self._server.start()
        return f"{HOST}:{bound}"

    async def stop(self) -> None:
        """Stop serving at once. Calls that wait for a reply get UNAVAILABLE."""
        await self._server.stop(grace=None)
        for work in self._working:
            work.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)

    def _services(self) -> tuple[grpc.GenericRpcHandler, ...]:
        do, of_jobs, added = self._methods, self._jobs, self._handler
        jobs = {
            "RunJob": added("RunJob", do.run_job, run.RunJobRequest),
            "CreateJob": added("CreateJob", of_jobs.create_job, run.CreateJobRequest),
            "GetJob": added("GetJob", of_jobs.get_job, run.GetJobRequest),
            "ListJobs": added("ListJobs", of_jobs.list_jobs, run.ListJobsRequest),
            "UpdateJob": added("UpdateJob", of_jobs.update_job, run.UpdateJobRequest),
            "DeleteJob": added("DeleteJob", of_jobs.delete_job, run.DeleteJobRequest),
            "TestIamPermissions": added(
                "TestIamPermissions", of_jobs.test_iam_permissions, iam_policy_pb2.TestIamPermissionsRequest
            ),
        }
        executions = {
            "GetExecution": added("GetExecution", do.get_execution, run.GetExecutionRequest),
            "ListExecutions": added("ListExecutions", do.list_executions, run.ListExecutionsRequest),
            "CancelExecution": added("CancelExecution", do.cancel_execution, run.CancelExecutionRequest),
            "DeleteExecution": added("DeleteExecution", do.delete_execution, run.DeleteExecutionRequest),
        }
        tasks = {
            "GetTask": added("GetTask", do.get_task, run.GetTaskRequest),
            "ListTasks": added("ListTasks", do.list_tasks, run.ListTasksRequest),
        }
        pools = {
            "CreateWorkerPool": added("CreateWorkerPool", self._pools.create_worker_pool, run.CreateWorkerPoolRequest),
            "GetWorkerPool": added("GetWorkerPool", self._pools.get_worker_pool, run.GetWorkerPoolRequest),
            "ListWorkerPools": added("ListWorkerPools", self._pools.list_worker_pools, run.ListWorkerPoolsRequest),
            "UpdateWorkerPool": added("UpdateWorkerPool", self._pools.update_worker_pool, run.UpdateWorkerPoolRequest),
            "DeleteWorkerPool": added("DeleteWorkerPool", self._pools.delete_worker_pool, run.DeleteWorkerPoolRequest),
        }
        operations = {"GetOperation": added("GetOperation", do.get_operation, operations_pb2.GetOperationRequest)}
        return (
            grpc.method_handlers_generic_handler("google.cloud.run.v2.Jobs", jobs),
            grpc.method_handlers_generic_handler("google.cloud.run.v2.Executions", executions),
            grpc.method_handlers_generic_handler("google.cloud.run.v2.Tasks", tasks),
            grpc.method_handlers_generic_handler("google.cloud.run.v2.WorkerPools", pools),
            grpc.method_handlers_generic_handler("google.longrunning.Operations", operations),
        )

    def _handler(
        self, name: MethodName, work: Callable[[Request], Reply], kind: type[Request]
    ) -> "grpc.RpcMethodHandler[Request, Reply]":
        async def handle(request: Request, context: "grpc.aio.ServicerContext[Request, Reply]") -> Reply:
            self._project.calls[name] += 1
            fault = self._project.faults.next_call(name)

            def permitted(request: Request) -> Reply:
                check_permission(name, request, self._project.faults.forbidden)
                return work(request)

            # The work on a request goes on even if its client has given up.
            working = asyncio.create_task(_answer(fault, permitted, request))
            self._working.add(working)
            working.add_done_callback(self._working.discard)
            self._project.bell.ring()
            try:
                return await asyncio.shield(working)
            except RefusedError as refused:
                await context.abort(refused.code, refused.message)

        return grpc.unary_unary_rpc_method_handler(
            handle, request_deserializer=reader(kind), response_serializer=written
        )


async def _answer(fault: CallFault, work: Callable[[Request], Reply], request: Request) -> Reply:
    if fault.hold:
        await fault.hold.wait()
    await asyncio.sleep(fault.before)
    if fault.refusal:
        raise RefusedError(fault.refusal, "The emulator was asked to refuse this call.")
    reply = work(request)
    await asyncio.sleep(fault.after)
    if fault.silent:
        # Cancelled when the server stops; the client gives up at its own deadline.
        await asyncio.Event().wait()
    if fault.lost:
        raise RefusedError(fault.lost, "The emulator was asked to lose the reply to this call.")
    return reply
