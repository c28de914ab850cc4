/** Exact nearest neighbours by plain arithmetic, as the truth that answers are held against. */

export type DrillMetric = "l2" | "cosine";
type Vector = ArrayLike<number>;

/** Squared L2, or 1 − cos. */
export function distanceBetween(metric: DrillMetric, a: Vector, b: Vector): number {
  let squared = 0;
  let dot = 0;
  let normA = 0;
  let normB = 0;
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [a[i]!, b[i]!];
    squared += (x - y) ** 2;
    dot += x * y;
    normA += x * x;
    normB += y * y;
  }
  return metric === "l2" ? squared : 1 - dot / Math.sqrt(normA * normB);
}

/** Distances of the k nearest, ascending. */
export function nearestDistances(
  metric: DrillMetric,
  query: Vector,
  base: readonly Vector[],
  k: number,
): number[] {
  const all = base.map((vector) => distanceBetween(metric, query, vector));
  return all.sort((a, b) => a - b).slice(0, k);
}

const tie = 1e-5;

/** Share of the k nearest that the answer has, by distance: of equally near records any will do. */
export function recallOf(truth: readonly number[], answered: readonly number[]): number {
  if (truth.length === 0) return 1;
  const farthest = truth[truth.length - 1]!;
  const near = answered.filter((distance) => distance <= farthest + tie * Math.max(1, farthest)).length;
  return Math.min(near, truth.length) / truth.length;
}
