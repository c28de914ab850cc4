/** DynamoDB as a process of its own: dynalite on 127.0.0.1, behind the guard. Ends with its parent. */
import type { RequestListener, Server } from "node:http";
import { createRequire } from "node:module";
import { guarded } from "./request-guard.ts";

// It brings no types.
const dynalite = createRequire(import.meta.url)("dynalite") as (options: object) => Server;

const { folder, port } = JSON.parse(process.argv[2] ?? "{}") as { folder: string; port: number };
const server = dynalite({ path: folder, createTableMs: 0, deleteTableMs: 0 });
const listeners = server.listeners("request") as RequestListener[];
server.removeAllListeners("request");
for (const listener of listeners) server.on("request", guarded(listener));
server.listen(port, "127.0.0.1");
process.stdin.resume().once("end", () => process.exit(0));
