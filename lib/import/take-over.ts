/**
 * An exported snapshot is taken over part by part, through the same reading and producing as any import:
 *
 *  1. A part is read whole, and must be what the descriptor says of it.
 *  2. Its records become deltas; those that the collection does not take are kept beside, with the reason.
 *  3. A mark says that it is done. Parts with a mark of this collection are passed over.
 *
 * A crash before the mark does the part again, which writes the same records again; a part that is marked is durable. So a run
 * may end behind any part, and the next one goes on.
 */
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  decodeExported,
  descriptorBytesMax,
  descriptorKey,
  type ExportedPart,
  type ExportedSnapshot,
  exportedPartBytesMax,
  partKey,
  rejectsKey,
  takenKey,
  takenPrefix,
} from "../core/format/exported-snapshot.ts";
import type { Collection } from "../core/model/collection.ts";
import { corrupt, invalid, SiltstoneError } from "../core/model/errors.ts";
import type { ObjectStore } from "../engine/ports.ts";
import type { ProduceWorld } from "../engine/write/produce.ts";
import { importRows } from "./import-rows.ts";
import { RejectsFile } from "./rejects-file.ts";
import { ResumeFile } from "./resume-file.ts";
import type { Shape } from "./shape-row.ts";
import { ownFields } from "./source.ts";
import { recordJsonLines } from "./sources/jsonl.ts";

export interface TakenOver {
  readonly collection: string;
  readonly rows: number;
  readonly parts: number;
  /** Of parts: taken over so far, by this run and those before it. */
  readonly partsDone: number;
  readonly rowsDone: number;
  /** By this run. */
  readonly written: number;
  readonly rejected: number;
  /** Whether all of it is taken over. */
  readonly done: boolean;
  /** Where rejected records are, of this run and those before it; null where there are none. */
  readonly rejects: string | null;
}

/** Throws `notFound` where there is no snapshot, `corrupt` for a damaged descriptor. */
export async function readExported(store: ObjectStore, path: string): Promise<ExportedSnapshot> {
  const key = descriptorKey(path);
  const found = await store.get(key, { bytesMax: descriptorBytesMax });
  if (found.kind === "found") return decodeExported(found.body, key);
  throw new SiltstoneError(
    "notFound",
    `there is no ${key}: \`silt export-chroma --prefix ${path}\` writes it last, when all records are there`,
  );
}

/** Throws `invalid` where the collection has other dimensions, `corrupt` for a part that is not what was exported. */
export async function takeOver(
  world: ProduceWorld,
  collection: Collection,
  { path, snapshot, outOfTime }: { path: string; snapshot: ExportedSnapshot; outOfTime: () => boolean },
): Promise<TakenOver> {
  if (snapshot.dims !== collection.dims) {
    throw invalid(
      `${path} has vectors of ${snapshot.dims} dimensions, collection ${collection.name} of ${collection.dims}: vectors of two models cannot be mixed`,
    );
  }
  if (collection.ordering === "source")
    throw invalid(
      `collection ${collection.name} orders writes by its source's versions, and exported records have none: import them with ` +
        "`silt import --version-field`, or into a collection of another order",
    );
  const { marks, rejects } = await marksOf(world.store, path, collection);
  let [written, rejected] = [0, 0];
  let hasRejects = rejects > 0;
  for (const part of snapshot.parts) {
    if (marks.has(takenKey(path, collection.id, part))) continue;
    if (outOfTime()) break;
    const taken = await takePart(world, collection, path, part);
    written += taken.written;
    rejected += taken.rejected;
    hasRejects ||= taken.rejected > 0;
    marks.add(takenKey(path, collection.id, part));
  }
  const done = snapshot.parts.filter((part) => marks.has(takenKey(path, collection.id, part)));
  const rowsOf = (parts: readonly ExportedPart[]) => parts.reduce((sum, { rows }) => sum + rows, 0);
  return {
    ...{ collection: collection.name, rows: rowsOf(snapshot.parts), parts: snapshot.parts.length },
    ...{ partsDone: done.length, rowsDone: rowsOf(done), written, rejected },
    done: done.length === snapshot.parts.length,
    rejects: hasRejects ? takenPrefix(path, collection.id) : null,
  };
}

/** What runs before this one have left. */
async function marksOf(
  store: ObjectStore,
  path: string,
  { id }: Collection,
): Promise<{ marks: Set<string>; rejects: number }> {
  const marks = new Set<string>();
  let rejects = 0;
  for await (const page of store.list(takenPrefix(path, id)))
    for (const { key } of page) {
      if (key.endsWith(".json")) marks.add(key);
      else rejects += 1;
    }
  return { marks, rejects };
}

async function takePart(
  world: ProduceWorld,
  collection: Collection,
  path: string,
  part: ExportedPart,
): Promise<{ written: number; rejected: number }> {
  const body = await readPart(world.store, partKey(path, part), part);
  const folder = mkdtempSync(join(tmpdir(), "siltstone-part-"));
  const rejects = new RejectsFile(join(folder, "rejects.jsonl"));
  try {
    const { written } = await importRows(world, collection, selectionOf(part, body), {
      rejects,
      resumeFile: new ResumeFile(join(folder, "import.json"), null),
      // Exported records bring their vectors.
      embed: null,
      onProgress: () => {},
      interrupted: new AbortController().signal,
    });
    rejects.close();
    const put = (key: string, content: Uint8Array) => world.store.put(key, content, { ifAbsent: true });
    // Another run may have done the same part: what it left says the same.
    if (rejects.rows > 0) {
      const key = rejectsKey(path, collection.id, part);
      const { kind } = await put(key, readFileSync(rejects.path));
      // A refusal does not say that it is there; without it the part is not done.
      if (kind !== "written" && (await world.store.head(key)) === null)
        throw new SiltstoneError("unavailable", `${key} could not be written; run it again`);
    }
    const mark = { written, rejected: rejects.rows };
    await put(takenKey(path, collection.id, part), Buffer.from(JSON.stringify(mark)));
    return mark;
  } finally {
    rejects.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function readPart(store: ObjectStore, key: string, part: ExportedPart): Promise<Buffer> {
  const found = await store.get(key, { bytesMax: exportedPartBytesMax });
  if (found.kind !== "found") throw corrupt(key, "it is not there");
  const sha256 = createHash("sha256").update(found.body).digest("hex");
  if (sha256 !== part.sha256 || found.body.length !== part.bytes)
    throw corrupt(key, "it is not what was exported");
  return found.body;
}

const shape: Shape = {
  fields: ownFields,
  renamed: new Map(),
  only: null,
  nested: "reject",
  reEmbed: false,
  ids: new Map(),
  newIds: new Set(),
  deriveIds: null,
};

const selectionOf = ({ name, bytes }: ExportedPart, body: Buffer) => ({
  source: recordJsonLines([
    {
      name,
      bytes,
      identity: null,
      async *stream() {
        yield body;
      },
      read: null,
      close: async () => {},
    },
  ]),
  shape,
  namespace: null,
  limit: null,
});
