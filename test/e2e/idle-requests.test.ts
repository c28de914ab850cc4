/**
 * CST-2: what an idle store asks of AWS, counted request by request between the compactor's bundle and the local stack, is what
 * `silt cost` reckons with; nothing but the compactor runs.
 */
import type { IncomingMessage, Server } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { measured } from "../../lib/core/policy/cost/measured.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { createGuardedProxy } from "../../scripts/local/guarded-proxy.ts";
import { listen } from "../../scripts/local/ports.ts";
import { Deployed, dims, vectorOf } from "./deployed.ts";

jest.setTimeout(120_000);
const deployed = new Deployed();
const servers: Server[] = [];
const counts = new Map<string, number>();
const runs = 10;

async function counting(behind: string, nameOf: (request: IncomingMessage) => string): Promise<string> {
  const { hostname, port } = new URL(behind);
  const server = createGuardedProxy({ host: hostname, port: Number(port) }, (request) => {
    const name = nameOf(request);
    counts.set(name, (counts.get(name) ?? 0) + 1);
    return null;
  });
  servers.push(server);
  return `http://127.0.0.1:${await listen(server, 0)}`;
}
const s3Call = ({ method, url }: IncomingMessage): string =>
  method === "GET" && new URL(url!, "http://x").searchParams.has("list-type") ? "LIST" : method!;
const operation = ({ headers }: IncomingMessage): string => String(headers["x-amz-target"]).split(".")[1]!;

beforeAll(async () => {
  await deployed.start(null);
  const { endpoints } = deployed.stack;
  const sqs = await counting(endpoints.sqs, operation);
  const changed = {
    AWS_ENDPOINT_URL_S3: await counting(endpoints.s3, s3Call),
    AWS_ENDPOINT_URL_DYNAMODB: await counting(endpoints.dynamodb, operation),
    AWS_ENDPOINT_URL_SQS: sqs,
  };
  await deployed.redefine("compactor", (definition) => {
    const own = Object.entries(definition.environment).map(([name, value]) => [
      name,
      value.replace(endpoints.sqs, sqs),
    ]);
    return { ...definition, environment: { ...Object.fromEntries(own), ...changed } };
  });
  await createCollection(deployed.world, { name: "docs", dims, metric: "l2" });
  await deployed.answer("producer", { collection: "docs", records: [{ id: "a", vector: vectorOf(1) }] });
  for (const source of ["manual", "scheduled", "upkeep"]) await deployed.answer("compactor", { source });
});
afterAll(async () => {
  await deployed.stop();
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
  deployed.remove();
});

/** Requests of each of so many runs, by operation. */
async function asked(source: string, times: number): Promise<Record<string, number>> {
  counts.clear();
  for (let run = 0; run < times; run++) await deployed.answer("compactor", { source });
  return Object.fromEntries([...counts].map(([name, count]) => [name, count / times]));
}

test("a process that has just started looks at everything: what a turn costs, and the head", async () => {
  const { sweepLists, lookLists, sweepGets, watermarkGets, runReceives, runNotes } = measured;
  // The same definition in a new process.
  await deployed.redefine("compactor", (definition) => definition);
  expect(await asked("scheduled", 1)).toEqual({
    LIST: sweepLists + lookLists,
    GET: sweepGets + watermarkGets,
    ReceiveMessage: runReceives,
    PutItem: runNotes,
  });
  const { upkeepLookGets, surveyGets, surveyLists } = measured;
  const { LIST, GET, ...others } = await asked("upkeep", 1);
  // Its own configuration, and a survey: a store that has more versions to read reads more.
  expect(GET).toBeLessThanOrEqual(sweepGets + upkeepLookGets + surveyGets);
  expect(LIST).toBeLessThanOrEqual(surveyLists);
  // With the lease of the survey.
  expect(others).toEqual({ PutItem: runNotes, GetItem: 1, UpdateItem: 2 });
});

test("a scheduled run and upkeep between two turns ask S3 nothing", async () => {
  const { runReceives, runNotes } = measured;
  const before = (await logOf("compactor")).length;
  expect(await asked("scheduled", runs)).toEqual({ ReceiveMessage: runReceives, PutItem: runNotes });
  expect(await asked("upkeep", runs)).toEqual({ PutItem: runNotes });
  const logged = (await logOf("compactor")).slice(before);
  expect(logged.length / (2 * runs)).toBeLessThan(measured.idleLogBytes);
  expect(metricsIn(logged).size).toBe(measured.idleMetrics);
});

/** A function's lines come behind its answer: all of them, when none has come for a while. */
async function logOf(name: Parameters<typeof deployed.log>[0]): Promise<string> {
  for (;;) {
    const log = deployed.log(name);
    await sleep(300);
    if (deployed.log(name) === log) return log;
  }
}

/** By their names and dimensions: each of them is charged for. */
function metricsIn(log: string): Set<string> {
  const found = log.split("\n").flatMap((line) => {
    if (!line.includes('"_aws"')) return [];
    const { _aws } = JSON.parse(line) as {
      _aws: { CloudWatchMetrics: { Dimensions: string[][]; Metrics: { Name: string }[] }[] };
    };
    return _aws.CloudWatchMetrics.flatMap(({ Dimensions, Metrics }) =>
      Dimensions.flatMap((names) => Metrics.map(({ Name }) => `${names.join("/")} ${Name}`)),
    );
  });
  return new Set(found);
}

test("without queries no query function starts", () => {
  expect(deployed.pids("query")).toEqual([]);
  expect(deployed.log("query")).toBe("");
});

test("writing and asking add so many metrics, and calls log so much", async () => {
  const idleMetrics = metricsIn(await logOf("compactor"));
  await deployed.answer("producer", { collection: "docs", records: [{ id: "b", vector: vectorOf(2) }] });
  await deployed.answer("compactor", { source: "scheduled" });
  const written = metricsIn((await logOf("compactor")) + (await logOf("producer")));
  expect(written.size).toBe(measured.idleMetrics + measured.writeMetrics);
  expect(written.isSupersetOf(idleMetrics)).toBe(true);
  await deployed.answer("query", { collection: "docs", vector: vectorOf(1), topK: 1 });
  expect(metricsIn(await logOf("query")).size).toBe(measured.queryMetrics);
  const before = (await logOf("query")).length;
  for (let i = 0; i < runs; i++)
    await deployed.answer("query", { collection: "docs", vector: vectorOf(1), topK: 1 });
  expect(((await logOf("query")).length - before) / runs).toBeLessThan(measured.callLogBytes);
});
