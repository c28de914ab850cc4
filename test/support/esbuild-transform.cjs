// A jest transformer over esbuild: TypeScript and ES modules in, CommonJS out.
const { transformSync } = require("esbuild");
const { createHash } = require("node:crypto");
const { version } = require("esbuild/package.json");

// A planted fault (test/mutants) is part of the source, and of its cache key.
const plant = process.env.SILTSTONE_PLANT;
const planted = (source, path) => {
  if (plant === undefined || !path.endsWith(".ts") || path.includes("node_modules")) return source;
  const { mutantOf, withFault } = require("../mutants/plant.ts");
  return withFault(mutantOf(plant), path, source);
};

const banner = "const __importMetaUrl = require('node:url').pathToFileURL(__filename).href;";

module.exports = {
  getCacheKey: (source, path) =>
    createHash("sha256")
      .update(version)
      .update(banner)
      .update(path)
      .update(planted(source, path))
      .digest("hex"),
  process(source, path) {
    if (path.endsWith(".json") || path.endsWith(".cjs")) return { code: source };
    return transformSync(planted(source, path), {
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
