/**
 * Cold start: a fresh process with an empty cache to its first answer, over an S3 slowed down to what a Lambda gets.
 * The yardstick is measured in the same processes: the same bytes fetched by parallel ranged GETs and thrown away, plus
 * hnswlib-node's reading of the graph file.
 */
import { gaussianMixture } from "./data.ts";
import { median, round } from "./measure.ts";
import { serving } from "./reader-client.ts";
import type { Scenario } from "./scenario.ts";
import { withSegments } from "./store.ts";

interface Size {
  readonly rows: number;
  readonly dims: number;
  readonly rounds: number;
}

const throttle = { streamBytesPerSecond: 75e6, totalBytesPerSecond: 300e6, firstByteMs: 30 };

export const cold: Scenario<Size> = {
  name: "cold",
  about: "fresh process to first answer over a throttled S3",
  full: { rows: 100_000, dims: 384, rounds: 7 },
  tiny: { rows: 300, dims: 16, rounds: 1 },
  async run(size, log) {
    const vectors = gaussianMixture({ ...size, queries: 1 });
    log("building");
    const store = await withSegments(vectors, [{ rows: size.rows, kind: "hnsw" }], {
      index: { efConstruction: 20 },
    });
    const vector = [...vectors.queries[0]!];
    const samples = {
      process: [] as number[],
      cold: [] as number[],
      transfer: [] as number[],
      read: [] as number[],
    };
    let [bytes, requests] = [0, 0];
    await serving(store, async (served) => {
      served.setThrottle(throttle);
      for (let turn = 0; turn < size.rounds; turn++) {
        log(`round ${turn + 1}`);
        const startedMs = performance.now();
        const first = served.startReader();
        const answer = await first.ask({ op: "cold", vector });
        samples.process.push(performance.now() - startedMs);
        samples.cold.push(answer.ms);
        ({ bytes, requests } = answer);
        await first.stop();
        const other = served.startReader();
        samples.transfer.push((await other.ask({ op: "transfer" })).ms);
        samples.read.push((await other.ask({ op: "read" })).ms);
        await other.stop();
      }
    });
    const ms = Object.fromEntries(Object.entries(samples).map(([name, values]) => [name, median(values)]));
    const yardstick = ms.transfer! + ms.read!;
    const ratio = ms.cold! / yardstick;
    return {
      tables: [
        {
          title: `Cold start, ${size.rows} × ${size.dims}; 75 MB/s a stream, 300 MB/s in all, 30 ms to the first byte`,
          columns: ["what", "ms"],
          rows: [
            ["first answer, from the start of the process", Math.round(ms.process!)],
            ["first answer, from the first line of the reader", Math.round(ms.cold!)],
            ["the same bytes, fetched and thrown away", Math.round(ms.transfer!)],
            ["hnswlib-node reading the graph", Math.round(ms.read!)],
            ["MB fetched", round(bytes / 1e6, 4)],
            ["requests", requests],
          ],
        },
      ],
      checks: [
        {
          target: "first answer within 1.25 × (transfer + read)",
          measured: round(ratio),
          met: ratio <= 1.25,
        },
      ],
    };
  },
};
