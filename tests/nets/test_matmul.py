"""The setting of products, which all threads share."""

import threading

import torch

from flowkit.nets import matmul


def test_the_last_thread_restores_the_setting(monkeypatch):
    monkeypatch.setattr(matmul, "has_faster_route", lambda: True)
    before = torch.get_float32_matmul_precision()
    entered, leave = threading.Event(), threading.Event()

    def other():
        with matmul.fast_matmul():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with matmul.fast_matmul():
        thread.start()
        entered.wait()
    meanwhile = torch.get_float32_matmul_precision()
    leave.set()
    thread.join()
    assert meanwhile == "medium"  # the other thread still computes by the route that it chose
    assert torch.get_float32_matmul_precision() == before
