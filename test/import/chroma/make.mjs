/**
 * Makes a directory of ChromaDB 1.x by a server of npm's `chromadb-js-bindings-linux-x64-gnu`, as make.py does of older ones, and expected.json
 * beside it:
 *
 *     npm install chromadb-js-bindings-linux-x64-gnu@1.3.4     # from 1.1 on it needs glibc 2.38
 *     node make.mjs FOLDER cosine|l2|ip && node pack.mjs FOLDER 1.3.4-cosine
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const [folder, metric] = process.argv.slice(2);
const [rounds, writes, ids, port] = [5, 500, 700, 18_765];
const root = `http://127.0.0.1:${port}/api/v2`;
const collections = `${root}/tenants/default_tenant/databases/default_database/collections`;
/** How a server is started: by this Node, or by what CHROMA_NODE says. */
const [command, ...before] = (process.env.CHROMA_NODE ?? process.execPath).split(" ");
const start = `require("chromadb-js-bindings-linux-x64-gnu").cli(["chroma","run","--path",${JSON.stringify(folder)},"--port","${port}","--host","127.0.0.1"])`;

let state = 1;
const random = () => {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return state / 2 ** 32;
};
const integer = (min, max) => min + Math.floor(random() * (max - min + 1));

async function post(path, body) {
  const headers = { "content-type": "application/json" };
  const response = await fetch(`${collections}${path}`, {
    method: "POST",
    headers,
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response.json();
}

async function withServer(work) {
  const server = spawn(command, [...before, "-e", start], { stdio: "ignore" });
  for (let tries = 0; tries < 100; tries++) {
    if ((await fetch(`${root}/heartbeat`).catch(() => null))?.ok) break;
    await sleep(100);
  }
  try {
    await work();
  } finally {
    server.kill("SIGKILL");
    await once(server, "exit");
  }
}

async function writeRound(number) {
  const configuration = { hnsw: { space: metric } };
  const { id } = await post("", { name: "notes", configuration, get_or_create: true });
  const { id: other } = await post("", { name: "other", get_or_create: true });
  if (number === 0) await post(`/${other}/add`, { ids: ["x"], embeddings: [[1, 2]], documents: ["other"] });
  for (let done = 0; done < writes; ) {
    const from = integer(0, ids - 61);
    const chosen = Array.from({ length: integer(20, 60) }, (_, i) => `n/${from + i}`);
    const kind = ["add", "upsert", "upsert", "update", "fields", "delete"][integer(0, 5)];
    const embeddings = chosen.map(() => [...Array.from({ length: 3 }, () => integer(-40, 40) / 8), 1]);
    const documents = chosen.map((one) => `Ünïcode 漢字 ${number} ${one}`);
    const metadatas = chosen.map((one) => ({
      n: integer(-5, 5),
      f: integer(0, 9) / 4,
      s: one,
      ok: random() < 0.5,
    }));
    if (kind === "delete") await post(`/${id}/delete`, { ids: chosen.slice(0, 20) });
    else if (kind === "fields")
      await post(`/${id}/update`, { ids: chosen, metadatas: chosen.map(() => ({ updated: number })) });
    else if (kind === "update") await post(`/${id}/update`, { ids: chosen, embeddings, documents });
    else await post(`/${id}/${kind}`, { ids: chosen, embeddings, documents, metadatas });
    done += chosen.length;
  }
}

async function answer() {
  const { id } = await post("", { name: "notes", get_or_create: true });
  const include = ["embeddings", "documents", "metadatas"];
  const found = await post(`/${id}/get`, { include });
  const rows = found.ids.map((one, i) => ({
    id: one,
    vector: found.embeddings[i],
    document: found.documents[i],
    metadata: found.metadatas[i],
  }));
  writeFileSync(join(folder, "expected.json"), JSON.stringify(rows));
}

rmSync(folder, { recursive: true, force: true });
for (let number = 0; number < rounds; number++) await withServer(() => writeRound(number));
await withServer(answer);
