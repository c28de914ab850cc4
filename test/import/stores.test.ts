/** Qdrant, Vectorize, Pinecone and S3 Vectors as import sources, against servers of ours that answer in their shapes. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parquetWriteBuffer } from "hyparquet-writer";
import { AwsS3Vectors } from "../../lib/aws/s3-vectors.ts";
import { openSource } from "../../lib/import/open-source.ts";
import { MemoryCli } from "../cli/memory-deployment.ts";
import { documentedCommands } from "./documented-commands.ts";
import { type Answer, type Asked, type JsonServer, jsonServer } from "./json-server.ts";
import {
  describeSource,
  dims,
  type ExpectedRow,
  expectedRows,
  readAll,
  rowCount,
  rowsOf,
} from "./source-contract.ts";

const folder = mkdtempSync(join(tmpdir(), "siltstone-stores-"));
const environment = {
  QDRANT_API_KEY: "q-key",
  CLOUDFLARE_API_TOKEN: "c-token",
  PINECONE_API_KEY: "p-key",
};
const world = {
  stdin: (async function* () {})() as AsyncIterable<Buffer>,
  environment,
  incomplete: false,
  s3Vectors: async () => new AwsS3Vectors(),
  lanceDb: () => Promise.reject(new Error("none")),
  bucketFiles: () => Promise.reject(new Error("none")),
};
const open = (from: string) => openSource(world, from);
const rows = expectedRows();
const payloadOf = ({ document, metadata }: ExpectedRow) => ({ text: document, ...metadata });
const byId = new Map(rows.map((row) => [row.id, row]));

let qdrant: JsonServer;
let vectorize: JsonServer;
let pinecone: JsonServer;
let s3vectors: JsonServer;
const saved = { ...process.env };

beforeAll(async () => {
  [qdrant, vectorize, pinecone, s3vectors] = await Promise.all([
    jsonServer(qdrantAnswer),
    jsonServer(vectorizeAnswer),
    jsonServer(pineconeAnswer),
    jsonServer(s3vectorsAnswer),
  ]);
  Object.assign(process.env, environment, {
    AWS_ENDPOINT_URL_S3VECTORS: s3vectors.url,
    AWS_REGION: "eu-central-1",
    AWS_ACCESS_KEY_ID: "k",
    AWS_SECRET_ACCESS_KEY: "s",
  });
});
afterAll(() => {
  for (const server of [qdrant, vectorize, pinecone, s3vectors]) server.close();
  for (const name of Object.keys(process.env)) if (!(name in saved)) delete process.env[name];
  Object.assign(process.env, saved);
  rmSync(folder, { recursive: true, force: true });
});

/** Points with integer ids, one vector; and a collection with named vectors and uuids. */
const uuid = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
const refusals: number[] = [];
function qdrantAnswer({ method, url, headers, body }: Asked): Answer {
  if (headers["api-key"] !== "q-key") return { status: 401, body: { status: { error: "Invalid API key" } } };
  const refused = refusals.pop();
  if (refused !== undefined) return { status: refused, body: { status: { error: "not now" } } };
  const named = url.pathname.startsWith("/collections/named");
  if (method === "GET" && named) {
    const vectors = { dense: { size: dims, distance: "Cosine" }, other: { size: 2, distance: "Manhattan" } };
    return {
      body: {
        result: { status: "green", points_count: 3, config: { params: { vectors } } },
        status: "ok",
        time: 0.001,
      },
    };
  }
  if (method === "GET" && url.pathname === "/collections/notes") {
    const vectors = { size: dims, distance: "Dot" };
    return {
      body: {
        result: { status: "green", points_count: rowCount, config: { params: { vectors } } },
        status: "ok",
        time: 0.001,
      },
    };
  }
  if (!url.pathname.endsWith("/points/scroll"))
    return { status: 404, body: { status: { error: "Not found" } } };
  if (named) {
    const which = (body.with_vector as string[])[0]!;
    const vector = { dense: { dense: [1, 2, 3, 4] }, other: { other: { indices: [1], values: [2] } } }[which];
    const points = [0, 1, 2].map((n) => ({
      id: uuid(n),
      payload: n === 2 ? null : { text: "t", nested: { a: n } },
      vector,
    }));
    return {
      body: {
        result: { points: body.filter === undefined ? points : points.slice(0, 1), next_page_offset: null },
      },
    };
  }
  const offset = (body.offset as number | undefined) ?? 0;
  const limit = body.limit as number;
  const page = rows.slice(offset, offset + limit);
  const points = page.map((row, i) => ({
    id: offset + i,
    payload: { ...payloadOf(row), slug: row.id },
    vector: row.vector,
  }));
  const next = offset + page.length;
  return {
    body: { result: { points, next_page_offset: next < rowCount ? next : null }, status: "ok", time: 0.001 },
  };
}

