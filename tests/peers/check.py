"""Run checks one after another: a line for each, exit code 1 if one failed or none ran."""
import asyncio
import inspect
import signal
import sys

SECONDS = 60  # for one check; a healthy one takes well under a second or says why not
checks = []


def check(title, when=True):
    """Mark a function or coroutine function as a check; `when` keeps it for a group that was asked for."""
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


def late(*_):
    raise TimeoutError("no end after %d s" % SECONDS)


def run():
    failed = 0
    signal.signal(signal.SIGALRM, late)
    for title, function in checks:
        signal.alarm(SECONDS)
        try:
            asyncio.run(function()) if inspect.iscoroutinefunction(function) else function()
            print("ok   " + title, flush=True)
        except Exception as e:  # whatever it is, it is this check's result
            failed += 1
            lines = [f.lineno for f in inspect.trace() if f.filename == function.__code__.co_filename]
            print("FAIL %s: %s: %s (lines %s)" % (title, type(e).__name__, e, " > ".join(map(str, lines))), flush=True)
        finally:
            signal.alarm(0)
    print("%d passed, %d failed" % (len(checks) - failed, failed))
    sys.exit(1 if failed or not checks else 0)
