/** QRY-3: vectors of an answer are read from files that are opened once each, in the form that the call asks for. */
import fs from "node:fs";
import { createCollection } from "../../../lib/engine/catalog/collections.ts";
import { compact } from "../../../lib/engine/compact/compact.ts";
import { Reader } from "../../../lib/engine/read/reader.ts";
import { produce } from "../../../lib/engine/write/produce.ts";
import { memoryWorld } from "../../support/memory/world.ts";

const collection = "docs";
const vectorOf = (n: number): number[] => [n, Math.fround(n / 3), -Math.fround(1 / (n + 1))];

test("a thousand vectors cost one opening of each segment's file, and are the same as base64", async () => {
  const world = memoryWorld();
  await createCollection(world, { name: collection, dims: 3, metric: "l2" });
  for (const part of [0, 1]) {
    const records = Array.from({ length: 500 }, (_, i) => 2 * i + part).map((n) => ({
      id: `r${n}`,
      vector: vectorOf(n),
    }));
    await produce(world, { collection, records });
    await compact(world, { ingest: true, upkeep: false, deadlineMs: world.clock.nowMs() + 1e6 });
  }
  const reader = new Reader(world, { refreshSeconds: 300, cacheBytesMax: 1e9, traffic: world.traffic });
  const ids = Array.from({ length: 1_000 }, (_, n) => `r${999 - n}`);
  await reader.count({ collection });
  const opened = jest.spyOn(fs, "openSync");
  const { records } = await reader.get({ collection, ids, include: ["vector"] });
  const files = opened.mock.calls
    .map(([path]) => String(path))
    .filter((path) => path.endsWith("vectors.f32"));
  opened.mockRestore();
  expect(files).toHaveLength(2);
  expect(records.map(({ id, vector }) => [id, vector])).toEqual(
    ids.map((id) => [id, vectorOf(Number(id.slice(1)))]),
  );
  const asText = await reader.get({ collection, ids, include: ["vector"], vectorFormat: "base64" });
  const decoded = asText.records.map(({ vector }) => {
    const bytes = Buffer.from(vector as string, "base64");
    return [0, 4, 8].map((at) => bytes.readFloatLE(at));
  });
  expect(decoded).toEqual(records.map(({ vector }) => vector));
  const query = { collection, vector: vectorOf(7), topK: 2, include: ["vector" as const] };
  const [list, text] = [
    await reader.query(query),
    await reader.query({ ...query, vectorFormat: "base64" as const }),
  ];
  expect(list.results[0]!.vector).toEqual(vectorOf(7));
  expect(text.results[0]!.vector).toBe(asText.records.find(({ id }) => id === "r7")!.vector);
  await reader.close();
});