const indexPath = "/client/v4/accounts/acc/vectorize/v2/indexes/notes";
function vectorizeAnswer({ url, headers, body }: Asked): Answer {
  if (headers.authorization !== "Bearer c-token")
    return { status: 403, body: { success: false, errors: [{ code: 10000 }] } };
  const answer = (result: unknown): Answer => ({ body: { result, success: true, errors: [], messages: [] } });
  switch (url.pathname) {
    case indexPath:
      return answer({
        name: "notes",
        config: { dimensions: dims, metric: "euclidean" },
        created_on: "2026-01-01T00:00:00Z",
      });
    case `${indexPath}/info`:
      return answer({ vectorCount: rowCount, dimensions: dims, processedUpToMutation: "m" });
    case `${indexPath}/list`: {
      const start = Number(url.searchParams.get("cursor") ?? 0);
      const count = Number(url.searchParams.get("count"));
      const page = rows.slice(start, start + count);
      const isTruncated = start + count < rowCount;
      return answer({
        count: page.length,
        totalCount: rowCount,
        isTruncated,
        nextCursor: isTruncated ? String(start + count) : null,
        cursorExpirationTimestamp: "2026-12-01T00:00:00Z",
        vectors: page.map(({ id }) => ({ id })),
      });
    }
    case `${indexPath}/get_by_ids`: {
      const ids = body.ids as string[];
      if (ids.length > 20)
        return { status: 400, body: { success: false, errors: [{ message: "too many ids" }] } };
      // In no particular order, as a server may.
      const found = ids.map((id) => byId.get(id)!).reverse();
      return answer(
        found.map((row) => ({ id: row.id, values: row.vector, namespace: "n", metadata: payloadOf(row) })),
      );
    }
    default:
      return { status: 404, body: { success: false } };
  }
}

const spaces = { a: rows.slice(0, 700), b: rows.slice(700) };
function pineconeAnswer({ url, headers }: Asked): Answer {
  if (headers["api-key"] !== "p-key") return { status: 401, body: { message: "Invalid API Key" } };
  const space = spaces[(url.searchParams.get("namespace") ?? "") as "a"];
  switch (url.pathname) {
    case "/describe_index_stats": {
      const namespaces = Object.fromEntries(
        Object.entries(spaces).map(([name, of]) => [name, { vectorCount: of.length }]),
      );
      return {
        body: {
          namespaces,
          dimension: dims,
          indexFullness: 0,
          totalVectorCount: rowCount,
          metric: "cosine",
          vectorType: "dense",
        },
      };
    }
    case "/vectors/list": {
      const start = Number(url.searchParams.get("paginationToken") ?? 0);
      const page = space.slice(start, start + 100);
      const next = start + 100 < space.length ? { pagination: { next: String(start + 100) } } : {};
      return {
        body: { vectors: page.map(({ id }) => ({ id })), ...next, namespace: "a", usage: { readUnits: 1 } },
      };
    }
    case "/vectors/fetch": {
      const found = url.searchParams.getAll("ids").map((id) => byId.get(id)!);
      const vectors = Object.fromEntries(
        found.map((row) => [row.id, { id: row.id, values: row.vector, metadata: payloadOf(row) }]),
      );
      return { body: { vectors, namespace: "a", usage: { readUnits: 1 } } };
    }
    default:
      return { status: 404, body: {} };
  }
}

/** Rows of segment s are those whose number leaves s; 130 a page. */
function s3vectorsAnswer({ url, body }: Asked): Answer {
  if (url.pathname === "/GetIndex") {
    if (body.indexName !== "notes")
      return { status: 404, body: { __type: "NotFoundException", message: "no index" } };
    const index = {
      vectorBucketName: "vectors",
      indexName: "notes",
      indexArn: "arn:aws:s3vectors:::x",
      creationTime: 1_750_000_000,
      dataType: "float32",
      dimension: dims,
      distanceMetric: "cosine",
    };
    return { body: { index } };
  }
  const { segmentCount, segmentIndex, nextToken, returnData, returnMetadata } = body as Record<
    string,
    number
  >;
  if (!returnData || !returnMetadata) return { status: 400, body: { message: "nothing asked for" } };
  const mine = rows.filter((_, n) => n % segmentCount! === segmentIndex);
  const start = Number(nextToken ?? 0);
  const page = mine.slice(start, start + 130);
  const more = start + 130 < mine.length ? { nextToken: String(start + 130) } : {};
  const vectors = page.map((row) => ({
    key: row.id,
    data: { float32: row.vector },
    metadata: payloadOf(row),
  }));
  return { body: { vectors, ...more } };
}

