#!/usr/bin/env node
// Starts the command line on a Node that runs TypeScript: this one, or the one that `npm ci` installed. `npx silt` finds
// the latter by itself; a path to this file does not.
const { spawn } = require("node:child_process");
const { existsSync } = require("node:fs");
const { join } = require("node:path");

const majorMin = 24;
const installed = join(__dirname, "../../node_modules/.bin/node");

if (Number(process.versions.node.split(".")[0]) >= majorMin) {
  void import("./main.ts").then(({ main }) => main());
} else if (existsSync(installed) && process.env.SILTSTONE_CLI_RESTARTED === undefined) {
  const env = { ...process.env, SILTSTONE_CLI_RESTARTED: "1" };
  const child = spawn(installed, [__filename, ...process.argv.slice(2)], { stdio: "inherit", env });
  // A Ctrl-C reaches both processes: this one waits for how the other ends. Other signals are sent to one alone.
  process.on("SIGINT", () => {});
  for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("exit", (code) => {
    process.exitCode = code ?? 1;
  });
} else {
  console.error(
    `silt: Node ${majorMin} or newer is needed, this is ${process.version}; run \`npm ci\`, or install it`,
  );
  process.exitCode = 1;
}
