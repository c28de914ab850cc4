/** Reads a source to its end, for tests of sources that are made to stop who reads them. */
import { openSource, type SourceWorld } from "../../lib/import/open-source.ts";

const nowhere = () => Promise.reject(new Error("nothing is asked for"));
export const world: SourceWorld = {
  stdin: process.stdin,
  bucketFiles: nowhere,
  environment: {},
  incomplete: false,
  s3Vectors: nowhere,
  lanceDb: nowhere,
};

/** The number of rows and the faults; a refusal's message. What is no refusal is thrown. */
export async function readAll(from: string): Promise<string> {
  try {
    const source = await openSource(world, from);
    try {
      await source.describe();
      const faults: string[] = [];
      let rows = 0;
      for await (const { items } of source.pages(null))
        for (const item of items)
          if ("fault" in item) faults.push(item.fault.reason);
          else if ("row" in item) rows += 1;
      return [`${rows} rows`, ...faults].join("; ");
    } finally {
      await source.close();
    }
  } catch (error) {
    if ((error as { kind?: unknown }).kind === "invalid") return (error as Error).message;
    throw error;
  }
}