describe("qdrant", () => {
  describeSource({
    name: "a collection",
    open: () => open(`qdrant:${qdrant.url}/collections/notes`),
    metric: "ip",
    expected: (row, n) => ({ ...row, id: String(n), metadata: { ...row.metadata, slug: row.id } }),
  });

  test("named vectors are chosen; payloads are spread; points are filtered", async () => {
    const at = `qdrant:${qdrant.url}/collections/named`;
    const several = await open(at);
    await expect(several.describe()).rejects.toThrow(
      "has the vectors dense, other; choose one by ?vector=NAME",
    );
    const dense = await open(`${at}?vector=dense`);
    expect(await dense.describe()).toMatchObject({
      metric: "cosine",
      notes: expect.arrayContaining([expect.stringContaining("unit length")]),
    });
    const found = await rowsOf(dense, await readAll(dense), { nested: "path" });
    expect(found).toMatchObject([
      { id: uuid(0), document: "t", metadata: '{"nested.a":0}' },
      { id: uuid(1), metadata: '{"nested.a":1}' },
      { id: uuid(2), document: null, metadata: null },
    ]);
    const sparse = await open(`${at}?vector=other`);
    expect(await sparse.describe()).toMatchObject({ metric: null });
    expect((await readAll(sparse))[0]!.items[0]).toMatchObject({
      fault: { field: "vector", reason: expect.stringContaining("sparse") },
    });
    const filter = { must: [{ key: "nested.a", match: { value: 0 } }] };
    const few = await open(`${at}?vector=dense&filter=${encodeURIComponent(JSON.stringify(filter))}`);
    expect((await readAll(few))[0]!.items).toHaveLength(1);
    expect(qdrant.asked.at(-1)!.body.filter).toEqual(filter);
  });

  test("a server that is busy is asked again; a key is never on the command line", async () => {
    refusals.push(503, 429);
    const source = await open(`qdrant:${qdrant.url}/collections/notes`);
    expect(await source.describe()).toMatchObject({ rows: rowCount });
    await expect(open(`qdrant:${qdrant.url}/collections/notes?api-key=x`)).rejects.toThrow("QDRANT_API_KEY");
    await expect(open(`qdrant:${qdrant.url}`)).rejects.toThrow("say which collection");
    const without = await openSource({ ...world, environment: {} }, `qdrant:${qdrant.url}/collections/notes`);
    await expect(without.describe()).rejects.toMatchObject({
      kind: "invalid",
      message: expect.stringContaining("QDRANT_API_KEY"),
    });
    const none = await open(`qdrant:${qdrant.url}/collections/none`);
    await expect(none.describe()).rejects.toMatchObject({ kind: "notFound" });
  });
});

const line = (row: ExpectedRow, n: number) =>
  JSON.stringify({
    id: row.id,
    values: row.vector,
    namespace: n % 2 ? "odd" : undefined,
    metadata: payloadOf(row),
  });
const ndjson = (): string => {
  const path = join(folder, "vectors.ndjson");
  writeFileSync(path, rows.map(line).join("\n"));
  return path;
};
describeSource({ name: "vectorize, NDJSON", open: () => open(`vectorize:${ndjson()}`) });
describeSource({
  name: "vectorize over HTTP",
  open: () => open(`vectorize:${vectorize.url}${indexPath}`),
  metric: "l2",
});
describeSource({
  name: "pinecone over HTTP",
  open: () => open(`pinecone:${pinecone.url}`),
  metric: "cosine",
});
describeSource({
  name: "s3vectors",
  open: () => open("s3vectors:vectors/notes"),
  metric: "cosine",
  // Page by page from each of four segments.
  rows: [0, 130, 260].flatMap((start) =>
    [0, 1, 2, 3].flatMap((segment) => rows.filter((_, n) => n % 4 === segment).slice(start, start + 130)),
  ),
});

