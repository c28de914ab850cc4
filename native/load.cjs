// Loads the hnswlib-node addon built for this processor. Handlers' bundles replace this file by the addon itself
// (scripts/build/bundle.ts), so a Lambda never chooses.
const { existsSync, readFileSync } = require("node:fs");
const { join } = require("node:path");

function variant() {
  const { platform, arch } = process;
  if (platform === "linux" && arch === "x64") {
    return /\bavx2\b/.test(readFileSync("/proc/cpuinfo", "latin1")) ? "linux-x64-v3" : "linux-x64";
  }
  return `${platform}-${arch}`;
}

const file = join(__dirname, variant(), "addon.node");
if (!existsSync(file)) {
  throw new Error(
    `no hnswlib addon for this machine (${variant()}): run \`npm run native\` (needs a C++ compiler)`,
  );
}
module.exports = require(file);
