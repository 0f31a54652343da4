/** Points in a plane: the two directions in which vectors differ most (principal components). */
export function inPlane(vectors: readonly Float32Array[]): [x: number, y: number][] {
  const count = vectors.length;
  const width = vectors[0]?.length ?? 0;
  const mean = Float64Array.from(
    {length: width},
    (_, i) => vectors.reduce((sum, vector) => sum + vector[i]!, 0) / count,
  );
  const centred = vectors.map(vector => Float64Array.from(vector, (value, i) => value - mean[i]!));
  // Of few long vectors the products with each other are the smaller matrix, with the same components.
  const products = centred.map(one => Float64Array.from(centred, other => dot(one, other)));
  const axes: Float64Array[] = [];
  for (let axis = 0; axis < 2; axis++) {
    axes.push(strongest(products, axes));
  }
  const scaled = axes.map(axis => {
    const variance = dot(axis, multiply(products, axis));
    return axis.map(value => value * Math.sqrt(Math.max(variance, 0)));
  });
  const largest = Math.max(...scaled.flatMap(axis => [...axis].map(Math.abs)), 1e-9);
  return vectors.map((_, i) => [scaled[0]![i]! / largest, scaled[1]![i]! / largest]);
}

/**
 * Rotates and mirrors the points so that they are as close as possible to where they were (orthogonal Procrustes). The
 * orientation of the plane is arbitrary, and points should not move more than necessary.
 */
export function turnedTowards(
  points: readonly [number, number][],
  before: readonly [number, number][],
): [x: number, y: number][] {
  if (points.length !== before.length) {
    return [...points];
  }
  const turns = [1, -1].map(mirror => {
    const [along, across] = points.reduce(
      ([c, s], [x, y], i) => {
        const [u, v] = before[i]!;
        const m = mirror * y;
        return [c + x * u + m * v, s + x * v - m * u];
      },
      [0, 0],
    );
    return {mirror, fit: Math.hypot(along, across), angle: Math.atan2(across, along)};
  });
  const {mirror, angle} = turns.reduce((best, turn) => (turn.fit > best.fit ? turn : best));
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  return points.map(([x, y]) => [cos * x - sin * mirror * y, sin * x + cos * mirror * y]);
}

/**
 * Moves the points so that each two are at least `distance` apart, and none is further than `bound` from the middle on
 * either axis. Points that are already apart stay.
 */
export function movedApart(
  points: readonly [number, number][],
  distance: number,
  bound: number,
): [x: number, y: number][] {
  const moved = points.map(([x, y]): [number, number] => [x, y]);
  for (let round = 0, isClose = true; isClose && round < 500; round++) {
    isClose = false;
    for (let i = 0; i < moved.length; i++) {
      for (let j = 0; j < i; j++) {
        const [one, other] = [moved[i]!, moved[j]!];
        const [x, y] = [one[0] - other[0], one[1] - other[1]];
        const length = Math.hypot(x, y);
        if (length < distance - 1e-6) {
          isClose = true;
          // Two at the same position part in a direction that depends on their index.
          const [right, up] = length > 1e-9 ? [x / length, y / length] : [Math.cos(i + 1), Math.sin(i + 1)];
          const way = (distance - length) / 2;
          one[0] += way * right;
          one[1] += way * up;
          other[0] -= way * right;
          other[1] -= way * up;
        }
      }
    }
    for (const point of moved) {
      point[0] = Math.min(bound, Math.max(-bound, point[0]));
      point[1] = Math.min(bound, Math.max(-bound, point[1]));
    }
  }
  return moved;
}

function dot(a: Float64Array, b: Float64Array): number {
  return a.reduce((sum, value, i) => sum + value * b[i]!, 0);
}

function multiply(matrix: readonly Float64Array[], vector: Float64Array): Float64Array {
  return Float64Array.from(matrix, row => dot(row, vector));
}

/** The eigenvector of the largest eigenvalue that is at right angles to others, by repeated products. */
function strongest(matrix: readonly Float64Array[], others: readonly Float64Array[]): Float64Array {
  let vector = Float64Array.from(matrix, (_, i) => Math.sin(i + 1));
  for (let round = 0; round < 100; round++) {
    let next = multiply(matrix, vector);
    for (const other of others) {
      const along = dot(next, other);
      next = next.map((value, i) => value - along * other[i]!);
    }
    const length = Math.hypot(...next);
    if (length < 1e-12) {
      return new Float64Array(matrix.length);
    }
    vector = next.map(value => value / length);
  }
  return vector;
}