function pineconeParquet(of: readonly ExpectedRow[]): Uint8Array {
  const schema = [
    { name: "root", num_children: 3 },
    { name: "id", type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "REQUIRED" },
    { name: "values", repetition_type: "OPTIONAL", num_children: 1, converted_type: "LIST" },
    { name: "list", repetition_type: "REPEATED", num_children: 1 },
    { name: "element", type: "FLOAT", repetition_type: "OPTIONAL" },
    { name: "metadata", type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" },
  ];
  const columnData = [
    { name: "id", data: of.map(({ id }) => id) },
    { name: "values", data: of.map(({ vector }) => vector) },
    { name: "metadata", data: of.map((row) => JSON.stringify(payloadOf(row))) },
  ];
  return new Uint8Array(parquetWriteBuffer({ schema, columnData } as never));
}
function pineconeFolder(root: string): string {
  for (const [name, of] of Object.entries(spaces)) {
    mkdirSync(join(root, name), { recursive: true });
    writeFileSync(join(root, name, "0.parquet"), pineconeParquet(of));
  }
  return root;
}
describeSource({
  name: "pinecone, Parquet",
  open: () => open(`pinecone:${pineconeFolder(join(folder, "pinecone"))}`),
});

test("what is refused says what to do", async () => {
  await expect(open("s3vectors:vectors")).rejects.toThrow("say s3vectors:BUCKET/INDEX");
  const none = await open("s3vectors:vectors/none");
  await expect(none.describe()).rejects.toMatchObject({ kind: "notFound" });
  await expect(open(`vectorize:${vectorize.url}/x`)).rejects.toThrow("say which index");
  const without = await openSource({ ...world, environment: {} }, `vectorize:${vectorize.url}${indexPath}`);
  await expect(without.describe()).rejects.toThrow("CLOUDFLARE_API_TOKEN");
  await expect(open(`pinecone:${pinecone.url}/x`)).rejects.toThrow("host alone");
});

test("rows of one namespace; ids that several have are told apart, or rejected", async () => {
  const work = mkdtempSync(join(folder, "namespaces-"));
  const home = process.cwd();
  process.chdir(work);
  const cli = new MemoryCli();
  try {
    await cli.run(["collection", "create", "docs", "--dims", "4"]);
    for (const [namespace, document] of [
      ["a", "of a"],
      ["b", "of b"],
    ] as const) {
      mkdirSync(`all/${namespace}`, { recursive: true });
      writeFileSync(
        `all/${namespace}/0.parquet`,
        pineconeParquet(rows.slice(0, 5).map((row) => ({ ...row, document }))),
      );
    }
    const args = ["import", "docs", "--from", "pinecone:all", "--json"];
    expect((await cli.run([...args, "--plan"])).json()).toMatchObject({
      namespaces: { a: 5, b: 5 },
      repeatedIds: 5,
      rejected: 5,
    });
    expect((await cli.run([...args, "--namespace", "b"])).json()).toMatchObject({ written: 5, rejected: 0 });
    const got = await cli.run(["get", "docs", "notes/1", "--consistency", "strong", "--json"]);
    expect(got.json()).toMatchObject({ records: [{ document: "of b" }] });
    expect((await cli.run(args)).json()).toMatchObject({ written: 5, rejected: 5 });
    const derived = await cli.run([...args, "--derive-ids", "pinecone", "--verify"]);
    expect(derived.json()).toMatchObject({ written: 10, rejected: 0, verified: { equal: 10 } });
  } finally {
    process.chdir(home);
    await cli.close();
  }
});

test.each(["qdrant", "vectorize", "pinecone", "s3-vectors"])(
  "the commands of docs/migrating/%s.md do what they say",
  async (name) => {
    const home = process.cwd();
    const work = mkdtempSync(join(folder, "documented-"));
    process.chdir(work);
    const cli = new MemoryCli();
    try {
      ndjson();
      writeFileSync("vectors.ndjson", rows.map(line).join("\n"));
      pineconeFolder("exported");
      const servers = {
        "http://localhost:6333": qdrant.url,
        "https://api.cloudflare.com": vectorize.url,
        "https://notes-abc123.svc.eu-west-1.pinecone.io": pinecone.url,
      };
      const commands = documentedCommands(`migrating/${name}.md`);
      expect(commands.length).toBeGreaterThan(2);
      for (const documented of commands) {
        const args = documented.map((arg) =>
          Object.entries(servers).reduce((text, [theirs, ours]) => text.replace(theirs, ours), arg),
        );
        const said = await cli.run(args);
        expect({ args, ...said }).toMatchObject({ args, code: 0, err: "" });
        if (args.includes("--verify")) expect(said.out).toMatch(/verified: (1200|500) rows/);
      }
    } finally {
      process.chdir(home);
      await cli.close();
    }
  },
  60_000,
);
