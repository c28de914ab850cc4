// Starts bin/app.ts on a Node that runs TypeScript: this one, or the one that `npm ci` installed. `npx cdk` finds the
// latter by itself; a `cdk` installed globally does not.
const { spawnSync } = require("node:child_process");
const { existsSync } = require("node:fs");
const { join } = require("node:path");

const majorMin = 24;
const installed = join(__dirname, "../node_modules/.bin/node");

if (Number(process.versions.node.split(".")[0]) >= majorMin) {
  void import("./app.ts").then(({ main }) => main());
} else if (existsSync(installed) && process.env.SILTSTONE_APP_RESTARTED === undefined) {
  const env = { ...process.env, SILTSTONE_APP_RESTARTED: "1" };
  process.exitCode = spawnSync(installed, [__filename], { stdio: "inherit", env }).status ?? 1;
} else {
  console.error(
    `siltstone: Node ${majorMin} or newer is needed, this is ${process.version}; run \`npm ci\`, or install it`,
  );
  process.exitCode = 1;
}
