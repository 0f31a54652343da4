"""Rounds with a stock strategy, from an adapter's file to an adapter's tensors."""

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg

from federation.exact import ExactLoRA
from federation.safetensors import read, write
from federation.secure import aggregate_securely

STRATEGIES = {"mean": FedAvg, "exact": ExactLoRA}

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    nodes = int(config["nodes"])
    tensors, metadata = read(config["adapter"])
    # What does not train stays on the nodes; all must have the same.
    frozen = [name for name in sorted(tensors) if config["frozen"] and name.endswith(config["frozen"])]
    fingerprint = sha256(b"".join(tensors[name].tobytes() for name in frozen)).hexdigest()
    initial = {name: value for name, value in tensors.items() if name not in frozen}
    if config["strategy"] == "secure":
        aggregate_securely(grid, context, list(initial.values()), nodes)
        return
    strategy = STRATEGIES[config["strategy"]](
        fraction_train=1.0,
        fraction_evaluate=1.0 if config["evaluate"] else 0.0,
        min_train_nodes=nodes,
        min_evaluate_nodes=nodes,
        min_available_nodes=nodes,
    )
    if config["clip"]:
        strategy = DifferentialPrivacyServerSideFixedClipping(
            strategy, float(config["noise"]), float(config["clip"]), num_sampled_clients=nodes
        )
    common = {"rounds": int(config["rounds"]), **({"frozen": fingerprint} if frozen else {})}
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord({name: Array(value) for name, value in initial.items()}),
        num_rounds=int(config["rounds"]),
        train_config=ConfigRecord(common),
        evaluate_config=ConfigRecord(common),
    )
    trained = {name: array.numpy().astype(np.float32) for name, array in result.arrays.items()}
    write(config["result"], {**tensors, **trained}, metadata)
    measures = {
        "train": {number: dict(record) for number, record in result.train_metrics_clientapp.items()},
        "evaluate": {number: dict(record) for number, record in result.evaluate_metrics_clientapp.items()},
    }
    Path(config["result"]).with_suffix(".json").write_text(json.dumps(measures))
