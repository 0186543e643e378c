#!/usr/bin/env bash
# Guess: `torch.set_num_threads(n)` sets the number for the whole process, as its documentation names
#   no thread; or else, as OpenMP does, for the calling thread alone.
# So it is: neither. The caller gets it, and so does every thread that starts later, long after the
#   caller has ended. A thread that has called `get_num_threads` before keeps its number. The main
#   thread that has only set its own number loses it: at its first look it gets the last one set by
#   any thread.
# Version: torch 2.13.0 (CPU), numpy 2.4.6 beside it.
# Who meets it: scoring a large table on a pool of threads, one core each, sets the number to one in
#   each worker. Whatever starts a thread afterwards, such as the next pool or a loader of batches,
#   computes on one core. The remedy is to set the old number again in the main thread.
# Source: observed; https://docs.pytorch.org/docs/stable/generated/torch.set_num_threads.html
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check torch==2.13.0 numpy==2.4.6 2>/dev/null
cat > "$folder/threads_of_torch.py" <<'PYTHON'
import sys
import threading

import torch

seen = {}


def look(name, number=None):
    if number is not None:
        torch.set_num_threads(number)
    seen[name] = torch.get_num_threads()


def in_a_thread(*arguments):
    thread = threading.Thread(target=look, args=arguments)
    thread.start()
    thread.join()


asked = sys.argv[1] == "asked"
torch.set_num_threads(3)
if asked:
    torch.get_num_threads()
in_a_thread("before")
in_a_thread("setter", 1)
look("main")
in_a_thread("later")
torch.set_num_threads(3)
in_a_thread("after the remedy")
print("torch", torch.__version__, sys.argv[1], seen)
main = 3 if asked else 1
expected = {"before": 3, "setter": 1, "main": main, "later": 1, "after the remedy": 3}
sys.exit(0 if seen == expected else 1)
PYTHON
"$folder/venv/bin/python" "$folder/threads_of_torch.py" asked
"$folder/venv/bin/python" "$folder/threads_of_torch.py" "not asked"
# Output seen:
# torch 2.13.0+cpu asked {'before': 3, 'setter': 1, 'main': 3, 'later': 1, 'after the remedy': 3}
# torch 2.13.0+cpu not asked {'before': 3, 'setter': 1, 'main': 1, 'later': 1, 'after the remedy': 3}
