"""Plain LiteRT beside the delegate, each in a process of its own."""

import concurrent.futures
import json
import os
import pathlib
import selectors
import subprocess
import sys
import tempfile

from . import worker
from .blame import errs_by_itself

_WORKER = pathlib.Path(worker.__file__)
SECONDS = 120  # of one file

# Why what became of a file says nothing of the delegate.
NOT_OURS = {
    "unsure": "plain LiteRT dies or does not agree with itself: it read memory that "
    "nobody wrote",
    "false shapes": "LiteRT's own kernels find other shapes than the file states, and "
    "the delegate says that it cannot go on",
    "runtime errs": "valgrind sees LiteRT err with the delegate nowhere on its stack",
}


class Worker:
    """A process that runs files; it is started again once a file has ended it."""

    def __init__(self, library, options, threads=1, environment=None):
        """Without options, plain LiteRT."""
        self.command = [sys.executable, str(_WORKER), library, json.dumps(options)]
        self.command.append(str(threads))
        self._environment = environment
        self._process = None

    def run(self, path, count):
        """The steps of `worker.examine` for each of `count` files of a batch.

        The only step is `"crash N"` or `"hangs"` where the file ended the process.
        """
        answers = []
        while len(answers) < count:
            self._start()
            request = json.dumps([str(path), len(answers)]) + "\n"
            self._process.stdin.write(request.encode())
            self._process.stdin.flush()
            while len(answers) < count and self._process is not None:
                answers.append(self._answer())
        return answers

    def _start(self):
        if self._process is None:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self._environment,
                bufsize=0,
            )

    def _answer(self):
        line = b""
        with selectors.DefaultSelector() as ready:
            ready.register(self._process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not ready.select(SECONDS):
                    self.close()
                    return ["hangs"]
                text = self._process.stdout.readline()
                if not text:
                    status = self._process.wait()
                    self.close()
                    return [f"crash {status}"]
                line += text
        return json.loads(line)

    def close(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdin.close()
            self._process.stdout.close()
        self._process = None


def _died(steps):
    return isinstance(steps[-1], str) and steps[-1].startswith(("crash", "hangs"))


def verdict(stock, ours):
    """What the delegate does worse than plain LiteRT on a file; empty if nothing."""
    if _died(stock):
        return ""
    if _died(ours):
        return ours[-1]
    for index, (expected, actual) in enumerate(zip(stock, ours, strict=False)):
        if not any(isinstance(step, list) for step in stock[index:]):
            return ""  # from here on, plain LiteRT computes nothing
        if isinstance(actual, dict):
            return f"fails where {expected} is due: {actual['error']}"
        if expected != actual:
            return f"differs: {expected} became {actual}"
    return ""


class Comparison:
    """Runs files on plain LiteRT and with each of several settings of the delegate."""

    def __init__(self, library, settings):
        """Settings are names with options and a number of threads."""
        self._library = library
        self._settings = settings
        self._workers = {n: Worker(library, *s) for n, s in settings.items()}
        self._workers["stock"] = Worker(library, None)
        self._folder = tempfile.TemporaryDirectory()
        self._pool = concurrent.futures.ThreadPoolExecutor(len(self._workers))
        kinds = ("files", "stock prepares", "stock runs", "stock dies")
        self.counts = dict.fromkeys((*kinds, *NOT_OURS), 0)

    def check(self, files):
        """Returns `{(index, setting): fault}`; `files` are contents with seeds."""
        path = pathlib.Path(self._folder.name) / "batch"
        worker.write_batch(path, files)
        running = {
            name: self._pool.submit(process.run, path, len(files))
            for name, process in self._workers.items()
        }
        steps = {name: task.result() for name, task in running.items()}
        for stock in steps["stock"]:
            self.counts["files"] += 1
            self.counts["stock prepares"] += "prepared" in stock
            self.counts["stock runs"] += any(isinstance(s, list) for s in stock)
            self.counts["stock dies"] += _died(stock)
        faults = {}
        for index, file in enumerate(files):
            for name in self._settings:
                if verdict(steps["stock"][index], steps[name][index]):
                    fault = self._confirmed(name, file)
                    if fault:
                        faults[index, name] = fault
        return faults

    def _confirmed(self, name, file):
        """The fault again, in new processes: files before this one have no part in it.

        It is none of ours where `NOT_OURS` says so; such files are counted.
        """
        expected = None
        for filling in ("0", "85", "170"):
            environment = {**os.environ, "MALLOC_PERTURB_": filling}
            stock = self._once(None, 1, environment, file)
            if _died(stock) or (expected is not None and stock != expected):
                return self._not_ours("unsure")
            expected = stock
        options, threads = self._settings[name]
        fault = verdict(expected, self._once(options, threads, None, file))
        if fault.startswith("fails") and self._states_other_shapes(file):
            return self._not_ours("false shapes")
        if fault.startswith("crash") and self._is_the_runtimes(options, threads, file):
            return self._not_ours("runtime errs")
        return fault

    def _not_ours(self, kind):
        self.counts[kind] += 1
        return ""

    def _states_other_shapes(self, file):
        return self._once(worker.SHAPES, 1, None, file) != [True]

    def _is_the_runtimes(self, options, threads, file):
        command = Worker(self._library, options, threads).command
        return errs_by_itself(command, self._single(file))

    def _single(self, file):
        """A batch of one."""
        path = pathlib.Path(self._folder.name) / "single"
        worker.write_batch(path, [file])
        return path

    def _once(self, options, threads, environment, file):
        path = self._single(file)
        single = Worker(self._library, options, threads, environment)
        try:
            return single.run(path, 1)[0]
        finally:
            single.close()

    def close(self):
        for process in self._workers.values():
            process.close()
        self._pool.shutdown()
        self._folder.cleanup()
