/** Vectors in an answer. */
import { answerBytesMax } from "../../../lib/core/model/answer-size.ts";
import { interleaved, median, round } from "../measure.ts";
import type { Check } from "../scenario.ts";
import { compactAll, emptyStore, produceRows, readerOf } from "../store.ts";
import { counted, type Part } from "./part.ts";

const vectorTurns = 11;
/** An answer with a thousand vectors. */
export const vectorsOut: Part = async ({ rows, dims }, vectors) => {
  const store = await emptyStore(vectors);
  const count = Math.min(1_000, rows);
  await produceRows(store, vectors, { start: 0, limit: count });
  await compactAll(store);
  const reader = readerOf(store);
  const ids = Array.from({ length: count }, (_, i) => `record-${i}`);
  const get = (vectorFormat: "list" | "base64") =>
    reader.get({ collection: "bench", ids, include: ["vector"], vectorFormat });
  const answers = { list: await get("list"), base64: await get("base64") };
  const before = store.world.traffic.snapshot();
  const samples = await interleaved(
    {
      list: () => get("list"),
      base64: () => get("base64"),
      listJson: () => JSON.stringify(answers.list),
      base64Json: () => JSON.stringify(answers.base64),
    },
    { turns: vectorTurns, warmups: 2 },
  );
  const { requests } = store.world.traffic.since(before);
  await reader.close();
  const row = (format: "list" | "base64") => {
    const [reading, json] = [samples[format], samples[`${format}Json`]];
    const bytes = Buffer.byteLength(JSON.stringify(answers[format]));
    return [format, ...[reading, json].flatMap((ms) => [round(Math.min(...ms)), round(median(ms))]), bytes];
  };
  const check = (format: "list" | "base64"): Check => {
    const ms = median(samples[format]);
    return {
      target: `get of ${count} with vectors as ${format} ≤ 40 ms`,
      measured: round(ms),
      met: ms <= 40,
    };
  };
  return {
    table: {
      title: `get of ${count} with vectors × ${dims}, ms; an answer has at most ${answerBytesMax} bytes`,
      columns: ["as", "read: least", "median", "made JSON: least", "median", "bytes"],
      rows: [row("list"), row("base64")],
    },
    checks: [
      check("list"),
      check("base64"),
      counted("requests of later answers with vectors", requests, requests === 0),
    ],
  };
};
