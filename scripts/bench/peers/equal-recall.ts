/** What a peer takes at a recall that none of its settings has exactly: between the two that have less and more. */

/** Of one setting: its recall, and the milliseconds of a query. */
export interface Point {
  readonly effort: number;
  readonly recall: number;
  readonly ms: number;
}

export type AtRecall =
  | { readonly kind: "between"; readonly effort: number; readonly ms: number }
  /** Its least setting, or the only one, finds more. */
  | ({ readonly kind: "above" } & Point)
  | { readonly kind: "below" };

/** `points` by effort, ascending. Recall grows in small steps, and time by factors: the one is interpolated against the logarithm of the other. */
export function atRecall(points: readonly Point[], recall: number): AtRecall {
  const above = points.findIndex((point) => point.recall >= recall);
  if (above < 0) return { kind: "below" };
  const high = points[above]!;
  if (above === 0) return high.recall === recall ? { kind: "between", ...high } : { kind: "above", ...high };
  const low = points[above - 1]!;
  const share = (recall - low.recall) / (high.recall - low.recall);
  const between = (a: number, b: number) => Math.exp(Math.log(a) + share * (Math.log(b) - Math.log(a)));
  return { kind: "between", effort: between(low.effort, high.effort), ms: between(low.ms, high.ms) };
}

/** The settings around the first that reaches the recall: one more to each side, since they were found by other queries. */
export function settingsAround(
  points: readonly Pick<Point, "effort" | "recall">[],
  recall: number,
): number[] {
  const reached = points.findIndex((point) => point.recall >= recall);
  const at = reached < 0 ? points.length - 1 : reached;
  return points.slice(Math.max(0, at - 2), at + 2).map(({ effort }) => effort);
}
