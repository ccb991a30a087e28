"""Many trainings at once, through the standard library's interface for executors: here, or on a Dask cluster.

A worker is one process, which trains one run after the other: training seeds the process's random generators, so two
runs never share one at the same time.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext, suppress
from functools import lru_cache
from multiprocessing import connection
from pathlib import Path
from typing import Any

import torch

from perfteach import extras, files, settings
from perfteach.data import ImageData, load, pack
from perfteach.errors import ConfigError, PerfteachError

MOST_JOBS = 1024
DIED = (BrokenProcessPool, CancelledError)  # what a run ends with whose worker, or whose images' last worker, died
SECONDS = 20  # that a cluster's scheduler has to answer
REPLACED = 600  # seconds in which a cluster may get a worker in place of its last one
_read = lru_cache(maxsize=1)(load)  # a worker's next run has the same images


class InTurn(Executor):
    """Does what is submitted at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # an interrupt goes through
            future.set_exception(error)
        return future


class Pool:
    """Workers, and what they are given in place of the images.

    Attributes:
        executor: where runs are submitted.
        images: for `images_of`, in a worker.
        shared: whether workers write into this machine's folders.
    """

    executor: Executor
    images: Any
    shared = True

    def __init__(self, executor: Executor, images: Any) -> None:
        self.executor, self.images = executor, images

    @property
    def slots(self) -> int:
        """How many runs can be under way at once."""
        return 1

    def restart(self) -> None:
        """New workers in place of dead ones."""

    def forget(self, folder: str) -> None:
        """Remove what a worker kept of a run by this name: its result is here."""

    def close(self, *, now: bool) -> None:
        """End the workers, `now` or when their run is over."""


class LocalPool(Pool):
    """Processes of this machine. GPUs are dealt out in turn; several runs can be on one."""

    def __init__(self, jobs: int, data: ImageData, folder: Path) -> None:
        with suppress(OSError):  # of which `pack` says what is wrong
            folder.mkdir(parents=True, exist_ok=True)
        self.jobs = jobs
        self.others = set(multiprocessing.active_children())
        # A file, because shared memory is small in containers. Workers read it in a moment.
        super().__init__(self._start(), pack(data, folder / f"images-{data.checksum[:12]}.npz"))

    @property
    def slots(self) -> int:
        return self.jobs

    def _start(self) -> Executor:
        context = multiprocessing.get_context("spawn")  # a fork would inherit locks and CUDA's state
        return ProcessPoolExecutor(self.jobs, context, begin, (context.Value("i", 0), _gpus()))

    def restart(self) -> None:
        self.close(now=True)
        self.executor = self._start()

    def close(self, *, now: bool) -> None:
        if now:
            for process in set(multiprocessing.active_children()) - self.others:
                process.kill()  # one that ends at its leisure can hold a lock that the others wait for
        self.executor.shutdown(cancel_futures=True)


class ClusterPool(Pool):
    """A Dask cluster: of this machine, Slurm, Kubernetes or the cloud. Workers need no folder in common."""

    shared = False

    def __init__(self, address: str, data: ImageData) -> None:
        extras.need("cluster", "distributed")
        from distributed import Client
        from distributed.comm.addressing import get_address_host_port

        try:
            get_address_host_port(address)  # a client that is made with what is no address complains again when it goes
            self.client = Client(address, timeout=SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"no Dask scheduler answers at {address!r} ({error}); start one with `dask scheduler`, or use --jobs"
            ) from error
        self.data, self.done = data, list[str]()
        super().__init__(self.client.get_executor(pure=False), self._scatter())

    def _scatter(self, seconds: float = SECONDS) -> Any:
        """Every worker gets the images once, and new ones from those that have them."""
        try:
            return self.client.scatter(self.data, broadcast=True, hash=False, timeout=seconds)
        except TimeoutError as error:
            self.client.close()
            raise ConfigError(
                "the cluster has no worker; start one with `dask worker` and the address of its scheduler"
            ) from error
        except (OSError, RuntimeError) as error:  # RuntimeError: of a client that has given up
            raise self._gone(error) from error

    @property
    def slots(self) -> int:
        try:
            return max(1, len(self.client.nthreads()))
        except (OSError, RuntimeError) as error:
            raise self._gone(error) from error

    def restart(self) -> None:
        self.images = self._scatter(REPLACED)  # Dask replaces workers itself, but not what only a dead one had

    def forget(self, folder: str) -> None:
        self.done.append(folder)
        self._forget(folder)

    def close(self, *, now: bool) -> None:
        with suppress(Exception) if now else nullcontext():
            self.executor.shutdown(wait=not now)
        for folder in self.done:  # once more: a run that was lost to the driver may have been at work there
            self._forget(folder)
        self.client.close()

    def _forget(self, folder: str) -> None:
        with suppress(OSError, RuntimeError):  # what is left there goes with the machine's temporary files
            self.client.run(files.forget, folder, on_error="ignore")

    def _gone(self, error: Exception) -> PerfteachError:
        said = "start it again, and give the same command: what is recorded stays, and only the rest is trained"
        return PerfteachError(f"the Dask scheduler no longer answers ({error}); {said}")


@contextmanager
def workers(data: ImageData, jobs: int, scheduler: str | None, folder: Path) -> Iterator[Pool]:
    """The workers that are asked for. They end with the block; at once, after an error or an interrupt.

    Args:
        jobs, scheduler: as in `run_study`; without either, this process itself is the worker.
        folder: where the workers of this machine find the images.

    Raises:
        ConfigError: for jobs beside a scheduler, a scheduler that does not answer, or an argument of another type.
        MissingExtraError: when a scheduler is named and Dask is not installed.
    """
    settings.a(ImageData, "data", data, "what perfteach.data.load returns")
    jobs, folder = settings.whole("jobs", jobs, 1, MOST_JOBS), settings.path("folder", folder)
    if scheduler is not None:
        settings.text("scheduler", scheduler)
    if scheduler is not None and jobs > 1:
        raise ConfigError("jobs are processes of this machine; with a scheduler its workers decide, so leave it out")
    pool = (
        ClusterPool(scheduler, data)
        if scheduler is not None
        else LocalPool(jobs, data, folder)
        if jobs > 1
        else Pool(InTurn(), data)
    )
    try:
        yield pool
    except BaseException:
        pool.close(now=True)
        raise
    pool.close(now=False)


def images_of(given: ImageData | Path) -> ImageData:
    """In a worker: the images, in whatever form the pool gave them."""
    return _read(given) if isinstance(given, Path) else given


@contextmanager
def one_thread() -> Iterator[None]:
    """A block in which PyTorch has one thread, wherever it runs: sums over several are rounded in another way."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def begin(counter: Any, gpus: list[str]) -> None:
    """In a new process: one of the GPUs, and an eye on the process that began it."""
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    with counter.get_lock():
        number = counter.value
        counter.value += 1
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]


def _end_with(sentinel: Any) -> None:
    """A worker whose parent was killed would wait for its next run for ever."""
    connection.wait([sentinel])
    os._exit(1)


def _gpus() -> list[str]:
    """The GPUs that this process may use, by the names that a child process knows them by."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip()]
    return [str(number) for number in range(torch.cuda.device_count())]
