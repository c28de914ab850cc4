/** A bound on waiting in a process that is frozen, as Lambda freezes one: its timers go off before it has looked at what arrived. */
import { spawn } from "node:child_process";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { plantingArguments } from "../mutants/plant.ts";

let server: Server;
let url: string;
let answerMs = 0;
const asked: (() => void)[] = [];
beforeAll(async () => {
  server = createServer((_, response) => {
    for (const tell of asked.splice(0)) tell();
    setTimeout(() => response.end("answered"), answerMs).unref();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const boundMs = 1_600;

/** What the process says in the end; it is frozen for `frozenMs` when its question has arrived. */
async function wait(frozenMs: number): Promise<string> {
  const arrived = new Promise<void>((resolve) => asked.push(resolve));
  const child = spawn(process.execPath, [
    ...plantingArguments(),
    join(import.meta.dirname, "frozen-process.ts"),
    url,
    String(boundMs),
  ]);
  let said = "";
  child.stdout.on("data", (data) => (said += data));
  const ended = new Promise((resolve) => child.once("exit", resolve));
  await arrived;
  if (frozenMs > 0) {
    child.kill("SIGSTOP");
    await sleep(frozenMs);
    child.kill("SIGCONT");
  }
  await ended;
  return said;
}

test("an answer that arrived while the process was frozen is not taken for late", async () => {
  answerMs = 100;
  expect(await wait(boundMs + 500)).toBe("answered");
});

test("an answer that does not arrive is taken for late", async () => {
  answerMs = 60_000;
  expect(await wait(0)).toBe("late");
});
