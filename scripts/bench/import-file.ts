/**
 * An import from a file, as `silt import` runs it, beside the same rows given to produce() out of memory: what memory the importing
 * process takes at the most, and at what rate. Each in a process of its own.
 */
import { join } from "node:path";
import { withFolder } from "../../lib/segment/files.ts";
import type { Question, Taken } from "./import-process.ts";
import { round } from "./measure.ts";
import { withLocalS3 } from "./reader-client.ts";
import type { Scenario } from "./scenario.ts";

interface Size {
  readonly rows: number;
  readonly dims: number;
}

const memoryMax = 512e6;
/** As scripts/cli/silt.cjs starts an import. */
const flags = ["--max-semi-space-size=8"];

export const importFile: Scenario<Size> = {
  name: "import-file",
  about: "an import from a file: memory of the importing process, and its rate beside producing",
  full: { rows: 1_000_000, dims: 384 },
  tiny: { rows: 300, dims: 16 },
  run: (size, log) =>
    withFolder(async (folder) => {
      // A store of its own for each, so that none finds what another left.
      const once = (question: Question): Promise<Taken> =>
        withLocalS3(async (s3) => {
          log(question.op);
          const child = s3.start<Question, Taken>("import-process.ts", flags);
          const taken = await child.ask(question);
          await child.stop();
          return taken;
        });
      const of = (format: string) => ({ path: join(folder, `rows.${format}`), ...size });
      const produced = await once({ op: "produce", ...of("none") });
      const taken: [string, Taken][] = [["produce(), rows out of memory", produced]];
      for (const [format, kind] of [
        ["parquet", "parquet"],
        ["jsonl", "records"],
      ] as const) {
        await once({ op: "make", format, ...of(format) });
        taken.push([`import of ${format}`, await once({ op: "import", kind, ...of(format) })]);
      }
      const perSecond = ({ rows }: Taken, ms: number) => Math.round((rows / ms) * 1000);
      return {
        tables: [
          {
            title: `${size.rows} × ${size.dims} with documents of 270 characters and metadata, over HTTP into a local S3`,
            columns: ["", "rows/s", "rows a processor second", "resident at the most, MB"],
            rows: taken.map(([what, one]) => [
              what,
              perSecond(one, one.ms),
              perSecond(one, one.cpuMs),
              Math.round(one.peakBytes / 1e6),
            ]),
          },
        ],
        checks: taken.slice(1).flatMap(([what, one]) => [
          {
            target: `${what}: at most ${memoryMax / 1e6} MB`,
            measured: `${Math.round(one.peakBytes / 1e6)} MB`,
            met: one.peakBytes <= memoryMax,
          },
          {
            target: `${what}: no less than the rate of producing`,
            measured: `${round((100 * produced.ms) / one.ms)} %`,
            met: one.ms <= produced.ms,
          },
        ]),
      };
    }),
};
