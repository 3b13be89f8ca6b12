"""Run checks: a line for each, exit code 1 if one failed or none ran."""
import asyncio
import concurrent.futures
import inspect
import signal
import sys
import threading
import time

checks = []


def check(title, when=True):
    """Mark a function or coroutine function as a check; `when` keeps it for a group that was asked for.
    What it returns is a note for its line.
    """
    def add(function):
        if when:
            checks.append((title, function))
        return function
    return add


def equal(got, want):
    if got != want:
        def short(v):
            return repr(v) if len(repr(v)) < 300 else "%.150r... (%d)" % (v, len(v))
        raise AssertionError("got %s, expected %s" % (short(got), short(want)))


def together(*functions):
    """Runs them at once, to their ends; the first exception is raised."""
    failed = []

    def one(function):
        try:
            function()
        except BaseException as e:
            failed.append(e)

    threads = [threading.Thread(target=one, args=(f,), daemon=True) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def attempt(title, function, seconds=0):
    """Whether it passes, within so many seconds."""
    def late(*_):
        raise TimeoutError("no end after %d s" % seconds)
    began = time.monotonic()
    if seconds:
        signal.signal(signal.SIGALRM, late)
        signal.alarm(seconds)
    try:
        note = asyncio.run(function()) if inspect.iscoroutinefunction(function) else function()
        print("ok   %5.1f s  %s%s" % (time.monotonic() - began, title, ": " + note if note else ""), flush=True)
        return True
    except Exception as e:  # whatever it is, it is this check's result
        lines = [f.lineno for f in inspect.trace() if f.filename == function.__code__.co_filename]
        print("FAIL %s: %s: %s (lines %s)" % (title, type(e).__name__, e, " > ".join(map(str, lines))), flush=True)
        return False
    finally:
        if seconds:
            signal.alarm(0)


def run(seconds=60, at_once=1):
    """Each has so many seconds, where they run one after another; a healthy one says much sooner what is wrong. Of those
    that run in threads, some at once, each has to come to an end by itself.
    """
    if at_once == 1:
        passed = sum(attempt(title, function, seconds) for title, function in checks)
    else:
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            passed = sum(pool.map(lambda one: attempt(*one), checks))
    print("%d passed, %d failed" % (passed, len(checks) - passed))
    sys.exit(0 if passed == len(checks) > 0 else 1)
