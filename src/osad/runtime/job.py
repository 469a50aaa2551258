"""Run one step as a job of its own: ``python -m osad.runtime.job STEP --option value ...``.

The job runs as a fork of the server that OSAD_SERVER names or, when none answers, as a plain
process ``python -m osad.runtime.harness STEP ...``. Both have the same environment, directory and
streams, and give the same bytes. This client returns the job's exit code; it returns 1 and says
why when a signal ended the job. SIGTERM, SIGINT and SIGHUP end the job first, then the client.
With ``--log PATH`` all that the job says goes to the client's standard output and to that file.
Where files are not shared, `osad.runtime.storage` puts them where the job has them, and back.

Only the standard library, and little of it: the client starts once per job.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys

from osad.runtime.environment import computing_environment

TYPE_CHECKING = False  # Not from typing: importing that would double the start-up time.
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CANCELLING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
GREETING_SECONDS = 120.0
"""How long a server may take to greet: it may still be importing."""
GRACE_SECONDS = 3
"""How long a cancelled job may take to clean up before it is killed."""
PR_SET_PDEATHSIG = 1
SERVER_DIED = "the fork server ended while the job ran; run the job again"


class Cancellation:
    """Remembers the signal that asked the client to stop, after ending the job."""

    before_leaving: list[Callable[[], None]] = []  # noqa: RUF012 - of the whole process.

    def __init__(self, end_job: Callable[[], None]) -> None:
        """Handle the cancelling signals, except those that are ignored (as by nohup)."""
        self.received: int | None = None
        self._end_job = end_job
        for number in CANCELLING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: object) -> None:
        self.received = number
        for other in CANCELLING:
            signal.signal(other, signal.SIG_DFL)  # A second signal ends the client at once.
        self._end_job()

    def leave(self) -> None:
        """End this process by the signal received, if any, now that the job has ended."""
        if self.received is not None:
            for finish in self.before_leaving:
                finish()
            signal.signal(self.received, signal.SIG_DFL)
            os.kill(os.getpid(), self.received)


def main(arguments: list[str]) -> int:
    """Run a step and return its exit code."""
    folder = storage_folder(arguments)
    if folder:
        from osad.runtime import storage

        return storage.run(folder, arguments, main)
    log, arguments = split_log(arguments)
    if not log:
        return run(arguments)
    try:
        close = copy_output(log)
    except OSError as error:
        return fail(arguments, f"{log}: cannot be written ({error.strerror})", "LogError")
    Cancellation.before_leaving.append(close)
    try:
        return run(arguments)
    finally:
        close()


def storage_folder(arguments: Sequence[str]) -> str:
    """Return where a storage has the job's files, with a slash; empty where files are shared.

    Example:
        >>> storage_folder(["run", "--record", ".snakemake/storage/s3/b/.osad/runs/a.json"])
        '.snakemake/storage/s3/b/'
    """
    record = dict(itertools.pairwise(arguments)).get("--record", "")
    return record.partition(".osad/")[0]


def split_log(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Split the last ``--log PATH`` from the arguments.

    Example:
        >>> split_log(["run", "--gpu", "0", "--log", "a.log"])
        ('a.log', ['run', '--gpu', '0'])
    """
    place = max((n for n, text in enumerate(arguments[:-1]) if text == "--log"), default=-1)
    if place < 0:
        return "", list(arguments)
    return arguments[place + 1], [*arguments[:place], *arguments[place + 2 :]]


def copy_output(log: str) -> Callable[[], None]:
    """Copy all that this process and its children say to a file too.

    Returns:
        a function that ends the copying when the last of them has said the last; it may be called
        again.

    Raises:
        OSError: the file cannot be written.
    """
    import threading

    os.makedirs(os.path.dirname(log) or ".", exist_ok=True)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    terminal, errors = os.dup(1), os.dup(2)
    reader, writer = os.pipe()
    os.dup2(writer, 1)
    os.dup2(writer, 2)
    os.close(writer)

    def copy() -> None:
        targets = [file, terminal]
        while part := os.read(reader, 65536):
            for target in targets[:]:
                try:
                    os.write(target, part)
                except OSError:
                    targets.remove(target)  # A full disk, or nobody listens: the job goes on.

    # Signals are for the main thread, which waits in system calls that they must interrupt.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    thread = threading.Thread(target=copy, daemon=True)
    thread.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def close() -> None:
        if thread.is_alive():
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(terminal, 1)
            os.dup2(errors, 2)
            thread.join(GRACE_SECONDS)  # A process that a job left behind may hold the pipe.

    return close


