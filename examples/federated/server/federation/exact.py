"""The mean of low-rank updates, as exact as their rank allows.

The update of a kernel is A·B. The mean of all A times the mean of all B is not the mean of the products, which has a
higher rank: A = [A₁ … Aₙ] and B = [w₁·B₁; …; wₙ·Bₙ] give it exactly, and its largest singular values are what the rank
holds.
"""

from collections.abc import Iterable

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord
from flwr.serverapp.strategy import FedAvg


def mean_of_products(
    factors: list[tuple[np.ndarray, np.ndarray]], weights: list[float]
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Factors of the weighted mean of products, at the rank of the first.

    Returns A, B, the share of the mean that the rank cuts off, and how far the product of the means of A and of B is
    from it; both relative, in the Frobenius norm.
    """
    shape_a, shape_b = factors[0][0].shape, factors[0][1].shape
    rank = shape_a[-1]
    flat = [(a.reshape(-1, rank).astype(np.float64), b.reshape(rank, -1).astype(np.float64)) for a, b in factors]
    a = np.concatenate([a for a, _ in flat], axis=1)
    b = np.concatenate([w * b for w, (_, b) in zip(weights, flat)], axis=0)
    # The singular values of A·B are those of a matrix no larger than the sum of the ranks.
    q_a, r_a = np.linalg.qr(a)
    q_b, r_b = np.linalg.qr(b.T)
    u, s, vt = np.linalg.svd(r_a @ r_b.T)
    norm = float(np.linalg.norm(s)) or 1.0
    root = np.zeros(rank)
    root[: min(rank, len(s))] = np.sqrt(s[:rank])
    fill = lambda m: np.pad(m, ((0, 0), (0, max(0, rank - m.shape[1]))))  # noqa: E731
    new_a = fill((q_a @ u)[:, :rank]) * root
    new_b = (fill((q_b @ vt.T)[:, :rank]) * root).T
    naive = sum(w * a for w, (a, _) in zip(weights, flat)) @ sum(w * b for w, (_, b) in zip(weights, flat))
    cut = float(np.linalg.norm(s[rank:])) / norm
    wrong = float(np.linalg.norm(naive - a @ b)) / norm
    return new_a.reshape(shape_a), new_b.reshape(shape_b), cut, wrong


class ExactLoRA(FedAvg):
    """FedAvg that adds the updates of a kernel, and not their factors. Other tensors are averaged as they are.

    Its metrics have `cut`, what the rank cuts off of the mean, and `naive`, how wrong the means of A and of B would be;
    the largest of all kernels.
    """

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        replies = list(replies)
        arrays, metrics = super().aggregate_train(server_round, replies)
        contents = [reply.content for reply in replies if reply.has_content()]
        if arrays is None or metrics is None or not contents:
            return arrays, metrics
        examples = [float(next(iter(c.metric_records.values()))[self.weighted_by_key]) for c in contents]
        weights = [count / sum(examples) for count in examples]
        received = [next(iter(c.array_records.values())) for c in contents]
        exact = {name: array.numpy() for name, array in arrays.items()}
        cuts, wrongs = [0.0], [0.0]
        for name in exact:
            if name.endswith("lora_A"):
                other = name[: -len("A")] + "B"
                factors = [(record[name].numpy(), record[other].numpy()) for record in received]
                exact[name], exact[other], cut, wrong = mean_of_products(factors, weights)
                cuts.append(cut)
                wrongs.append(wrong)
        metrics["cut"], metrics["naive"] = max(cuts), max(wrongs)
        record = ArrayRecord({name: Array(np.asarray(value, dtype=np.float32)) for name, value in exact.items()})
        return record, metrics
