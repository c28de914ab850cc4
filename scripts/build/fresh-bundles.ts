/**
 * The project's bundles, made again only when something that goes into them has changed: bundling takes seconds, and every
 * synthesis asks for it. A note beside them has the digest of all that they were made of and of what was made.
 */
import { createHash } from "node:crypto";
import { existsSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Architecture, bundleFolder, bundleLambdas } from "./bundle.ts";

const root = join(import.meta.dirname, "../..");

/** What every bundle depends on besides its sources: how it is made, of which functions, and which packages there are. */
const recipe = ["scripts/build/bundle.ts", "lib/contract/functions.ts", "package.json", "package-lock.json"];

/** Folder of the architecture's bundles, which are those of the sources as they are now. */
export async function freshBundles(architecture: Architecture): Promise<string> {
  const folder = bundleFolder(architecture);
  const note = `${folder}.digests.json`;
  if (isFresh(note)) return folder;
  const startMs = Date.now();
  const bundles = await bundleLambdas({ architecture, outDir: folder });
  const inputs = [...recipe, ...bundles.flatMap((bundle) => bundle.inputs)];
  // A source that was saved meanwhile may have gone in as it was before.
  const isSettled = inputs.every((path) => statSync(join(root, path)).mtimeMs < startMs);
  if (isSettled) writeNote(note, [...inputs, ...bundles.flatMap(({ outputs }) => outputs)]);
  return folder;
}

/** Whether every file that the note names is as it says. */
export function isFresh(note: string): boolean {
  if (!existsSync(note)) return false;
  const noted = Object.entries(JSON.parse(readFileSync(note, "utf8")) as Record<string, string>);
  return noted.every(([path, digest]) => existsSync(join(root, path)) && digestOf(path) === digest);
}

/** Renamed into place: another process may be reading it. */
function writeNote(note: string, paths: readonly string[]): void {
  const unfinished = `${note}.${process.pid}`;
  writeFileSync(
    unfinished,
    JSON.stringify(Object.fromEntries(paths.map((path) => [path, digestOf(path)])), null, 1),
  );
  renameSync(unfinished, note);
}

const digestOf = (path: string): string =>
  createHash("sha256")
    .update(readFileSync(join(root, path)))
    .digest("hex");
