import signal
import threading

from quatrain.cli.interrupt import leave_on_interrupt


def test_the_handler_is_installed_in_the_block_only():
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with leave_on_interrupt():
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_program_that_ignores_interrupts_continues_to_do_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with leave_on_interrupt():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_a_thread_no_handler_is_installed():
    reached = []

    def read():
        with leave_on_interrupt():
            reached.append(True)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert reached == [True]
