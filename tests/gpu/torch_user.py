"""torch_user.py speed|fill: what PyTorch reaches in five seconds, or how much it is given until it is refused. As JSON."""

import json
import sys
import time

import torch


def speed():
    model = torch.nn.Sequential(*[torch.nn.Linear(2048, 2048) for _ in range(8)]).cuda().half()
    sent = torch.randn(512, 2048, device="cuda", dtype=torch.half)
    steps = 0
    for span in (2.0, 5.0):  # the first to warm up
        steps, begin = 0, time.monotonic()
        while time.monotonic() - begin < span:
            for _ in range(20):
                model(sent).sum().backward()
            torch.cuda.synchronize()
            steps += 20
    return {"per_second": steps / span}


def fill():
    kept, given = [], 0
    try:
        while True:
            kept.append(torch.empty(64 << 20, dtype=torch.uint8, device="cuda"))
            given += 64 << 20
    except Exception as error:
        return {"refused": type(error).__name__, "bytes": given}


print(json.dumps({"speed": speed, "fill": fill}[sys.argv[1]]()))
