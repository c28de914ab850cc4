#!/usr/bin/env node
// Starts the command line: the package's own build of it, or, in the repository, the sources, on a Node that runs them: this
// one, or the one that `npm ci` installed. `npx silt` finds the latter by itself; a path to this file does not.
const { spawn } = require("node:child_process");
const { existsSync } = require("node:fs");
const { enableCompileCache } = require("node:module");
const { join } = require("node:path");

const majorMin = 24;
const source = join(__dirname, "main.ts");
const installed = join(__dirname, "../../node_modules/.bin/node");
// What streams a million rows leaves more garbage than it holds: a smaller young generation is a hundred megabytes less, at the same rate
// (docs/lab/performance.md). V8 takes it at the start alone.
const streams = process.argv.slice(2).includes("import");
const flags = streams ? ["--max-semi-space-size=8"] : [];

const isNewEnough = Number(process.versions.node.split(".")[0]) >= majorMin;
const isRestarted = process.env.SILTSTONE_CLI_RESTARTED !== undefined;
if (isNewEnough && (isRestarted || !streams)) {
  // It ends with who started it, however that ends.
  process.on("disconnect", () => process.exit(1));
  process.channel?.unref();
  // Halves the time until the first line is printed.
  enableCompileCache();
  if (existsSync(source)) void import("./main.ts").then(({ main }) => main());
  else void require("../../dist/silt.cjs").main();
} else if (!isRestarted && (isNewEnough || (existsSync(source) && existsSync(installed)))) {
  const env = { ...process.env, SILTSTONE_CLI_RESTARTED: "1" };
  const node = isNewEnough ? process.execPath : installed;
  const stdio = ["inherit", "inherit", "inherit", "ipc"];
  const child = spawn(node, [...flags, __filename, ...process.argv.slice(2)], { stdio, env });
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
