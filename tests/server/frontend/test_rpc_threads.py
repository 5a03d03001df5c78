import os
import subprocess
import sys
import threading

from service.frontend.rpc_threads import RpcThreads


def test_an_error_in_a_thread_that_is_needed_ends_the_process_and_is_logged() -> None:
    code = (
        "import threading, time; from service.threads import exits_process_on_error; "
        "fails = exits_process_on_error(lambda: 1 / 0); "
        "threading.Thread(target=fails, name='from w', daemon=True).start(); "
        "time.sleep(60)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == os.EX_SOFTWARE
    assert "'from w'" in done.stderr
    assert "ZeroDivisionError" in done.stderr


def test_every_call_runs_and_reports_its_end_once() -> None:
    threads, lock = RpcThreads(), threading.Lock()
    ran: list[int] = []
    told: list[int] = []
    all_told = threading.Semaphore(0)

    def call(number: int) -> None:
        with lock:
            ran.append(number)

    def tell(number: int) -> None:
        with lock:
            told.append(number)
        all_told.release()

    for number in range(500):
        task = threads.submit(call, number)
        task.add_done_callback(lambda _, number=number: tell(number))
    for _ in range(500):
        assert all_told.acquire(timeout=30)
    assert sorted(ran) == sorted(told) == list(range(500))


def test_calls_that_wait_for_each_other_do_not_starve() -> None:
    threads, barrier = RpcThreads(), threading.Barrier(20)
    done = threading.Semaphore(0)
    for _ in range(20):
        threads.submit(barrier.wait, 30).add_done_callback(lambda _: done.release())
    for _ in range(20):
        assert done.acquire(timeout=30)
