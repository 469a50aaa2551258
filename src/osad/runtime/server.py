"""The resident fork server: ``python -m osad.runtime.server --socket PATH --owner PID``.

Importing torch takes seconds, a short job less. This process imports the third-party modules once
and then forks one child per job, which shares their memory. It never computes, never touches
CUDA (a fork could not use it any more) and has one thread. It imports no code of the steps:
each child imports ``osad`` afresh, so edited sources are never stale.

The server ends when its owner ends or on SIGTERM; it then ends its jobs and removes its socket.
See `osad.runtime.protocol` for what it says to clients and `osad.runtime.control` to start it.
"""

import argparse
import contextlib
import gc
import importlib
import math
import os
import selectors
import signal
import socket
import struct
import sys
import time
import traceback
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from osad.runtime import protocol
from osad.runtime.job import GRACE_SECONDS, die_with_parent, end_group

PRELOADED = ("numpy", "torch", "safetensors.torch", "torch._dynamo", "sklearn.cluster")
"""What training imports.

torch loads ``torch._dynamo`` (1 s) when the first optimiser is made; k-means is scikit-learn's.
"""
BACKLOG = 128
POLL_SECONDS = 1.0
STOPPING = (signal.SIGTERM, signal.SIGINT)


@dataclass(eq=False)
class Client:
    """One connection: a request being received, or a job that runs.

    Attributes:
        connection: the socket.
        received: bytes of the request so far.
        streams: file descriptors received, to become the job's standard streams.
        request: the complete request, while the job waits for its turn.
        job: process id of the job, 0 before it starts.
        kill_at: monotonic time after which a cancelled job is killed, in seconds.
    """

    connection: socket.socket
    received: bytearray = field(default_factory=bytearray)
    streams: list[int] = field(default_factory=list)
    request: bytes = b""
    job: int = 0
    kill_at: float | None = None

    def close_streams(self) -> None:
        """Close the file descriptors received."""
        for descriptor in self.streams:
            os.close(descriptor)
        self.streams.clear()

    def close(self) -> None:
        """Close everything of this connection that this process holds."""
        self.close_streams()
        self.connection.close()


