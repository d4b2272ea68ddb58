"""A process that answers with a saved model in one way, and what that costs: seconds and resident memory (Linux only).

    .venv/bin/python -m benchmarks.servers FOLDER WAY REPEATS

It imports what the way needs, and prints a line of JSON. `benchmarks.serving` writes the folder and compares the ways.
"""
import json
import re
import sys
from pathlib import Path
from statistics import median
from time import perf_counter


def learner():
    "A fastai `Learner`, with what its users import"
    import tsai_rnnattn.all as ts
    def load(folder):
        learn = ts.load_learner(folder/'learner.pkl')
        learn.remove_cb(ts.ProgressCallback)
        return lambda X: learn.get_X_preds(X)[0], lambda X: learn.predict(X[0])
    return load

def folder():
    "`load_model`"
    import safetensors.torch  # noqa: F401 (which load_model imports)
    from tsai_rnnattn.export import load_model
    return lambda folder: [load_model(folder/'model').predict_proba]

def onnx():
    "An ONNX file in onnxruntime"
    import numpy  # noqa: F401 (for the series)
    import onnxruntime
    def load(folder):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(folder/'model.onnx', options, providers=['CPUExecutionProvider'])
        return [lambda X: session.run(None, dict(x=X))[0]]
    return load

def nothing():
    "torch, to compare imports with"
    import torch  # noqa: F401

WAYS = dict(learner=learner, folder=folder, onnx=onnx, nothing=nothing)


def resident():
    "Bytes of this process that are in memory"
    return int(re.search(r'VmRSS:\s+(\d+)', open('/proc/self/status').read())[1]) * 1024

def timed(f, *args):
    "The seconds of a call, and its result"
    start = perf_counter()
    result = f(*args)
    return perf_counter() - start, result

def steady(answer, X, repeats):
    "The median of the seconds to answer, after the first answer for so many series"
    answer(X)
    return median(timed(answer, X)[0] for _ in range(repeats))

def serve(path, way, repeats):
    "The figures of a process, and its answers"
    seconds, load = timed(WAYS[way])
    out = {'import': seconds, 'memory after import': resident(), 'packages': sorted({o.partition('.')[0] for o in sys.modules})}
    if load is None: return out
    import numpy as np
    X = np.load(path/'X.npy')
    out['load'], (answer, *others) = timed(load, path)
    out['memory after load'] = resident()
    out['first answer'], _ = timed(answer, X[:1])
    out['one series'], out['32 series'] = steady(answer, X[:1], repeats), steady(answer, X, max(5, repeats // 3))
    if others: out['one series, predict'] = steady(*others, X, repeats)
    return {**out, 'memory after answers': resident(), 'answers': answer(X).tolist()}

if __name__ == '__main__': print(json.dumps(serve(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
