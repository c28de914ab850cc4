/** Runs with other bounds than the product's (lib/core/model/bounds.ts), and what has to hold between them. */
import { type Bounds, bounds } from "../../lib/core/model/bounds.ts";

/** What is wrong with a set of bounds; null when nothing is. */
export function boundsFault({
  listedDeltas,
  appliedDeltas,
  batchDeltas,
  overlaidDeltas,
}: Bounds): string | null {
  if (overlaidDeltas + batchDeltas >= listedDeltas)
    return `a cut LIST of ${listedDeltas} may hold nothing but a dead run's ${batchDeltas} and ${overlaidDeltas} to lay over`;
  if (listedDeltas + batchDeltas > appliedDeltas)
    return `${listedDeltas} listed and ${batchDeltas} behind them, and only ${appliedDeltas} may be applied`;
  return null;
}

/** Runs `work` under the given bounds. */
export async function underBounds<T>(given: Bounds, work: () => Promise<T>): Promise<T> {
  const fault = boundsFault(given);
  if (fault !== null) throw new RangeError(fault);
  const before = { ...bounds };
  Object.assign(bounds, given);
  try {
    return await work();
  } finally {
    Object.assign(bounds, before);
  }
}