class ForkServer:
    """Accepts connections and forks one child per job; one thread, one event loop.

    No more jobs run at once than there are processors, however many are handed over: each
    computes with one thread, and more of them would only push each other out of the caches.
    """

    def __init__(self, listener: socket.socket, *, owner: int, limit: int | None = None) -> None:
        """Prepare the event loop.

        Args:
            listener: a socket that listens.
            owner: id of the process to end with.
            limit: jobs that run at once; None for the number of processors.
        """
        self.limit = limit or processors()
        self.waiting: deque[Client] = deque()
        self.listener = listener
        self.owner = owner
        self.stopping = False
        self.owner_is_parent = os.getppid() == owner
        self.clients: set[Client] = set()
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ)
        # SIGCHLD writes to this pair, so the loop wakes when a job ends.
        self.wake_in, self.wake_out = socket.socketpair()
        for side in (listener, self.wake_in, self.wake_out):
            side.setblocking(False)
        signal.set_wakeup_fd(self.wake_out.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in STOPPING:
            signal.signal(number, self.request_stop)
        self.selector.register(self.wake_in, selectors.EVENT_READ)

    def request_stop(self, _number: int, _frame: object) -> None:
        """Have the event loop end."""
        self.stopping = True

    def serve(self) -> None:
        """Serve until the owner has gone or a signal asks to stop."""
        while not self.stopping and self.owner_lives():
            for key, _ in self.selector.select(POLL_SECONDS):
                if key.fileobj is self.listener:
                    self.accept()
                elif key.fileobj is self.wake_in:
                    with contextlib.suppress(BlockingIOError):
                        self.wake_in.recv(4096)
                elif key.data in self.clients:
                    self.read(key.data)
            self.reap()
            self.kill_overdue()
            self.start_waiting()

    def owner_lives(self) -> bool:
        """Tell whether the owner still runs; a parent that ended shows even if its id is reused."""
        if self.owner_is_parent:
            return os.getppid() == self.owner
        try:
            os.kill(self.owner, 0)
        except OSError as error:
            return isinstance(error, PermissionError)
        return True

    def accept(self) -> None:
        """Greet a new client of the same user; turn others away."""
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return
        client = Client(connection)
        try:
            connection.setblocking(False)
            if not same_user(connection):
                client.close()
                return
            connection.send(protocol.greeting())
        except OSError:
            client.close()
            return
        self.clients.add(client)
        self.selector.register(connection, selectors.EVENT_READ, client)

    def read(self, client: Client) -> None:
        """Receive a part of a request, or notice that the client cancels."""
        content = b""
        try:
            content, streams, _, _ = socket.recv_fds(client.connection, 1 << 16, 3)
            client.streams += streams
        except BlockingIOError:
            return
        except OSError:
            pass
        if not content:
            self.cancel(client)
        elif client.job == 0 and not client.request:
            client.received += content
            head = protocol.LENGTH_BYTES
            length = int.from_bytes(client.received[:head], "big")
            if length > protocol.MAXIMUM_REQUEST:
                self.answer(client, protocol.REFUSED, 0)
            elif len(client.received) >= head + length:
                client.request = bytes(client.received[head:])
                self.waiting.append(client)

    def start_waiting(self) -> None:
        """Start jobs in the order of their requests while processors are free."""
        running = sum(client.job != 0 for client in self.clients)
        while self.waiting and running < self.limit:
            client = self.waiting.popleft()
            if client in self.clients:
                self.start(client)
                running += client.job != 0

    def cancel(self, client: Client) -> None:
        """End the job of a client that has gone or asks to stop; forget a client without one."""
        if client.job == 0:
            self.forget(client)
            return
        self.selector.unregister(client.connection)
        end_group(client.job, signal.SIGTERM)
        client.kill_at = time.monotonic() + GRACE_SECONDS

    def start(self, client: Client) -> None:
        """Fork the child that runs the job requested."""
        if len(client.streams) != 3:
            self.answer(client, protocol.REFUSED, 0)
            return
        server = os.getpid()
        # A signal between the fork and the child's own handlers must not run the server's.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        try:
            client.job = os.fork()
            if client.job == 0:
                self.become_job(client, server)
        except OSError as error:
            print(f"fork: {error}", file=sys.stderr, flush=True)
            self.answer(client, protocol.REFUSED, 0)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        client.close_streams()
        client.received.clear()

    def become_job(self, client: Client, server: int) -> NoReturn:
        """Turn this fresh child into the job; never returns."""
        code = 1
        try:
            os.setsid()
            die_with_parent(server)
            for target, descriptor in enumerate(client.streams):
                os.dup2(descriptor, target)
            signal.set_wakeup_fd(-1)
            for other in self.clients:
                other.close()
            self.listener.close()
            self.wake_in.close()
            self.wake_out.close()
            self.selector.close()
            code = run_job(client.request)
        except BaseException:
            traceback.print_exc()
        finally:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            except (OSError, ValueError):
                code = code or 120  # What Python itself returns when its streams are broken.
            finally:
                os._exit(code)

    def reap(self) -> None:
        """Report the exit status of every job that has ended."""
        while True:
            try:
                job, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if job == 0:
                return
            for client in [client for client in self.clients if client.job == job]:
                self.answer(client, protocol.EXITED, os.waitstatus_to_exitcode(status))

    def kill_overdue(self) -> None:
        """Kill cancelled jobs that have not ended in time."""
        now = time.monotonic()
        for client in self.clients:
            if client.kill_at is not None and client.kill_at <= now:
                end_group(client.job, signal.SIGKILL)

    def answer(self, client: Client, kind: bytes, status: int) -> None:
        """Send the one reply and close the connection."""
        with contextlib.suppress(OSError):
            client.connection.send(protocol.pack_reply(kind, status))
        self.forget(client)

    def forget(self, client: Client) -> None:
        """Close a connection."""
        with contextlib.suppress(KeyError):
            self.selector.unregister(client.connection)
        self.clients.discard(client)
        client.close()

    def stop(self) -> None:
        """End all jobs: ask first, kill what still runs after the grace period."""
        for number, seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, math.inf)):
            for client in self.clients:
                if client.job:
                    end_group(client.job, number)
            deadline = time.monotonic() + seconds
            while any(client.job for client in self.clients) and time.monotonic() < deadline:
                self.reap()
                time.sleep(0.01)


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def same_user(connection: socket.socket) -> bool:
    """Tell whether the other side has our user id; elsewhere than Linux the folder guards it."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    layout = struct.Struct("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, layout.size)
    return bool(layout.unpack(credentials)[1] == os.getuid())


def run_job(request: bytes) -> int:
    """Make this process like a plain ``python -m osad.runtime.harness`` and run the step.

    Returns:
        The exit code.
    """
    arguments, environment, directory, umask, search_path = protocol.unpack_request(request)
    os.chdir(directory)
    os.umask(umask)
    os.environ.clear()
    os.environ.update(environment)
    # As Python opens its streams in UTF-8 mode, for the whole process.
    escape = "surrogateescape"
    sys.stdin = open(0, closefd=False, errors=escape)  # noqa: SIM115
    sys.stdout = open(1, "w", 1 if os.isatty(1) else -1, closefd=False, errors=escape)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, closefd=False, errors="backslashreplace")  # noqa: SIM115
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in [name for name in sys.modules if name == "osad" or name.startswith("osad.")]:
        del sys.modules[name]
    sys.path[:] = search_path
    importlib.invalidate_caches()
    harness = importlib.import_module("osad.runtime.harness")
    sys.argv = [str(harness.__file__), *arguments]
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    return int(harness.run(arguments))


def preload(modules: Sequence[str]) -> None:
    """Import modules and set aside what they made, so that children share its memory."""
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:  # Then each job that needs it imports it, and reports.
            print(f"{name}: {error}", file=sys.stderr, flush=True)
    gc.collect()
    gc.freeze()


def main(argv: Sequence[str]) -> None:
    """Listen first, so that clients queue, then import, then serve."""
    parser = argparse.ArgumentParser(prog="osad.runtime.server", description=__doc__)
    parser.add_argument("--socket", required=True, help="path of the socket to make")
    parser.add_argument("--owner", required=True, type=int, help="process id to end with")
    parser.add_argument(
        "--preload", nargs="*", default=PRELOADED, metavar="MODULE", help="modules to import"
    )
    options = parser.parse_args(argv)
    for number in STOPPING:  # While it imports; the event loop has handlers of its own.
        signal.signal(number, lambda *_: sys.exit(0))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(options.socket)
        server = None
        try:
            os.chmod(options.socket, 0o600)
            listener.listen(BACKLOG)
            preload(options.preload)
            server = ForkServer(listener, owner=options.owner)
            server.serve()
        finally:
            for number in STOPPING:
                signal.signal(number, signal.SIG_IGN)
            with contextlib.suppress(OSError):
                os.unlink(options.socket)
                os.rmdir(os.path.dirname(options.socket))  # Only if it is empty: our own.
            if server is not None:
                server.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
