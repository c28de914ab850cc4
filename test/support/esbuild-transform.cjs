// A jest transformer over esbuild: TypeScript and ES modules in, CommonJS out.
const { transformSync } = require("esbuild");
const { createHash } = require("node:crypto");
const { version } = require("esbuild/package.json");

const banner = "const __importMetaUrl = require('node:url').pathToFileURL(__filename).href;";

module.exports = {
  getCacheKey: (source, path) =>
    createHash("sha256").update(version).update(banner).update(path).update(source).digest("hex"),
  process(source, path) {
    if (path.endsWith(".json") || path.endsWith(".cjs")) return { code: source };
    return transformSync(source, {
      loader: path.endsWith(".ts") ? "ts" : "js",
      format: "cjs",
      target: "node24",
      sourcefile: path,
      sourcemap: "inline",
      banner,
      define: {
        "import.meta.url": "__importMetaUrl",
        "import.meta.dirname": "__dirname",
        "import.meta.filename": "__filename",
      },
    });
  },
};
