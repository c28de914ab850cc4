/** Strong reads, one delta after the other. */
import { round, timed } from "../measure.ts";
import { emptyStore, produceRows, readerOf } from "../store.ts";
import { counted, type Part } from "./part.ts";

/** A backlog, and one more delta. */
export const strongReads: Part = async ({ deltas }, vectors) => {
  const store = await emptyStore(vectors);
  const reader = readerOf(store);
  const ask = () => timed(() => reader.count({ collection: "bench", consistency: "strong" }));
  const rows: (string | number)[][] = [];
  let most = 0;
  let there = 0;
  for (const share of [0.02, 1]) {
    const wanted = Math.round(deltas * share);
    await produceRows(store, vectors, { start: 0, limit: wanted - there, callRows: 1 });
    const first = await ask();
    await produceRows(store, vectors, { start: 0, limit: 1 });
    const next = await ask();
    there = wanted + 1;
    const pages = Math.floor(there / 1_000);
    most = Math.max(most, next.value.requests - pages);
    rows.push([there, first.value.requests, round(first.ms), next.value.requests, round(next.ms)]);
  }
  await reader.close();
  return {
    table: {
      title: "Strong reads of a backlog, and after one more delta (store in memory)",
      columns: ["deltas", "requests", "ms", "after one more: requests", "ms"],
      rows,
    },
    checks: [counted("after one more delta ≤ 4 requests, beside further pages of the LIST", most, most <= 4)],
  };
};
