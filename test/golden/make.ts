/**
 * Writes the golden files that do not exist yet. A golden file is never written again: every later version reads it.
 *
 *   npx node test/golden/make.ts
 */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { encodeCollection } from "../../lib/core/format/collection-json.ts";
import { encodeDelta } from "../../lib/core/format/delta.ts";
import { goldenCollections, goldenDeltaHeader, goldenDeltaRows } from "./content.ts";

const files: Record<string, () => Uint8Array> = {
  "delta-v1.arrow": () => encodeDelta(goldenDeltaHeader, goldenDeltaRows),
  ...Object.fromEntries(
    Object.entries(goldenCollections).map(([name, collection]) => [name, () => encodeCollection(collection)]),
  ),
};

for (const [name, bytes] of Object.entries(files)) {
  const path = join(import.meta.dirname, name);
  if (existsSync(path)) console.log(`${name}: kept`);
  else {
    writeFileSync(path, bytes());
    console.log(`${name}: written`);
  }
}
