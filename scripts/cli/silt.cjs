#!/usr/bin/env node
// Starts the command line: the package's own build of it, or, in the repository, the sources, on a Node that runs them: this
// one, or the one that `npm ci` installed. `npx silt` finds the latter by itself; a path to this file does not.
const { spawn } = require("node:child_process");
const { existsSync } = require("node:fs");
const { join } = require("node:path");

const majorMin = 24;
const source = join(__dirname, "main.ts");
const installed = join(__dirname, "../../node_modules/.bin/node");

if (Number(process.versions.node.split(".")[0]) >= majorMin) {
  if (existsSync(source)) void import("./main.ts").then(({ main }) => main());
  else void require("../../dist/silt.cjs").main();
} else if (existsSync(source) && existsSync(installed) && process.env.SILTSTONE_CLI_RESTARTED === undefined) {
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
    `silt: Node ${majorMin} or newer is needed, this is ${process.version}; install it${existsSync(source) ? ", or run `npm ci`" : ""}`,
  );
  process.exitCode = 1;
}
