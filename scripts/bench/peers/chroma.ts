/**
 * Chroma's own local server (`chroma run`), asked over HTTP as its client does. Its binding for Linux on x64 is held at
 * 1.0.5 (package.json, `overrides`): later ones want glibc 2.38 or 2.39, which Debian 12 and Amazon Linux 2023 lack.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { bucketOf } from "../store.ts";
import { effortsFrom, type Peer, requirePeer } from "./peer.ts";

const addRows = 500;
const efforts = effortsFrom(10);
const effortDefault = 100;
const startMs = 60_000;
const complaintLengthMax = 4_000;

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  return port;
}

async function start(folder: string) {
  const port = await freePort();
  const program = join(import.meta.dirname, "node_modules/.bin/chroma");
  const server = spawn(
    program,
    ["run", "--path", join(folder, "chroma"), "--host", "127.0.0.1", "--port", `${port}`],
    {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, CHROMA_TELEMETRY_ENABLED: "false", ANONYMIZED_TELEMETRY: "false" },
    },
  );
  let complaint = "";
  server.stderr.on("data", (text) => {
    complaint = `${complaint}${text}`.slice(-complaintLengthMax);
  });
  const { ChromaClient } = requirePeer("chromadb");
  const client = new ChromaClient({ host: "127.0.0.1", port, ssl: false });
  for (const deadline = Date.now() + startMs; ; await sleep(25)) {
    try {
      await client.heartbeat();
      return { server, client };
    } catch (error) {
      if (server.exitCode !== null)
        throw new Error(`chroma run ended: ${/.*Error: .*/.exec(complaint)?.[0] ?? complaint}`);
      if (Date.now() > deadline) throw error;
    }
  }
}

async function stop(server: ChildProcess): Promise<void> {
  const ended = once(server, "exit");
  server.kill();
  await ended;
}

export const chroma: Peer = {
  name: "Chroma server 1.0",
  path: "over HTTP",
  efforts,
  effortDefault,
  filters: true,
  async build(folder, { base, rows, dims }) {
    const { server, client } = await start(folder);
    try {
      const collection = await client.createCollection({
        name: "items",
        embeddingFunction: null,
        configuration: {
          hnsw: { space: "cosine", ef_search: effortDefault },
        },
      });
      for (let first = 0; first < rows; first += addRows) {
        const part = Array.from({ length: Math.min(addRows, rows - first) }, (_, i) => first + i);
        await collection.add({
          ids: part.map(String),
          embeddings: part.map((row) => Array.from(base.subarray(row * dims, (row + 1) * dims))),
          metadatas: part.map((row) => ({ bucket: bucketOf(row) })),
        });
      }
    } finally {
      await stop(server);
    }
  },
  async open(folder) {
    const named = { name: "items", embeddingFunction: null };
    let { server, client } = await start(folder);
    let collection = await client.getCollection(named);
    let ef = effortDefault;
    return {
      // An open index keeps the value that it was opened with.
      async tune(effort) {
        if (effort === ef) return;
        ef = effort;
        await collection.modify({ configuration: { hnsw: { ef_search: effort } } });
        await stop(server);
        ({ server, client } = await start(folder));
        collection = await client.getCollection(named);
      },
      async query(vector, k, below) {
        const { ids } = await collection.query({
          queryEmbeddings: [Array.from(vector)],
          nResults: k,
          include: ["metadatas", "distances"],
          ...(below === null ? {} : { where: { bucket: { $lt: below } } }),
        });
        return ids[0].map(Number);
      },
      close: () => stop(server),
      otherRss: () => rssOf(server.pid!),
    };
  },
};

/** `chroma` is a script that runs the server inside its own process. */
const rssOf = (pid: number): number =>
  Number(execFileSync("ps", ["-o", "rss=", "-p", `${pid}`], { encoding: "utf8" })) * 1024;
