"""Messages of a server of Flower, as Flower 1.42 writes them: `python make_flower.py test/fixtures/flower`.

`fleet.binpb` holds the descriptors of the Fleet API, `round.json` a message of a round with its objects, and what Flower
makes of a reply with given arrays and metrics. Needs `pip install flwr==1.42.0`.
"""

import base64
import json
import sys
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.serde import message_to_proto
from flwr.proto import fleet_pb2, heartbeat_pb2, run_pb2
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.task_identity import TaskIdentity
from google.protobuf import descriptor_pb2

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)

files = {}


def add(descriptor):
    for other in descriptor.dependencies:
        add(other)
    if descriptor.name not in files:
        files[descriptor.name] = descriptor_pb2.FileDescriptorProto()
        descriptor.CopyToProto(files[descriptor.name])


for module in (fleet_pb2, heartbeat_pb2, run_pb2):
    add(module.DESCRIPTOR)
described = descriptor_pb2.FileDescriptorSet(file=list(files.values()))
(folder / "fleet.binpb").write_bytes(described.SerializeToString())

numbers = np.random.default_rng(1)
arrays = {
    "d/lora_A": numbers.standard_normal((3, 2)).astype(np.float32),
    "d/lora_B": numbers.standard_normal((2, 4)).astype(np.float32),
}
config = {"server-round": 3, "lr": 0.01, "isLast": True, "name": "größer", "places": [1, -2, 3], "of": b"\x01\x02"}
trained = {name: values * np.float32(2) for name, values in arrays.items()}
metrics = {"loss": 0.5, "num-examples": 12, "each": [0.25, -1.5], "counts": [3, -4]}


def record(values):
    return ArrayRecord({name: Array(value) for name, value in values.items()})


def objects(thing):
    return {name: base64.b64encode(part.deflate()).decode() for name, part in get_all_nested_objects(thing).items()}


TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 2**64 - 3, 1, 7
content = RecordDict({"arrays": record(arrays), "config": ConfigRecord(config)})
message = Message(content, dst_node_id=2**63 + 5, message_type="train", group_id="3")
message.metadata.__dict__["_message_id"] = message.object_id
proto = message_to_proto(message)
proto.ClearField("content")
pulled = fleet_pb2.PullMessagesResponse(messages_list=[proto], message_object_trees=[get_object_tree(message)])
reply = {"arrays": record(trained), "metrics": MetricRecord(metrics)}

(folder / "round.json").write_text(
    json.dumps(
        {
            "pulled": base64.b64encode(pulled.SerializeToString()).decode(),
            "objects": objects(message),
            "arrays": {name: {"shape": value.shape, "values": value.ravel().tolist()} for name, value in arrays.items()},
            "reply": {
                "metrics": metrics,
                "objects": objects(RecordDict(reply)),
                "metricRecord": reply["metrics"].object_id,
                "chunks": {name: list(array.children)[0] for name, array in reply["arrays"].items()},
            },
        },
        indent=1,
    )
    + "\n"
)
