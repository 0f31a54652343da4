"""`python -m unittest` in this folder, where Flower is installed."""

import unittest

import numpy as np

from federation.exact import mean_of_products

numbers = np.random.default_rng(3)


def factors(rank, shape_a=(6,), shape_b=(5,)):
    return numbers.standard_normal((*shape_a, rank)), numbers.standard_normal((rank, *shape_b))


class MeanOfProducts(unittest.TestCase):
    def test_is_exact_where_the_rank_holds_the_mean(self):
        # Four updates with one and the same A have a mean of the rank of each.
        a, b = factors(2)
        parts = [(a, b), (a, 2 * b), (a, -b)]
        weights = [0.5, 0.25, 0.25]
        new_a, new_b, cut, naive = mean_of_products(parts, weights)
        np.testing.assert_allclose(new_a @ new_b, a @ b * 0.75, atol=1e-12)
        self.assertEqual((new_a.shape, new_b.shape), (a.shape, b.shape))
        self.assertLess(cut, 1e-12)
        self.assertLess(naive, 1e-12)

    def test_is_the_best_of_its_rank(self):
        parts = [factors(2), factors(2), factors(2)]
        weights = [0.2, 0.3, 0.5]
        mean = sum(w * a @ b for w, (a, b) in zip(weights, parts))
        new_a, new_b, cut, naive = mean_of_products(parts, weights)
        values = np.linalg.svd(mean, compute_uv=False)
        error = np.linalg.norm(mean - new_a @ new_b) / np.linalg.norm(mean)
        self.assertAlmostEqual(error, np.linalg.norm(values[2:]) / np.linalg.norm(values))
        self.assertAlmostEqual(cut, error)
        mean_a = sum(w * a for w, (a, _) in zip(weights, parts))
        mean_b = sum(w * b for w, (_, b) in zip(weights, parts))
        self.assertAlmostEqual(naive, np.linalg.norm(mean_a @ mean_b - mean) / np.linalg.norm(mean))
        self.assertGreater(naive, error)

    def test_keeps_the_shapes_of_convolutions(self):
        parts = [(numbers.standard_normal((3, 3, 4, 2)), numbers.standard_normal((1, 1, 2, 7))) for _ in range(2)]
        new_a, new_b, _, _ = mean_of_products(parts, [0.5, 0.5])
        self.assertEqual((new_a.shape, new_b.shape), ((3, 3, 4, 2), (1, 1, 2, 7)))

    def test_of_nothing_is_nothing(self):
        zeros = (np.zeros((6, 2)), np.zeros((2, 5)))
        new_a, new_b, cut, naive = mean_of_products([zeros, zeros], [0.5, 0.5])
        self.assertEqual(np.abs(new_a @ new_b).max() + cut + naive, 0)

    def test_of_more_rank_than_outputs_fills_up(self):
        new_a, new_b, cut, _ = mean_of_products([factors(8, (6,), (5,))], [1.0])
        self.assertEqual((new_a.shape, new_b.shape), ((6, 8), (8, 5)))
        self.assertLess(cut, 1e-12)


if __name__ == "__main__":
    unittest.main()
