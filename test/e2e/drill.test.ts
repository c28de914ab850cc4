/**
 * A short drill (scripts/drill/main.ts): one kill -9 of each kind while producers, compactors, a collector and a reader work
 * on the local stack with the real bundles. The long one is `npm run drill -- --minutes 20`.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipelineDrill } from "../../scripts/drill/pipeline.ts";
import { killKinds, Tally } from "../../scripts/drill/report.ts";

jest.setTimeout(240_000);

test("nothing acknowledged is lost, and nothing wrong is read, whatever is killed", async () => {
  const folder = mkdtempSync(join(tmpdir(), "siltstone-drill-"));
  const environment = { ...process.env };
  const tally = new Tally();
  try {
    await pipelineDrill({
      folder,
      seed: 3,
      durationMs: null,
      groups: 0,
      isCold: false,
      tally,
      say: () => {},
    });
  } finally {
    process.env = environment;
    rmSync(folder, { recursive: true, force: true });
  }
  expect(tally.violations).toEqual([]);
  // Which of the others were at work at their moment is chance; these always can be killed.
  for (const kind of ["s3", "dynamodb", "sqs", "stack"] as const) expect(tally.kills[kind]).toBe(1);
  expect(killKinds.filter((kind) => tally.kills[kind] > 0).length).toBeGreaterThan(4);
  expect(tally.counts["acknowledged writes"]).toBeGreaterThan(1_000);
  expect(tally.counts["answers checked"]).toBeGreaterThan(0);
});