def run(arguments: list[str]) -> int:
    """Run a step, its output where this process's is, and return its exit code."""
    environment = computing_environment(os.environ)
    address = os.environ.get("OSAD_SERVER")
    status = run_on_server(address, arguments, environment) if address else None
    if status is None:
        status = run_process(arguments, environment)
    if status >= 0:
        return status
    name = signal.Signals(-status).name
    advice = "; out of memory?" if -status == signal.SIGKILL else ""
    return fail(arguments, f"killed by signal {-status} ({name}){advice}", name)


def fail(arguments: Sequence[str], reason: str, error: str) -> int:
    """Tell why a job ended that could not tell it itself; return the exit code 1."""
    from osad.runtime.harness import split_shared, write_failure

    shared, rest = split_shared(arguments)
    step, failure = rest[0] if rest else "", shared.failure
    print(f"osad {step}: {reason}", file=sys.stderr)
    if failure is not None:
        write_failure(failure, step=step, reason=reason, error=error)
    return 1


def run_on_server(
    address: str, arguments: Sequence[str], environment: Mapping[str, str]
) -> int | None:
    """Hand the job to the fork server and wait for its exit status.

    Returns:
        The exit status, negative for a signal; None when the server did not take the job.
    """
    import socket

    from osad.runtime import protocol

    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with connection, connection.makefile("rb") as answers:

        def end_job() -> None:
            try:  # noqa: SIM105 - contextlib would have to be imported.
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # The server has gone, and its jobs with it.

        try:
            connection.settimeout(GREETING_SECONDS)
            connection.connect(address)
            if answers.readline() != protocol.greeting():
                return None
            connection.settimeout(None)
            umask = os.umask(0o077)
            os.umask(umask)
            request = protocol.pack_request(
                arguments, environment, directory=os.getcwd(), umask=umask,
                search_path=search_path(),
            )  # fmt: skip
            length = len(request).to_bytes(protocol.LENGTH_BYTES, "big")
            # No signal may come between the request and the handlers that cancel it.
            signal.pthread_sigmask(signal.SIG_BLOCK, CANCELLING)
            socket.send_fds(connection, [length], [0, 1, 2])
            connection.sendall(request)
            cancellation = Cancellation(end_job)
        except OSError:
            return None  # The server never had the whole request, so it has not run the job.
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, CANCELLING)
        try:
            reply = answers.read(protocol.REPLY_BYTES)
        except ConnectionError:
            reply = b""
        cancellation.leave()
    if len(reply) < protocol.REPLY_BYTES:
        return fail(arguments, SERVER_DIED, "ServerDied")
    kind, status = protocol.unpack_reply(reply)
    return status if kind == protocol.EXITED else None


def search_path() -> list[str]:
    """Return where a job finds modules: not in the current folder, where ``python -m`` looks first.

    A plain process is told so by PYTHONSAFEPATH (see `osad.runtime.environment`).
    """
    return sys.path[1:] if sys.path[0] == os.getcwd() else sys.path


def run_process(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the job as a plain process and return its exit status, negative for a signal.

    The job leads a session of its own, so that cancelling reaches all of its processes; on Linux
    it also ends when this client is killed.
    """
    client = os.getpid()
    # No signal may come between the fork and the handlers that pass it on.
    signal.pthread_sigmask(signal.SIG_BLOCK, CANCELLING)
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            die_with_parent(client)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, CANCELLING)
            command = [sys.executable, "-m", "osad.runtime.harness", *arguments]
            os.execve(sys.executable, command, dict(environment))
        except Exception as error:
            print(f"osad: {sys.executable} cannot be started ({error})", file=sys.stderr)
        finally:
            os._exit(127)

    def end_job() -> None:
        end_group(child, signal.SIGTERM)
        signal.signal(signal.SIGALRM, lambda *_: end_group(child, signal.SIGKILL))
        signal.alarm(GRACE_SECONDS)

    cancellation = Cancellation(end_job)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, CANCELLING)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    signal.alarm(0)
    cancellation.leave()
    return status


def end_group(leader: int, number: int) -> None:
    """Send a signal to a job's process group, or to the job if it leads none yet."""
    for send in (os.killpg, os.kill):
        try:
            send(leader, number)
            return
        except (ProcessLookupError, PermissionError):
            continue


def die_with_parent(parent: int) -> None:
    """Have Linux end this process when its parent ends, or has ended; elsewhere do nothing."""
    if sys.platform != "linux":
        return
    try:
        import ctypes

        prctl = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return  # An interpreter without ctypes: the job just outlives a killed parent.
    prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # No traceback before the job has begun.
    sys.exit(main(sys.argv[1:]))
